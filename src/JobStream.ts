/**
 * A job as a stream: of its snapshots, of its transitions, or of nothing but the result.
 *
 * The first poll is immediate. A stream ends after the terminal state, and fails when the job can't be watched; that the
 * job itself failed or was canceled is not a failure of the stream. Whoever stops pulling, or is interrupted, stops the
 * timer and the request that is on its way at once. The job itself goes on: watching is only looking.
 *
 * @since 0.1.0
 */
import * as Chunk from "effect/Chunk"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { defaultCadence } from "./Cadence.js"
import { formatIssues } from "./internal/checkRequest.js"
import * as Job from "./Job.js"
import { JobQueue } from "./JobQueue.js"
import {
  InvalidOutputs,
  JobCanceled,
  JobFailed,
  JobMismatch,
  JobRetriesExhausted,
  RequestTimeout,
  UnrecognizedStatus
} from "./QueueError.js"
import type { OutcomeError, WatchError } from "./QueueError.js"
import * as Transition from "./Transition.js"
import { defaultPolicy } from "./WatchPolicy.js"
import type { WatchPolicy } from "./WatchPolicy.js"

/**
 * What a watch may be told: any part of a policy; what is left out is that of `WatchPolicy.defaultPolicy`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends Partial<WatchPolicy> {}

/**
 * `from`: what is known already. The stream goes on with the very next transition.
 *
 * @since 0.1.0
 * @category models
 */
export interface TransitionsOptions extends Options {
  readonly from?: Transition.Cursor | undefined
}

interface Sighting {
  readonly status: Job.JobStatus
  readonly observedAt: DateTime.Utc
}

// What nobody can make sense of must neither be skipped nor polled for ever.
const expect = (
  job: Job.JobRef,
  status: Job.JobStatus
): Effect.Effect<Job.JobStatus, JobMismatch | UnrecognizedStatus> =>
  status.job.requestId !== job.requestId || status.job.model !== job.model
    ? Effect.fail(new JobMismatch({ job: status.job, expected: job }))
    : status._tag === "Unrecognized"
    ? Effect.fail(new UnrecognizedStatus({ job, status: status.status, snapshot: status }))
    : Effect.succeed(status)

// The next sighting of a job, after the pause that the cadence wants, if there was one before.
const makePoll = (
  job: Job.JobRef,
  options: Options
): Effect.Effect<(last: Sighting | undefined) => Effect.Effect<Sighting, WatchError>, never, JobQueue> =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const policy = { ...defaultPolicy, ...options }
    const requestTimeout = Duration.decode(policy.requestTimeout)
    // a cadence that ends must not end the watch
    const cadence = yield* Schedule.driver(Schedule.andThen(policy.cadence, defaultCadence))
    const ask = queue.status(job).pipe(
      Effect.timeoutFail({
        duration: requestTimeout,
        onTimeout: () => new RequestTimeout({ operation: "status", model: job.model, job, after: requestTimeout })
      }),
      Effect.retry(policy.retry),
      // one span a watch, not one a poll
      Effect.withTracerEnabled(false),
      Effect.flatMap((status) => expect(job, status)),
      Effect.flatMap((status) => Effect.map(DateTime.now, (observedAt): Sighting => ({ status, observedAt })))
    )
    return (last) => last === undefined ? ask : Effect.zipRight(Effect.ignore(cadence.next(last.status)), ask)
  })

const spanOf = (job: Job.JobRef) => ({
  attributes: { "queue.model": job.model, "queue.request_id": job.requestId }
})

/**
 * The snapshots of a job, one for each poll, changed or not; the last one is terminal.
 *
 * @since 0.1.0
 * @category streams
 */
export const statuses = (job: Job.JobRef, options: Options = {}): Stream.Stream<Job.JobStatus, WatchError, JobQueue> =>
  Stream.unwrap(
    Effect.map(
      makePoll(job, options),
      (poll) =>
        Stream.unfoldEffect(
          undefined as Sighting | undefined,
          (last) =>
            last !== undefined && Job.isTerminal(last.status)
              ? Effect.succeedNone
              : Effect.map(poll(last), (sighting) => Option.some([sighting.status, sighting] as const))
        )
    )
  ).pipe(
    Stream.withSpan("JobStream.statuses", spanOf(job))
  )

/**
 * The life of a job, from its beginning, or from a cursor on, to its end, without a gap and without a repeat, however
 * few of its states the polls happen to see (see `Transition.derive`).
 *
 * @example
 * import { JobStream, Transition } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { Effect, Stream } from "effect"
 *
 * const log = (job: Job.JobRef) =>
 *   JobStream.transitions(job).pipe(
 *     Stream.runForEach((transition) =>
 *       Effect.log(transition._tag, transition.evidence, Transition.formatCursor(transition.cursor)))
 *   )
 *
 * @since 0.1.0
 * @category streams
 */
export const transitions = (
  job: Job.JobRef,
  options: TransitionsOptions = {}
): Stream.Stream<Transition.Transition, WatchError, JobQueue> =>
  Stream.unwrap(Effect.gen(function*() {
    const { from, ...policy } = options
    const poll = yield* makePoll(job, policy)
    const readProgress = yield* Job.ProgressRule
    if (from !== undefined && !Transition.Cursor.isOf(from, job)) {
      return yield* new JobMismatch({ job })
    }
    const start = { last: undefined as Sighting | undefined, cursor: Option.fromNullable(from) }
    return Stream.unfoldChunkEffect(start, ({ cursor, last }) =>
      Option.isSome(cursor) && cursor.value.phase === "Ended"
        ? Effect.succeedNone
        : Effect.gen(function*() {
          const sighting = yield* poll(last)
          const derived = yield* Transition.derive(cursor, sighting.status, {
            observedAt: sighting.observedAt,
            readProgress
          })
          return Option.some(
            [
              Chunk.unsafeFromArray(derived.transitions),
              { last: sighting, cursor: Option.some(derived.cursor) }
            ] as const
          )
        }))
  })).pipe(Stream.withSpan("JobStream.transitions", spanOf(job)))

const outputsOf = (end: Transition.Terminal): Effect.Effect<Job.JsonObject, OutcomeError> => {
  const { attempt, job, snapshot } = end
  switch (end._tag) {
    case "Completed":
      return Effect.succeed(end.outputs)
    case "FailedByModel":
      return Effect.fail(new JobFailed({ job, reason: Option.getOrUndefined(end.reason), snapshot }))
    case "RetriesExhausted":
      return Effect.fail(new JobRetriesExhausted({ job, attempts: attempt, snapshot }))
    case "Canceled":
      return Effect.fail(new JobCanceled({ job, snapshot }))
  }
}

/**
 * Watches a job to its end: its outputs, decoded where a schema for them is given, or an error that says why there are
 * none. The place where outcomes become errors.
 *
 * @example
 * import { JobStream } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { Effect, Schema } from "effect"
 *
 * const Video = Schema.Struct({ video_url: Schema.String })
 *
 * const url = (job: Job.JobRef) =>
 *   JobStream.result(job, Video).pipe(
 *     Effect.map((video) => video.video_url),
 *     Effect.catchTag("JobFailed", ({ reason }) => Effect.succeed(`failed: ${reason}`))
 *   )
 *
 * @since 0.1.0
 * @category results
 */
export const result: {
  (job: Job.JobRef, options?: Options): Effect.Effect<Job.JsonObject, WatchError | OutcomeError, JobQueue>
  <A, I, R>(
    job: Job.JobRef,
    schema: Schema.Schema<A, I, R>,
    options?: Options
  ): Effect.Effect<A, WatchError | OutcomeError, JobQueue | R>
} = <A, I, R>(
  job: Job.JobRef,
  schemaOrOptions?: Schema.Schema<A, I, R> | Options,
  options?: Options
): Effect.Effect<A | Job.JsonObject, WatchError | OutcomeError, JobQueue | R> =>
  Schema.isSchema(schemaOrOptions)
    ? Effect.flatMap(ended(job, options), (end) =>
      Effect.flatMap(outputsOf(end), (outputs) =>
        Effect.mapError(Schema.decodeUnknown(schemaOrOptions as Schema.Schema<A, I, R>)(outputs), (error) =>
          new InvalidOutputs({ job, issue: formatIssues(error), snapshot: end.snapshot }))))
    : Effect.flatMap(ended(job, schemaOrOptions as Options | undefined), outputsOf)

const ended = (job: Job.JobRef, options?: Options): Effect.Effect<Transition.Terminal, WatchError, JobQueue> =>
  transitions(job, options).pipe(
    Stream.filter(Transition.isTerminal),
    Stream.runHead,
    // a watch without a cursor ends with a terminal transition, or with an error
    Effect.map(Option.getOrThrow)
  )

/**
 * A job as a stream of its snapshots or transitions, or as an effect that returns its result.
 *
 * The first poll is immediate. A stream ends after the terminal state, and fails if the job can't be watched; a job that
 * fails or is canceled does not fail the stream. A consumer that stops or is interrupted stops the timer and the request in
 * flight at once. Watching does not affect the job.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Take from "effect/Take"
import { rules } from "../model/internal/rules.js"
import { dateOf, monotonic } from "../model/internal/time.js"
import { TimeText } from "../model/internal/timestamp.js"
import * as Job from "../model/Job.js"
import { JobMismatch, type OutcomeError, QueueError, type UnrecognizedStatus, WatchError } from "../model/QueueError.js"
import * as Transition from "../model/Transition.js"
import { forkIn } from "../queue/internal/fiber.js"
import * as Metrics from "./internal/metrics.js"
import { decodeOutputs, outputsOf, type PolicyOptions } from "./internal/outcome.js"
import { derive, type Reading, streamed, subscribe, untilSome } from "./internal/reader.js"
import type { JobWatcher } from "./JobWatcher.js"

/**
 * Parts of a policy. A part that is omitted or `undefined` defaults to that of the app, `WatchPolicy.Default`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends PolicyOptions {}

/**
 * Options of a watch that may continue where another one ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface TransitionsOptions extends Options {
  /** The cursor of the last known transition. The stream continues with the next one. */
  readonly from?: Transition.Cursor | undefined
}

const nothing = Either.right([])

/**
 * The snapshots of a job, one for each successful poll, changed or not; the last one is terminal. A slow consumer receives
 * the latest snapshot. A stale snapshot, older than one before it (from a replica that lags), is skipped.
 *
 * @since 0.1.0
 * @category streams
 */
export const statuses = (
  job: Job.JobRef,
  options: Options = {}
): Stream.Stream<Job.JobStatus, WatchError, JobWatcher> =>
  streamed({
    span: "JobStream.statuses",
    job,
    options,
    wants: "polls",
    select: (notice) => notice._tag === "Sample" ? Either.right([notice.status]) : nothing
  })

/**
 * Derives the transitions of one job from its snapshots, from any source: see `Transition.derive`. Snapshots that were
 * dropped on the way (`Stream.buffer` with the strategy `sliding`) cost only progress.
 *
 * @since 0.1.0
 * @category transforming
 */
export const fromStatuses = <E, R>(
  statuses: Stream.Stream<Job.JobStatus, E, R>,
  options: {
    readonly from?: Transition.Cursor | undefined
    readonly unrecognized?: "fail" | "end" | undefined
  } = {}
): Stream.Stream<Transition.Transition, E | JobMismatch | UnrecognizedStatus, R> =>
  Stream.unwrap(Effect.map(rules, (rules) =>
    statuses.pipe(
      Stream.mapAccumEffect(Option.fromNullable(options.from), (known, status) =>
        Clock.clockWith((clock) => {
          const observedAt = dateOf(clock, monotonic(clock))
          const { unrecognized } = options
          const derived = Transition.derive(known, status, { observedAt, ...rules, unrecognized })
          if (Either.isLeft(derived)) return Effect.fail(derived.left)
          const { cursor, stale, transitions } = derived.right
          const news = [Option.some(cursor), transitions] as const
          return stale
            ? Effect.as(Metric.increment(Metric.tagged(Metrics.stale, "model", status.job.model)), news)
            : Effect.succeed(news)
        })),
      Stream.flattenIterables
    )))

/**
 * The history of a job from its beginning, or from a cursor, to its end, without gaps and without repeats, however few of
 * its states the polls see (see `Transition.derive`).
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
): Stream.Stream<Transition.Transition, WatchError, JobWatcher> =>
  streamed({
    span: "JobStream.transitions",
    job,
    options,
    wants: "changes",
    select: (notice, opened) => notice._tag === "Sample" ? derive(notice, opened) : nothing
  })

/** Polls fail, for a reason that may pass. */
const Trouble = Schema.TaggedStruct("Trouble", {
  /** The reference of the job. */
  job: Job.JobRef,
  /** The last error. */
  error: QueueError,
  /** When the trouble began. */
  since: TimeText,
  /** When the next poll is tried. */
  nextTryAt: TimeText
})

/** The trouble has passed: a poll succeeded. */
const Recovered = Schema.TaggedStruct("Recovered", {
  /** The reference of the job. */
  job: Job.JobRef,
  /** When the trouble began. */
  since: TimeText
})

/**
 * An event of a watch: a transition of the job, or the begin or end of trouble.
 *
 * @since 0.1.0
 * @category models
 */
export type WatchEvent = Transition.Transition | typeof Trouble.Type | typeof Recovered.Type

/**
 * Events as they travel, over server-sent events, RPC or storage.
 *
 * @since 0.1.0
 * @category schemas
 */
export const WatchEvent = Schema.Union(Transition.Transition, Trouble, Recovered).annotations({
  identifier: "WatchEvent"
})

/**
 * The transitions of a job, and between them the troubles of watching it. A user interface can distinguish a slow job from
 * a lost connection.
 *
 * @example
 * import { JobStream } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { DateTime, Effect, Stream } from "effect"
 *
 * const log = (job: Job.JobRef) =>
 *   JobStream.events(job).pipe(
 *     Stream.runForEach((event) =>
 *       event._tag === "Trouble"
 *         ? Effect.logWarning(`no connection since ${DateTime.formatIso(event.since)}`, event.error)
 *         : Effect.log(event._tag))
 *   )
 *
 * @since 0.1.0
 * @category streams
 */
export const events = (
  job: Job.JobRef,
  options: TransitionsOptions = {}
): Stream.Stream<WatchEvent, WatchError, JobWatcher> =>
  streamed({ span: "JobStream.events", job, options, wants: "changes", select: eventsOf })

const eventsOf: Reading<WatchEvent>["select"] = (notice, rules) => {
  switch (notice._tag) {
    case "Sample":
      return derive(notice, rules)
    case "Trouble": {
      const { error, nextTryAt, since, watch: { job } } = notice
      return Either.right([{ _tag: "Trouble", job, error, since, nextTryAt }])
    }
    case "Recovered":
      return Either.right([{ _tag: "Recovered", job: notice.watch.job, since: notice.since }])
  }
}

/**
 * Watches a job to its end and returns its outputs, decoded if there is a schema. Fails with an `OutcomeError` if the job
 * has no outputs.
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
  (job: Job.JobRef, options?: Options): Effect.Effect<Job.JsonObject, WatchError | OutcomeError, JobWatcher>
  <A, I, R>(
    job: Job.JobRef,
    schema: Schema.Schema<A, I, R>,
    options?: Options
  ): Effect.Effect<A, WatchError | OutcomeError, JobWatcher | R>
} = <A, I, R>(
  job: Job.JobRef,
  schemaOrOptions?: Schema.Schema<A, I, R> | Options,
  options?: Options
): Effect.Effect<A | Job.JsonObject, WatchError | OutcomeError, JobWatcher | R> =>
  Schema.isSchema(schemaOrOptions)
    ? Effect.flatMap(ended(job, options), (end) => decodeOutputs(end, schemaOrOptions as Schema.Schema<A, I, R>))
    : Effect.flatMap(ended(job, schemaOrOptions as Options | undefined), outputsOf)

const ended = (job: Job.JobRef, options: Options = {}): Effect.Effect<Transition.Terminal, WatchError, JobWatcher> =>
  toEnd({ span: "JobStream.result", job, options, wants: "end" }, () => Effect.void)

/**
 * Watches a job to its end, and calls `onEvent` with each event.
 *
 * @internal
 */
export const watchToEnd = (
  job: Job.JobRef,
  options: Options,
  onEvent: (event: WatchEvent) => Effect.Effect<unknown>
): Effect.Effect<Transition.Terminal, WatchError, JobWatcher> => toEnd({ job, options, wants: "changes" }, onEvent)

const toEnd = (
  reading: Omit<Reading<WatchEvent>, "select">,
  onEvent: (event: WatchEvent) => Effect.Effect<unknown>
): Effect.Effect<Transition.Terminal, WatchError, JobWatcher> =>
  untilSome({ ...reading, select: eventsOf }, (events) => {
    const last = events.at(-1)
    if (last === undefined) {
      return Effect.dieMessage(`the watcher ended ${Job.format(reading.job)} without a terminal snapshot`)
    }
    return Effect.as(
      Effect.forEach(events, onEvent, { discard: true }),
      last._tag !== "Trouble" && last._tag !== "Recovered" && Transition.isTerminal(last) ? last : undefined
    )
  })

// -----------------------------------------------------------------------------
// many jobs
// -----------------------------------------------------------------------------

/**
 * A job of `watchAll` that continues where another watch ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface Known {
  /** The reference of the job. */
  readonly job: Job.JobRef
  /** The cursor of the last known transition, if one is known. The job continues with the next one. */
  readonly from?: Transition.Cursor | undefined
}

/**
 * One of many jobs can't be watched. The others continue.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchFailed extends Schema.Schema.Type<typeof WatchFailed> {}

/**
 * A job that can't be watched, as it travels: see `WatchEvent`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const WatchFailed = Schema.TaggedStruct("WatchFailed", {
  /** The reference of the job. */
  job: Job.JobRef,
  /** Why the job can't be watched. */
  error: WatchError
})

/**
 * The transitions of all jobs of a stream, as they come, those of each job in order. Backpressure applies to the references
 * as well. A job that can't be watched is a `WatchFailed`. A reference to a job that is watched already adds nothing. The
 * stream ends when the references and all jobs have ended.
 *
 * A reference with a cursor (`Known`) continues after that transition: with the cursors of the last transitions, a program
 * continues after a restart without gaps and without repeats. A cursor of another job is a `WatchFailed` with `JobMismatch`.
 *
 * @example
 * import { JobStream } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { Effect, Stream } from "effect"
 *
 * const follow = (jobs: Stream.Stream<Job.JobRef>) =>
 *   JobStream.watchAll(jobs).pipe(
 *     Stream.runForEach((step) =>
 *       step._tag === "WatchFailed"
 *         ? Effect.logError("not watched any more", step.error)
 *         : Effect.log(step._tag, step.job.requestId))
 *   )
 *
 * @since 0.1.0
 * @category streams
 */
export const watchAll = <E, R>(
  jobs: Stream.Stream<Job.JobRef | Known, E, R>,
  options: Options = {}
): Stream.Stream<Transition.Transition | WatchFailed, E, R | JobWatcher> =>
  // the scope of the stream is not that of the jobs, which may need one of their own
  Stream.unwrapScopedWith((scope) =>
    Effect.gen(function*() {
      const opened = yield* Scope.extend(subscribe(options, "changes"), scope)
      // not a `Mailbox`, which misses an offer or a taker whose fiber yields before it has begun to wait
      const takes = yield* Queue.bounded<Take.Take<Transition.Transition | WatchFailed, E>>(1)
      // the stream of the jobs, and the jobs whose last elements were not offered yet
      let open = 1

      const close = (count: number): Effect.Effect<boolean> =>
        Effect.suspend(() => (open -= count) > 0 ? Effect.succeed(true) : takes.offer(Take.end))

      const failed = (job: Job.JobRef, error: WatchError): WatchFailed => ({ _tag: "WatchFailed", job, error })

      const read: Effect.Effect<boolean> = Effect.flatMap(Effect.suspend(() => opened.subscription.next), (notices) => {
        const elements: Array<Transition.Transition | WatchFailed> = []
        let ended = 0
        let defect: Cause.Cause<never> | undefined
        for (const notice of notices) {
          const { job } = notice.watch
          if (notice._tag === "Sample") {
            const derived = derive(notice, opened)
            if (Either.isLeft(derived)) elements.push(failed(job, derived.left))
            else for (const transition of derived.right) elements.push(transition)
          } else if (notice._tag === "Ended") {
            ended++
            if (Exit.isSuccess(notice.exit)) continue
            const error = Cause.failureOrCause(notice.exit.cause)
            if (Either.isLeft(error)) elements.push(failed(job, error.left))
            else defect ??= error.right
          }
        }
        return (elements.length === 0 ? Effect.void : takes.offer(Take.chunk(Chunk.unsafeFromArray(elements)))).pipe(
          Effect.zipRight(defect === undefined ? close(ended) : takes.offer(Take.failCause(defect))),
          Effect.zipRight(read)
        )
      })

      const add = (element: Job.JobRef | Known): Effect.Effect<unknown> =>
        Effect.suspend(() => {
          const { from, job }: Known = "job" in element ? element : { job: element }
          if (from !== undefined && !Transition.Cursor.isOf(from, job)) {
            return takes.offer(Take.of(failed(job, new JobMismatch({ job }))))
          }
          if (from?.phase === "Ended") return Effect.void
          open++
          return Effect.flatMap(opened.subscription.add(job, from), (isNew) => isNew ? Effect.void : close(1))
        })

      yield* forkIn(scope)(read)
      yield* Stream.runForEachChunk(jobs, Effect.forEach(add, { discard: true })).pipe(
        Effect.matchCauseEffect({
          onFailure: (cause) => takes.offer(Take.failCause(cause)),
          onSuccess: () => close(1)
        }),
        forkIn(scope)
      )
      return Stream.flattenTake(Stream.fromQueue(takes))
    })
  ).pipe(Stream.withSpan("JobStream.watchAll", { captureStackTrace: false }))

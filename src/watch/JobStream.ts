/**
 * A job as a stream: of its snapshots, of its transitions, or of nothing but the result.
 *
 * The first poll is immediate. A stream ends after the terminal state, and fails when the job can't be watched; that the
 * job itself failed or was canceled is not a failure of the stream. Whoever stops pulling, or is interrupted, stops the
 * timer and the request that is on its way at once. The job itself goes on: watching is only looking.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import type * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { rules } from "../model/internal/rules.js"
import type * as Job from "../model/Job.js"
import { JobMismatch } from "../model/QueueError.js"
import type { OutcomeError, QueueError, UnrecognizedStatus, WatchError } from "../model/QueueError.js"
import * as Transition from "../model/Transition.js"
import type { Cadence } from "../policy/Cadence.js"
import type { Deadline } from "../policy/Deadline.js"
import { dateOf, monotonic } from "../policy/internal/time.js"
import type { Retry } from "../policy/Retry.js"
import type { WatchPolicy } from "../policy/WatchPolicy.js"
import type { JobQueue } from "../queue/JobQueue.js"
import * as Metrics from "./internal/metrics.js"
import { decodeOutputs, outputsOf, policyOf, spanOf } from "./internal/outcome.js"
import * as Watch from "./internal/watch.js"

/**
 * Any part of a policy. What is not given, or `undefined`, is that of the app, `WatchPolicy.Default`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** When to poll next, after a poll that was answered. */
  readonly cadence?: Cadence | undefined
  /** When to try again, after a poll that was not answered. */
  readonly retry?: Retry | undefined
  /** When to give up. */
  readonly deadline?: Deadline | undefined
  /** What an unknown state of the job is: an error, nothing, or the end of the job. */
  readonly unrecognized?: WatchPolicy["unrecognized"] | undefined
}

/**
 * Options of a watch that may go on from where another one ended.
 *
 * @since 0.1.0
 * @category models
 */
export interface TransitionsOptions extends Options {
  /** What is known already. The stream goes on with the next transition. */
  readonly from?: Transition.Cursor | undefined
}

/**
 * The snapshots of a job, one for each poll that was answered, changed or not; the last one is terminal.
 *
 * @since 0.1.0
 * @category streams
 */
export const statuses = (job: Job.JobRef, options: Options = {}): Stream.Stream<Job.JobStatus, WatchError, JobQueue> =>
  streamed(
    "JobStream.statuses",
    job,
    options,
    (told) => told._tag === "Sighted" ? Option.some(told.status) : Option.none()
  )

/**
 * How many snapshots were older than what was known already, by model. They come from a replica that is behind, and add
 * nothing.
 *
 * @since 0.1.0
 * @category metrics
 */
export const staleSnapshots: Metric.Metric.Counter<number> = Metrics.stale

const makeDerive = (unrecognized: "fail" | "end" | undefined) =>
  Effect.map(
    rules,
    (rules) => (known: Option.Option<Transition.Cursor>, status: Job.JobStatus) =>
      Clock.clockWith((clock) => {
        const observedAt = dateOf(clock, monotonic(clock))
        const derived = Transition.derive(known, status, { observedAt, ...rules, unrecognized })
        if (Either.isLeft(derived)) return Effect.fail(derived.left)
        const { cursor, stale, transitions } = derived.right
        const news = [Option.some(cursor), transitions] as const
        return stale
          ? Effect.as(Metric.increment(Metric.tagged(staleSnapshots, "model", status.job.model)), news)
          : Effect.succeed(news)
      })
  )

/**
 * The transitions that snapshots of one job tell, wherever those come from: see `Transition.derive`. A stream that was
 * thinned out (`conflate`) tells the same life, with less progress.
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
  Stream.unwrap(Effect.map(makeDerive(options.unrecognized), (derive) =>
    statuses.pipe(
      Stream.mapAccumEffect(Option.fromNullable(options.from), derive),
      Stream.flattenIterables
    )))

// Most polls see nothing new: they go round in here, without a step of the stream.
const streamed = <A>(
  span: string,
  job: Job.JobRef,
  { from, ...options }: TransitionsOptions,
  select: (told: Watch.Told) => Option.Option<A>
): Stream.Stream<A, WatchError, JobQueue> => {
  if (from !== undefined && !Transition.Cursor.isOf(from, job)) return Stream.fail(new JobMismatch({ job }))
  if (from !== undefined && from.phase === "Ended") return Stream.empty
  return Stream.unwrap(Effect.map(
    Effect.flatMap(policyOf(options), (policy) => Watch.make(job, policy, from)),
    (watch) => {
      const next: Effect.Effect<Option.Option<readonly [Chunk.Chunk<A>, void]>, WatchError> = Effect.suspend(() =>
        watch.isOver()
          ? Effect.succeedNone
          : Effect.flatMap(watch.turn, (told) => {
            const news = Arr.filterMap(told, select)
            return Arr.isNonEmptyArray(news)
              ? Effect.succeedSome([Chunk.unsafeFromArray(news), undefined] as const)
              : next
          })
      )
      return Stream.unfoldChunkEffect(undefined, () => next)
    }
  )).pipe(Stream.withSpan(span, spanOf(job)))
}

const transitionOf = (told: Watch.Told): Option.Option<Transition.Transition> =>
  told._tag === "Sighted" || told._tag === "Trouble" || told._tag === "Recovered" ? Option.none() : Option.some(told)

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
  streamed("JobStream.transitions", job, options, transitionOf)

/**
 * The polls have met trouble that may pass: `error`, the last one. It has lasted since `since`, and the next try is at
 * `nextTryAt`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Trouble {
  readonly _tag: "Trouble"
  readonly job: Job.JobRef
  readonly error: QueueError
  readonly since: DateTime.Utc
  readonly nextTryAt: DateTime.Utc
}

/**
 * The trouble that lasted since `since` has passed: a poll was answered.
 *
 * @since 0.1.0
 * @category models
 */
export interface Recovered {
  readonly _tag: "Recovered"
  readonly job: Job.JobRef
  readonly since: DateTime.Utc
}

/**
 * What a person who waits wants to know: what the job does, and whether it can be seen at all.
 *
 * @since 0.1.0
 * @category models
 */
export type WatchEvent = Transition.Transition | Trouble | Recovered

/**
 * The transitions of a job, and between them the troubles of watching it: enough for a user interface to tell a job that
 * is slow from a network that is gone.
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
): Stream.Stream<WatchEvent, WatchError, JobQueue> =>
  streamed("JobStream.events", job, options, (told) => told._tag === "Sighted" ? Option.none() : Option.some(told))

/**
 * For a consumer that is slower than a stream: it is always given the latest element, and those it had no time for are
 * dropped. Whatever the difference in speed, one element is kept, and the last one is never dropped.
 *
 * @example
 * import { JobStream } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { Effect, Stream } from "effect"
 *
 * // polls at its own pace, and draws when there is time to; no transition is lost, only progress
 * const draw = (job: Job.JobRef) =>
 *   JobStream.statuses(job).pipe(
 *     JobStream.conflate,
 *     JobStream.fromStatuses,
 *     Stream.runForEach((transition) => Effect.delay(Effect.log(transition._tag), "3 seconds"))
 *   )
 *
 * @since 0.1.0
 * @category transforming
 */
export const conflate = <A, E, R>(self: Stream.Stream<A, E, R>): Stream.Stream<A, E, R> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    // the latest element and the end are state, not messages: neither can push the other out of a buffer
    let latest = Option.none<A>()
    let end = Option.none<Exit.Exit<void, E>>()
    const news = yield* Queue.sliding<void>(1)
    yield* Stream.runForEach(self, (element) => {
      latest = Option.some(element)
      return Queue.offer(news, undefined)
    }).pipe(
      Effect.onExit((exit) => {
        end = Option.some(exit)
        return Queue.offer(news, undefined)
      }),
      Effect.forkScoped
    )
    const next: Effect.Effect<A, Option.Option<E>> = Effect.suspend(() => {
      if (Option.isSome(latest)) {
        const element = latest.value
        latest = Option.none()
        return Effect.succeed(element)
      }
      if (Option.isNone(end)) return Effect.zipRight(Queue.take(news), next)
      return Exit.match(end.value, {
        onSuccess: () => Effect.fail(Option.none()),
        onFailure: (cause) => Effect.failCause(Cause.map(cause, Option.some))
      })
    })
    return Stream.repeatEffectOption(next)
  }))

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
    ? Effect.flatMap(ended(job, options), (end) => decodeOutputs(end, schemaOrOptions as Schema.Schema<A, I, R>))
    : Effect.flatMap(ended(job, schemaOrOptions as Options | undefined), outputsOf)

const ended = (job: Job.JobRef, options: Options = {}): Effect.Effect<Transition.Terminal, WatchError, JobQueue> =>
  Effect.withSpan(watchToEnd(job, options, () => Effect.void), "JobStream.result", spanOf(job))

/**
 * Watches a job to its end, and gives each event to `tell`.
 *
 * @internal
 */
export const watchToEnd = (
  job: Job.JobRef,
  options: Options,
  tell: (event: WatchEvent) => Effect.Effect<unknown>
): Effect.Effect<Transition.Terminal, WatchError, JobQueue> =>
  Effect.gen(function*() {
    const watch = yield* Watch.make(job, yield* policyOf(options))
    for (;;) {
      for (const told of yield* watch.turn) {
        if (told._tag === "Sighted") continue
        yield* tell(told)
        if (told._tag !== "Trouble" && told._tag !== "Recovered" && Transition.isTerminal(told)) return told
      }
    }
  })

/**
 * A job as a stream: of its snapshots, of its transitions, or of nothing but the result.
 *
 * The first poll is immediate. A stream ends after the terminal state, and fails when the job can't be watched; that the
 * job itself failed or was canceled is not a failure of the stream. Whoever stops pulling, or is interrupted, stops the
 * timer and the request that is on its way at once. The job itself goes on: watching is only looking.
 *
 * @since 0.1.0
 */
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
import { rules } from "./internal/rules.js"
import { dateOf, monotonic } from "./internal/time.js"
import * as Watch from "./internal/watch.js"
import { decodeOutputs, outputsOf, policyOf, spanOf } from "./internal/watching.js"
import type * as Job from "./Job.js"
import type { JobQueue } from "./JobQueue.js"
import { JobMismatch } from "./QueueError.js"
import type { OutcomeError, QueueError, UnrecognizedStatus, WatchError } from "./QueueError.js"
import * as Transition from "./Transition.js"
import type * as WatchPolicy from "./WatchPolicy.js"

/**
 * What a watch may be told: any part of a policy. What is left out is that of the app, `WatchPolicy.Default`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends Partial<WatchPolicy.WatchPolicy> {}

/**
 * `from`: what is known already. The stream goes on with the very next transition.
 *
 * @since 0.1.0
 * @category models
 */
export interface TransitionsOptions extends Options {
  readonly from?: Transition.Cursor | undefined
}

/**
 * The snapshots of a job, one for each poll that was answered, changed or not; the last one is terminal.
 *
 * @since 0.1.0
 * @category streams
 */
export const statuses = (job: Job.JobRef, options: Options = {}): Stream.Stream<Job.JobStatus, WatchError, JobQueue> =>
  Stream.unwrap(
    Effect.map(
      Effect.flatMap(policyOf(options), (policy) => Watch.make(job, policy)),
      (watch) =>
        Stream.unfoldChunkEffect(watch.start, (state) =>
          watch.isOver(state)
            ? Effect.succeedNone
            : Effect.map(watch.turn(state), (next) => {
              const sighted = next.told.flatMap((event) => event._tag === "Sighted" ? [event.status] : [])
              return Option.some([Chunk.unsafeFromArray(sighted), next] as const)
            }))
    )
  ).pipe(Stream.withSpan("JobStream.statuses", spanOf(job)))

/**
 * How many snapshots were older than what was known already, by model. They come from a replica that is behind, and add
 * nothing.
 *
 * @since 0.1.0
 * @category metrics
 */
export const staleSnapshots: Metric.Metric.Counter<number> = Metric.counter("effect_queue_status_stale_snapshots", {
  description: "snapshots of a job that were older than what was known",
  incremental: true
})

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

// How far a watch has come: what it knows of the job, and what its last turns told.
interface Progress<A> {
  readonly watch: Watch.State
  readonly known: Option.Option<Transition.Cursor>
  readonly news: ReadonlyArray<A>
}

/**
 * Watches until there is something to tell; `None` when the watch is over. Most polls see nothing new: they go round in
 * here, and nobody else is bothered.
 *
 * @internal
 */
export const watched = <A extends WatchEvent>(
  job: Job.JobRef,
  { from, ...parts }: TransitionsOptions,
  isWanted: (event: WatchEvent) => event is A
) =>
  Effect.gen(function*() {
    const policy = yield* policyOf(parts)
    const watch = yield* Watch.make(job, policy)
    const derive = yield* makeDerive(policy.unrecognized === "end" ? "end" : "fail")
    const next = (progress: Progress<A>): Effect.Effect<Option.Option<Progress<A>>, WatchError> =>
      Effect.gen(function*() {
        let { known, watch: state } = progress
        const news: Array<A> = []
        const tell = (event: WatchEvent) => {
          if (isWanted(event)) news.push(event)
        }
        while (!watch.isOver(state)) {
          state = yield* watch.turn(state)
          for (const event of state.told) {
            if (event._tag === "Sighted") {
              const [cursor, transitions] = yield* derive(known, event.status)
              known = cursor
              transitions.forEach(tell)
            } else {
              tell({ ...event, job })
            }
          }
          if (news.length > 0) return Option.some({ watch: state, known, news })
        }
        return Option.none()
      })
    const start: Progress<A> = { watch: watch.start, known: Option.fromNullable(from), news: [] }
    return { start, next }
  })

const streamed = <A extends WatchEvent>(
  span: string,
  job: Job.JobRef,
  options: TransitionsOptions,
  isWanted: (event: WatchEvent) => event is A
): Stream.Stream<A, WatchError, JobQueue> => {
  const { from } = options
  if (from !== undefined && !Transition.Cursor.isOf(from, job)) return Stream.fail(new JobMismatch({ job }))
  if (from !== undefined && from.phase === "Ended") return Stream.empty
  return Stream.unwrap(
    Effect.map(
      watched(job, options, isWanted),
      ({ next, start }) =>
        Stream.unfoldChunkEffect(start, (progress) =>
          Effect.map(
            next(progress),
            Option.map((progress) => [Chunk.unsafeFromArray(progress.news), progress] as const)
          ))
    )
  ).pipe(Stream.withSpan(span, spanOf(job)))
}

/** @internal */
export const isTransition = (event: WatchEvent): event is Transition.Transition =>
  event._tag !== "Trouble" && event._tag !== "Recovered"

const isTerminal = (event: WatchEvent): event is Transition.Terminal =>
  isTransition(event) && Transition.isTerminal(event)

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
  streamed("JobStream.transitions", job, options, isTransition)

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
  streamed("JobStream.events", job, options, (_event): _event is WatchEvent => true)

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
  Effect.flatMap(watched(job, options, isTerminal), ({ next, start }) =>
    Effect.map(
      next(start),
      // a watch without a cursor ends with a terminal transition, or with an error
      (progress) => Option.getOrThrow(progress).news[0]!
    )).pipe(Effect.withSpan("JobStream.result", spanOf(job)))

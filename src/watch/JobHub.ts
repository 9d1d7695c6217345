/**
 * Many jobs, many watchers, one poller a job and one budget for all of them.
 *
 * A hub watches as `JobStream` does, with the same functions and the same policies, and shares what it learns: however
 * many watch a job, it is polled once, at the pace of the keenest; the last one to leave stops the poller. What is shared
 * is the latest snapshot and the end, as state: each watch tells its own transitions from its own cursor, so one that
 * begins late, or is slow, misses nothing but progress, and holds nobody back.
 *
 * - A request ends with `RequestTimeout` after the shortest `Deadline.request` of its watches. One whose answer is late is
 *   sent again before that; the first answer counts.
 * - A watch that joins, or comes back within the cadence, receives the latest snapshot without a request.
 * - Each watcher has its own deadlines, its own retry, and its own mind about states that nobody knows.
 * - The end of a job is kept for `keptFor`, and told without a request to whoever asks for it.
 * - Among the pending jobs of a model only the first few in line are polled at their cadence (`Options.queueOrder`).
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type * as Job from "../model/Job.js"
import type { OutcomeError, RateLimited, WatchError } from "../model/QueueError.js"
import type * as Transition from "../model/Transition.js"
import { JobQueue } from "../queue/JobQueue.js"
import { decodeOutputs, outputsOf } from "./internal/outcome.js"
import { Scheduler } from "./internal/scheduler.js"
import * as Watching from "./internal/subscription.js"
import * as WatchAll from "./internal/watchAll.js"
import type { Options as WatchOptions, TransitionsOptions } from "./JobStream.js"

// -----------------------------------------------------------------------------
// options
// -----------------------------------------------------------------------------

/**
 * How many polls of a hub may begin within a second, unless told otherwise: 100.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultPollsPerSecond = 100

/**
 * How many requests of a hub may be on their way at a time, unless told otherwise: 64.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultConcurrency = 64

/**
 * How long the end of a job is kept, to be told without a request: 5 minutes. Of more than `keptEnds` the oldest are
 * forgotten sooner.
 *
 * @since 0.1.0
 * @category constants
 */
export const keptFor: Duration.Duration = Duration.minutes(5)

/**
 * How many ends of jobs are kept at most: 1,000.
 *
 * @since 0.1.0
 * @category constants
 */
export const keptEnds = 1_000

/**
 * How long a pending job that is behind the head of the line may go unpolled: 2 minutes.
 *
 * @since 0.1.0
 * @category constants
 */
export const queueOrderFloor: Duration.Duration = Duration.minutes(2)

/**
 * - `pollsPerSecond`: how many polls may begin within any second, `defaultPollsPerSecond` unless given; and within any
 *   tenth of a second no more than a tenth of them. When more are wanted, all pauses are lengthened alike.
 * - `concurrency`: how many requests may be on their way at a time, `defaultConcurrency` unless given.
 * - `queueOrder`: whether to rely on the order in which the service starts the jobs of a model, `true` unless given. The
 *   three that are next are polled at their cadence; those behind them are polled when they come to be next, and every
 *   `queueOrderFloor` in any case. Where a job is seen to start before its turn, all jobs of that model are polled at
 *   their cadence from then on.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly pollsPerSecond?: number | undefined
  readonly concurrency?: number | undefined
  readonly queueOrder?: boolean | undefined
}

// -----------------------------------------------------------------------------
// events
// -----------------------------------------------------------------------------

/**
 * The pauses are longer by this factor than the cadences say, so that there are no more polls than there may be; 1 when
 * they are not any more. Told when it begins, ends, doubles or halves.
 *
 * @since 0.1.0
 * @category events
 */
export interface Stretched {
  readonly _tag: "Stretched"
  readonly at: DateTime.Utc
  readonly stretch: number
}

/**
 * The service has had enough (`error`), and no job is polled until then. After that polls come spread out.
 *
 * @since 0.1.0
 * @category events
 */
export interface Paused {
  readonly _tag: "Paused"
  readonly at: DateTime.Utc
  readonly until: DateTime.Utc
  readonly error: RateLimited
}

/**
 * A job of this model was seen to start before its turn: from now on each job of the model is polled at its cadence.
 *
 * @since 0.1.0
 * @category events
 */
export interface OrderLost {
  readonly _tag: "OrderLost"
  readonly at: DateTime.Utc
  readonly model: string
}

/**
 * What happens to a hub as a whole.
 *
 * @since 0.1.0
 * @category events
 */
export type HubEvent = Stretched | Paused | OrderLost

// -----------------------------------------------------------------------------
// the service
// -----------------------------------------------------------------------------

/**
 * One of many jobs can't be watched, and here is why; the others go on.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchFailed extends WatchAll.Failed {}

/**
 * - `statuses`: the snapshots of a job. One that is slow is given the latest; one from a replica that is behind is
 *   passed over.
 * - `transitions`: its life, from its beginning or from a cursor on.
 * - `result`: its outputs, or an error that says why there are none.
 * - `watchAll`: the transitions of all the jobs of a stream, as they come, each job's in order. References are taken no
 *   faster than what they bring is. A job that can't be watched is a `WatchFailed`. A reference that comes again while
 *   its job is watched adds nothing. It ends when the references have and every job has.
 * - `events`: what happens to the hub from now on; of those that nobody takes, the last 16 are kept.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly statuses: (job: Job.JobRef, options?: WatchOptions) => Stream.Stream<Job.JobStatus, WatchError>
  readonly transitions: (
    job: Job.JobRef,
    options?: TransitionsOptions
  ) => Stream.Stream<Transition.Transition, WatchError>
  readonly result: {
    (job: Job.JobRef, options?: WatchOptions): Effect.Effect<Job.JsonObject, WatchError | OutcomeError>
    <A, I, R>(
      job: Job.JobRef,
      schema: Schema.Schema<A, I, R>,
      options?: WatchOptions
    ): Effect.Effect<A, WatchError | OutcomeError, R>
  }
  readonly watchAll: <E, R>(
    jobs: Stream.Stream<Job.JobRef, E, R>,
    options?: WatchOptions
  ) => Stream.Stream<Transition.Transition | WatchFailed, E, R>
  readonly events: Stream.Stream<HubEvent>
}

/**
 * The shared watch of many jobs.
 *
 * @example
 * import { JobHub, JobQueue } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect, Layer, Stream } from "effect"
 *
 * const HubLive = JobHub.layer({ pollsPerSecond: 20 }).pipe(
 *   Layer.provideMerge(JobQueue.layer),
 *   Layer.provide(FetchHttpClient.layer)
 * )
 *
 * const follow = (jobs: Stream.Stream<Job.JobRef>) =>
 *   JobHub.watchAll(jobs).pipe(
 *     Stream.runForEach((step) => Effect.log(step._tag, step.job)),
 *     Effect.provide(HubLive)
 *   )
 *
 * @since 0.1.0
 * @category context
 */
export class JobHub extends Context.Tag("effect-queue-status/JobHub")<JobHub, Service>() {}

const positive = (value: number | undefined, otherwise: number): number =>
  value !== undefined && value > 0 ? value : otherwise

/**
 * A hub over the queue that there is. With its scope every poll ends, and whoever still watches is interrupted. An
 * option that is no positive number counts as not given.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Service, never, JobQueue | Scope.Scope> =>
  Effect.gen(function*() {
    const queue = yield* JobQueue
    const events = yield* PubSub.sliding<HubEvent>(16)
    const scheduler = new Scheduler(
      queue,
      {
        pollsPerSecond: positive(options.pollsPerSecond, defaultPollsPerSecond),
        concurrency: Math.max(1, Math.floor(positive(options.concurrency, defaultConcurrency))),
        queueOrder: options.queueOrder ?? true,
        keptFor: Duration.toMillis(keptFor),
        keptEnds,
        floor: Duration.toMillis(queueOrderFloor)
      },
      yield* Effect.runtime<never>(),
      yield* Effect.clock,
      yield* Effect.random,
      {
        stretched: (at, stretch) => events.unsafeOffer({ _tag: "Stretched", at, stretch }),
        paused: (at, until, error) => events.unsafeOffer({ _tag: "Paused", at, until, error }),
        orderLost: (at, model) => events.unsafeOffer({ _tag: "OrderLost", at, model })
      }
    )
    yield* Effect.addFinalizer(() => Effect.zipRight(scheduler.close, PubSub.shutdown(events)))

    const result = <A, I, R>(
      job: Job.JobRef,
      schemaOrOptions?: Schema.Schema<A, I, R> | WatchOptions,
      options?: WatchOptions
    ): Effect.Effect<A | Job.JsonObject, WatchError | OutcomeError, R> =>
      Schema.isSchema(schemaOrOptions)
        ? Effect.flatMap(Watching.ended(scheduler, queue, job, options), (end) =>
          decodeOutputs(end, schemaOrOptions as Schema.Schema<A, I, R>))
        : Effect.flatMap(Watching.ended(scheduler, queue, job, schemaOrOptions as WatchOptions | undefined), outputsOf)

    return JobHub.of({
      statuses: (job, options) => Watching.statuses(scheduler, queue, job, options),
      transitions: (job, options) => Watching.transitions(scheduler, queue, job, options),
      // one function for both of its forms: with a schema it gives what that decodes, without one the outputs as they are
      result: result as Service["result"],
      watchAll: (jobs, options) => WatchAll.watchAll(scheduler, queue, jobs, options),
      events: Stream.fromPubSub(events)
    })
  })

/**
 * A hub for whoever provides it. All who are to share its pollers and its budget must share the layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<JobHub, never, JobQueue> =>
  Layer.scoped(JobHub, make(options))

// -----------------------------------------------------------------------------
// accessors
// -----------------------------------------------------------------------------

/**
 * The snapshots of a job. Who is slow is given the latest.
 *
 * @since 0.1.0
 * @category streams
 */
export const statuses = (
  job: Job.JobRef,
  options?: WatchOptions
): Stream.Stream<Job.JobStatus, WatchError, JobHub> =>
  Stream.unwrap(Effect.map(JobHub, (hub) => hub.statuses(job, options)))

/**
 * The life of a job, from its beginning, or from a cursor on, to its end, without a gap and without a repeat.
 *
 * @since 0.1.0
 * @category streams
 */
export const transitions = (
  job: Job.JobRef,
  options?: TransitionsOptions
): Stream.Stream<Transition.Transition, WatchError, JobHub> =>
  Stream.unwrap(Effect.map(JobHub, (hub) => hub.transitions(job, options)))

/**
 * The transitions of all the jobs of a stream.
 *
 * @since 0.1.0
 * @category streams
 */
export const watchAll = <E, R>(
  jobs: Stream.Stream<Job.JobRef, E, R>,
  options?: WatchOptions
): Stream.Stream<Transition.Transition | WatchFailed, E, R | JobHub> =>
  Stream.unwrap(Effect.map(JobHub, (hub) => hub.watchAll(jobs, options)))

/**
 * What happens to the hub from now on.
 *
 * @since 0.1.0
 * @category streams
 */
export const events: Stream.Stream<HubEvent, never, JobHub> = Stream.unwrap(Effect.map(JobHub, (hub) => hub.events))

/**
 * Watches a job to its end: its outputs, decoded where a schema for them is given, or an error that says why there are
 * none.
 *
 * @since 0.1.0
 * @category results
 */
export const result: {
  (job: Job.JobRef, options?: WatchOptions): Effect.Effect<Job.JsonObject, WatchError | OutcomeError, JobHub>
  <A, I, R>(
    job: Job.JobRef,
    schema: Schema.Schema<A, I, R>,
    options?: WatchOptions
  ): Effect.Effect<A, WatchError | OutcomeError, JobHub | R>
} = <A, I, R>(
  job: Job.JobRef,
  schemaOrOptions?: Schema.Schema<A, I, R> | WatchOptions,
  options?: WatchOptions
): Effect.Effect<A | Job.JsonObject, WatchError | OutcomeError, JobHub | R> =>
  Effect.flatMap(
    JobHub,
    (hub): Effect.Effect<A | Job.JsonObject, WatchError | OutcomeError, R> =>
      Schema.isSchema(schemaOrOptions)
        ? hub.result(job, schemaOrOptions as Schema.Schema<A, I, R>, options)
        : hub.result(job, schemaOrOptions as WatchOptions | undefined)
  )

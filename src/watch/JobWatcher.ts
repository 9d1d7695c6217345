/**
 * Watching jobs: a port, and the layer behind it that polls.
 *
 * `JobStream` and `JobRun` use this service. A program rarely calls it directly: it provides one of its layers, and then all
 * watches share pollers and a budget.
 *
 * Guarantees for a subscriber:
 *
 * - **Consistency.** A sample is a snapshot that a `JobQueue` returned, with the time of its arrival. It is never older than
 *   the samples before, or than the cursor that the watch began with.
 * - **Order.** Samples of a job come in the order of its history, and its end comes last. Different jobs have no order.
 * - **Late subscribers.** A subscriber that joins, or returns within the cadence, receives the latest snapshot without a
 *   request. Only if that shows other progress than the cursor that the watch begins with does it wait for a poll: snapshots
 *   of an attempt have no order. The outcome of a job is kept for five minutes (of 1,000 jobs at most), and reported without a
 *   request.
 * - **Slow subscribers.** Nothing is queued: a slow subscriber receives the latest snapshot, and does not delay others.
 *   `Transition.derive` infers the states between two snapshots from the subscriber's cursor.
 * - **Deadlines and retries** belong to each subscriber. A deadline that has passed is reported after one more poll, unless
 *   the last snapshot is recent.
 * - **Errors.** When one subscriber's retries run out, only its watch fails. A schedule that dies is a defect of the watches
 *   that use it.
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { unwrap } from "../queue/internal/options.js"
import { JobQueue } from "../queue/JobQueue.js"
import type { Inspection, PollingEvent, SubscribeOptions, Subscription } from "./internal/notice.js"
import * as PollingWatcher from "./internal/pollingWatcher.js"

export type { Notice, PollingEvent, SubscribeOptions, Subscription, Watch } from "./internal/notice.js"

// -----------------------------------------------------------------------------
// the service
// -----------------------------------------------------------------------------

/**
 * The operations of a watcher.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Creates a subscription without jobs. Closing the scope ends its watches, and stops their polls at once. */
  readonly subscribe: (options: SubscribeOptions) => Effect.Effect<Subscription, never, Scope.Scope>
  /** The events from now on. A slow consumer receives the last 16. */
  readonly pollingEvents: Stream.Stream<PollingEvent>
  /**
   * What it knows of the jobs of a model, without a request; absent from a watcher that does not poll itself.
   *
   * @internal
   */
  readonly inspect?: ((model: string) => Effect.Effect<Inspection>) | undefined
  /**
   * How far the service's clock is ahead of ours, in milliseconds; 0 while it is not known to differ.
   *
   * @internal
   */
  readonly clockAhead?: (() => number) | undefined
}

/**
 * The service that watches jobs.
 *
 * @example
 * import { JobQueue, JobStream, JobWatcher } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect, Layer, Stream } from "effect"
 *
 * const WatcherLive = JobWatcher.layer({ pollsPerSecond: 20 }).pipe(
 *   Layer.provideMerge(JobQueue.layer()),
 *   Layer.provide(FetchHttpClient.layer)
 * )
 *
 * const follow = (jobs: Stream.Stream<Job.JobRef>) =>
 *   JobStream.watchAll(jobs).pipe(
 *     Stream.runForEach((step) => Effect.log(step._tag, step.job)),
 *     Effect.provide(WatcherLive)
 *   )
 *
 * @since 0.1.0
 * @category context
 */
export class JobWatcher extends Context.Tag("effect-queue-status/JobWatcher")<JobWatcher, Service>() {}

/**
 * The events that concern all jobs of the watcher, from now on.
 *
 * @since 0.1.0
 * @category accessors
 */
export const pollingEvents: Stream.Stream<PollingEvent, never, JobWatcher> = Stream.unwrap(
  Effect.map(JobWatcher, (watcher) => watcher.pollingEvents)
)

// -----------------------------------------------------------------------------
// the layer that polls
// -----------------------------------------------------------------------------

/**
 * Options of the watcher that polls. A number that is not positive counts as omitted.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends PollingWatcher.Options {}

/**
 * Creates a watcher that polls the `JobQueue`: one poller a job, regardless of the number of subscribers, and one budget for
 * all. Closing its scope stops all polls, and interrupts the remaining watches.
 *
 * - A poller uses the shortest interval of its watches, and stops with the last watch.
 * - A request ends with `ResponseTimeout` after the shortest `Deadline.request` of its watches. A request whose response is
 *   late is sent again before that; the first response counts.
 * - A 429 stops all polls until its `Retry-After`.
 * - Where a `LearnedCadence` is provided, it learns from every job that ends.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Service, never, JobQueue | Scope.Scope> =>
  Effect.flatMap(JobQueue, (queue) => PollingWatcher.make(queue, options))

/**
 * A watcher that polls the `JobQueue`. Programs that are to share its pollers and its budget must share the layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<JobWatcher, never, JobQueue> =>
  Layer.scoped(JobWatcher, make(options))

/**
 * The same, with options that are read from the configuration.
 *
 * @example
 * import { JobWatcher } from "effect-queue-status"
 * import { Config } from "effect"
 *
 * const WatcherLive = JobWatcher.layerConfig({
 *   pollsPerSecond: Config.number("QUEUE_POLLS_PER_SECOND").pipe(Config.withDefault(20))
 * })
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options> = {}
): Layer.Layer<JobWatcher, ConfigError, JobQueue> => Layer.scoped(JobWatcher, Effect.flatMap(unwrap(options), make))

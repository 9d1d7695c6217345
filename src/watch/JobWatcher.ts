/**
 * Watching jobs: a port, and the layer behind it that polls.
 *
 * `JobStream` and `JobRun` watch by this service. A program rarely calls it itself; it provides one of its layers, and all
 * that it watches then shares pollers and a budget.
 *
 * What a subscriber can rely on:
 *
 * - **Consistency.** A sample is a snapshot that a `JobQueue` returned, at the time when it arrived. It is never older
 *   than what the subscriber was given before, or than the cursor that it began with.
 * - **Order.** Samples of a job come in the order of its life, and its end comes last. Jobs have no order among each other.
 * - **Late subscribers.** One that joins, or comes back within the cadence, receives the latest snapshot without a request.
 *   The end of a job is kept for five minutes (of 1,000 jobs at most), and reported without a request.
 * - **Slow subscribers.** Nothing is queued: a subscriber that is slow receives the latest snapshot, and holds up nobody.
 *   What it missed between two snapshots, `Transition.derive` infers from its cursor.
 * - **Deadlines and retries** are each subscriber's own. A deadline that has passed is reported after one more poll, if
 *   too little is known.
 * - **Errors.** When one subscriber's retries run out, only its watch fails. A schedule that dies is a defect of the watches
 *   that follow it.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { JobRef } from "../model/Job.js"
import type { RateLimited } from "../model/QueueError.js"
import { LearnedCadence } from "../policy/LearnedCadence.js"
import { JobQueue } from "../queue/JobQueue.js"
import type * as internal from "./internal/notice.js"
import { Scheduler } from "./internal/scheduler.js"
import { subscribe } from "./internal/subscription.js"

// -----------------------------------------------------------------------------
// what is reported of a job
// -----------------------------------------------------------------------------

/**
 * One job of a subscription.
 *
 * @since 0.1.0
 * @category models
 */
export interface Watch extends internal.Watch {}

/**
 * A snapshot of the job. It is an `Unrecognized` only if the policy takes unknown states for the end.
 *
 * @since 0.1.0
 * @category models
 */
export interface Sample extends internal.Sample {}

/**
 * Polls of the job fail, for a reason that may pass.
 *
 * @since 0.1.0
 * @category models
 */
export interface Trouble extends internal.Trouble {}

/**
 * A poll of the job was answered again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Recovered extends internal.Recovered {}

/**
 * The last notice of a job: it has ended, or it can't be watched any more.
 *
 * @since 0.1.0
 * @category models
 */
export interface Ended extends internal.Ended {}

/**
 * What a subscription reports.
 *
 * @since 0.1.0
 * @category models
 */
export type Notice = Sample | Trouble | Recovered | Ended

/**
 * How jobs are watched, and what of them is reported.
 *
 * @since 0.1.0
 * @category models
 */
export interface SubscribeOptions extends internal.SubscribeOptions {}

/**
 * Some jobs, watched under one policy.
 *
 * @since 0.1.0
 * @category models
 */
export interface Subscription extends internal.Subscription {}

// -----------------------------------------------------------------------------
// what is reported of the watcher
// -----------------------------------------------------------------------------

/**
 * All pauses are longer than the cadences ask for, because they ask for more polls than the budget allows. Reported
 * when it begins, ends, doubles or halves.
 *
 * @since 0.1.0
 * @category events
 */
export interface PollingSlowed {
  readonly _tag: "PollingSlowed"
  /** When that happened, by our clock. */
  readonly at: DateTime.Utc
  /** The factor by which all pauses are longer; 1 when they are not any more. */
  readonly factor: number
}

/**
 * The service answered a poll with 429: no job is polled until `until`. After that, polls are spread out.
 *
 * @since 0.1.0
 * @category events
 */
export interface PollingPaused {
  readonly _tag: "PollingPaused"
  /** When that happened, by our clock. */
  readonly at: DateTime.Utc
  /** When polls go on, by our clock. */
  readonly until: DateTime.Utc
  /** The error of that poll. */
  readonly error: RateLimited
}

/**
 * A job of this model was seen to start before its turn: from now on each job of the model is polled at its cadence.
 *
 * @since 0.1.0
 * @category events
 */
export interface QueueOrderViolated {
  readonly _tag: "QueueOrderViolated"
  /** When that happened, by our clock. */
  readonly at: DateTime.Utc
  /** The model of that job. */
  readonly model: string
}

/**
 * What happens to all jobs of a watcher together.
 *
 * @since 0.1.0
 * @category events
 */
export type PollingEvent = PollingSlowed | PollingPaused | QueueOrderViolated

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
  /** A subscription without jobs. Its watches end with the scope, and what polls for them alone stops at once. */
  readonly subscribe: (options: SubscribeOptions) => Effect.Effect<Subscription, never, Scope.Scope>
  /** What happens from now on; a slow consumer receives the last 16. */
  readonly pollingEvents: Stream.Stream<PollingEvent>
}

/**
 * Who watches jobs for this program.
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
 * What happens to all jobs of the watcher together, from now on.
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
 * A number that is not positive counts as not given.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * How many polls may begin within any second, and a tenth of it within any tenth of a second. When the cadences ask for
   * more, all pauses are lengthened by the same factor. Defaults to 100.
   */
  readonly pollsPerSecond?: number | undefined
  /** How many requests may be in flight. Defaults to 64. */
  readonly concurrency?: number | undefined
  /**
   * Whether to rely on the order in which the service starts the jobs of a model: the three that are next are polled at
   * their cadence; those behind them when they come to be next, and every two minutes in any case. When a job is seen to
   * start before its turn, all jobs of that model are polled at their cadence from then on.
   *
   * Defaults to `auto`: only while there are more jobs than the budget bears at their cadence.
   */
  readonly queueOrder?: "auto" | "always" | "never" | undefined
}

const positive = (value: number | undefined, otherwise: number): number =>
  value !== undefined && value > 0 ? value : otherwise

/**
 * A watcher that polls the `JobQueue`: one poller a job, however many watch it, and one budget for all. With its scope
 * every poll ends, and watches that are left are interrupted.
 *
 * - A poller uses the shortest interval that any watch asks for; the last watch that leaves stops it.
 * - A request ends with `ResponseTimeout` after the shortest `Deadline.request` of its watches. One whose response is late
 *   is sent again before that; the first response counts.
 * - A 429 stops all polls for as long as it says.
 * - Where a `LearnedCadence` is provided, it learns from every job that ends.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Service, never, JobQueue | Scope.Scope> =>
  Effect.gen(function*() {
    const jobQueue = yield* JobQueue
    const queue = Option.match(yield* Effect.serviceOption(LearnedCadence), {
      onNone: () => jobQueue,
      onSome: (learned) => ({ ...jobQueue, status: (job: JobRef) => Effect.tap(jobQueue.status(job), learned.observe) })
    })
    const events = yield* PubSub.sliding<PollingEvent>(16)
    const scheduler = new Scheduler(
      queue,
      {
        pollsPerSecond: positive(options.pollsPerSecond, 100),
        concurrency: Math.max(1, Math.floor(positive(options.concurrency, 64))),
        queueOrder: options.queueOrder ?? "auto",
        keptFor: Duration.toMillis(Duration.minutes(5)),
        keptEnds: 1_000,
        floor: Duration.toMillis(Duration.minutes(2))
      },
      yield* Effect.runtime<never>(),
      yield* Effect.clock,
      yield* Effect.random,
      {
        stretched: (at, factor) => events.unsafeOffer({ _tag: "PollingSlowed", at, factor }),
        paused: (at, until, error) => events.unsafeOffer({ _tag: "PollingPaused", at, until, error }),
        orderLost: (at, model) => events.unsafeOffer({ _tag: "QueueOrderViolated", at, model })
      }
    )
    yield* Effect.addFinalizer(() => Effect.zipRight(scheduler.close, PubSub.shutdown(events)))
    return JobWatcher.of({
      subscribe: (options) => subscribe(scheduler, queue, options),
      pollingEvents: Stream.fromPubSub(events)
    })
  })

/**
 * A watcher that polls the `JobQueue`. Everything that is to share its pollers and its budget must share the layer.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<JobWatcher, never, JobQueue> =>
  Layer.scoped(JobWatcher, make(options))

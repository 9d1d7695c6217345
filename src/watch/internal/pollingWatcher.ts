/**
 * The watcher that polls. `JobWatcher` exports its options, so they are not marked as internal: the build would leave them
 * out.
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import type { JobRef } from "../../model/Job.js"
import type { RateLimited } from "../../model/QueueError.js"
import { LearnedCadence } from "../../policy/LearnedCadence.js"
import * as Fiber from "../../queue/internal/fiber.js"
import { clockAheadOf } from "../../queue/internal/hidden.js"
import type { Service as JobQueueService } from "../../queue/JobQueue.js"
import type { PollingEvent, SubscribeOptions } from "./notice.js"
import { Scheduler } from "./scheduler.js"
import { subscribe } from "./subscription.js"

/** See `JobWatcher.Options`. */
export interface Options {
  /**
   * How many polls may begin within any second, with a tenth of that within any tenth of a second. If the cadences ask for
   * more, the watcher lengthens all pauses by the same factor. `Infinity` sets no limit. Defaults to 100.
   */
  readonly pollsPerSecond?: number | undefined
  /** How many requests may be in flight. Defaults to 64. */
  readonly concurrency?: number | undefined
  /**
   * Whether to rely on the order in which the service starts the jobs of a model. If so, the next three jobs are polled at
   * their cadence, and those behind them when they move up, at least every two minutes. After a job of a model has started
   * before its turn, all jobs of that model are polled at their cadence.
   *
   * Defaults to `auto`: only while the budget does not allow to poll all jobs at their cadence.
   */
  readonly queueOrder?: "auto" | "always" | "never" | undefined
}

const positive = (value: number | undefined, otherwise: number): number =>
  value !== undefined && value > 0 ? value : otherwise

/**
 * Creates a watcher over the calls of a queue that it needs, with a part of the budget: `share` is read at each poll. A job can
 * be removed from its subscriptions, and `pause` is for a 429 to another part.
 *
 * @internal
 */
export const make = (
  jobQueue: Pick<JobQueueService, "status" | "cancel" | "clockAhead">,
  options: Options,
  share: () => number = () => 1
) =>
  Effect.gen(function*() {
    const queue = Option.match(yield* Effect.serviceOption(LearnedCadence), {
      onNone: () => jobQueue,
      onSome: (learned) => ({
        status: (job: JobRef) => Effect.tap(jobQueue.status(job), (status) => learned.observe(status)),
        cancel: (job: JobRef) => jobQueue.cancel(job)
      })
    })
    const clockAhead = clockAheadOf(jobQueue)
    const events = yield* PubSub.sliding<PollingEvent>(16)
    const scheduler = new Scheduler(
      queue,
      {
        pollsPerSecond: positive(options.pollsPerSecond, 100),
        share,
        concurrency: Math.max(1, Math.floor(positive(options.concurrency, 64))),
        queueOrder: options.queueOrder ?? "auto",
        labels: yield* Fiber.metricLabels
      },
      yield* Fiber.runtime,
      yield* Effect.clock,
      (event) => events.unsafeOffer(event),
      clockAhead
    )
    yield* Effect.addFinalizer(() => Effect.zipRight(scheduler.close, PubSub.shutdown(events)))
    return {
      subscribe: (options: SubscribeOptions) => subscribe(scheduler, options),
      pollingEvents: Stream.fromPubSub(events),
      pause: (error: RateLimited) => Effect.sync(() => scheduler.plan.pause(error)),
      clockAhead,
      inspect: (model: string) => Effect.sync(() => scheduler.inspect(model))
    }
  })

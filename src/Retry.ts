/**
 * When to try again after trouble: schedules whose input is the error that the last try met.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schedule from "effect/Schedule"
import { isTransient } from "./QueueError.js"
import type { QueueError } from "./QueueError.js"

/**
 * Any schedule that takes every error of a call. When it ends, the error it was last given is final. A watch starts it
 * afresh for each poll, so a success makes good for what went before.
 *
 * @since 0.1.0
 * @category models
 */
export type Retry = Schedule.Schedule<unknown, QueueError>

const retryAfterOf = (error: QueueError): Duration.Duration =>
  "retryAfter" in error && error.retryAfter !== undefined ? error.retryAfter : Duration.zero

/**
 * Tries again at most `times` times, and only after errors that may pass (`QueueError.isTransient`). The pauses grow
 * from `base` by `factor` up to `cap`, each lengthened or shortened by chance by up to a fifth; where the service said
 * `Retry-After`, no pause is shorter than that.
 *
 * With `base` 1 second, `factor` 2, `cap` 10 seconds and `times` 5, tries come after 0, 1, 3, 7, 15 and 25 seconds, give
 * or take the jitter.
 *
 * @example
 * import { JobQueue, Retry } from "effect-queue-status"
 * import { Effect } from "effect"
 *
 * const metrics = JobQueue.metrics("my-org/video-generator").pipe(
 *   Effect.retry(Retry.transient({ base: "1 second", factor: 2, cap: "10 seconds", times: 5 }))
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const transient = (options: {
  readonly base: Duration.DurationInput
  readonly factor: number
  readonly cap: Duration.DurationInput
  readonly times: number
}): Schedule.Schedule<QueueError, QueueError> =>
  Schedule.exponential(options.base, options.factor).pipe(
    Schedule.union(Schedule.spaced(options.cap)),
    Schedule.jittered,
    Schedule.intersect(Schedule.recurs(options.times)),
    Schedule.whileInput(isTransient),
    // `modifyDelay` is handed what the schedule puts out: let that be the error
    Schedule.passthrough,
    Schedule.modifyDelay((error, delay) => Duration.max(delay, retryAfterOf(error)))
  )

/**
 * Up to 8 more tries, after pauses of 0.5, 1, 2, 4, 8, 16, 30 and 30 seconds, give or take a fifth: a service that is
 * gone for a minute and a half is waited for.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultRetry: Retry = transient({
  base: Duration.millis(500),
  factor: 2,
  cap: Duration.seconds(30),
  times: 8
})

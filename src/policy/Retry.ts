/**
 * When to try again after an error: schedules whose input is the error of the last attempt.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { maxRetryAfter } from "../model/internal/limits.js"
import { isTransient, type QueueError } from "../model/QueueError.js"
import { retryAfterOf } from "./internal/pauses.js"
import * as Steps from "./internal/schedule.js"

/**
 * A schedule that accepts every error of a call. When it ends, its last error is final. A watch starts it anew for each
 * poll, so a success resets it.
 *
 * @since 0.1.0
 * @category models
 */
export type Retry = Schedule.Schedule<unknown, QueueError>

/**
 * Adjusts a schedule so that no delay is shorter than `Retry-After` or longer than one day. Apply any jitter before
 * this. A watch does this to every retry policy; other callers must do it themselves.
 *
 * @since 0.1.0
 * @category combinators
 */
export const respectRetryAfter = <Out, In extends QueueError>(
  self: Schedule.Schedule<Out, In>
): Schedule.Schedule<In, In> =>
  self.pipe(
    // `modifyDelay` receives the output of the schedule: make that the error
    Schedule.passthrough,
    Schedule.modifyDelay((error, delay) => Duration.min(Duration.max(delay, retryAfterOf(error)), maxRetryAfter))
  )

// Zero, negative and NaN delays would cause a hot loop.
const delayOf = (input: Duration.DurationInput): Duration.Duration =>
  Duration.clamp(Duration.decode(input), { minimum: Duration.millis(1), maximum: maxRetryAfter })

/**
 * Retries at most `times` times, and only after transient errors (`QueueError.isTransient`). The pauses grow from
 * `base` by `factor` up to `cap`, each with a random jitter of up to a fifth, and are never shorter than `Retry-After`.
 * With `within`, no attempt begins that much time after the first failure, or later.
 *
 * With `base` 1 second, `factor` 2, `cap` 10 seconds and `times` 5, attempts come after 0, 1, 3, 7, 15 and 25 seconds,
 * plus or minus the jitter.
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
  readonly within?: Duration.DurationInput | undefined
}): Schedule.Schedule<QueueError, QueueError> =>
  Schedule.exponential(delayOf(options.base), options.factor >= 1 ? options.factor : 1).pipe(
    Schedule.union(Schedule.spaced(delayOf(options.cap))),
    Schedule.jittered,
    Schedule.intersect(Schedule.recurs(options.times)),
    Schedule.whileInput<QueueError>(isTransient),
    respectRetryAfter,
    (schedule) => options.within === undefined ? schedule : endWithin(schedule, options.within)
  )

// Ends before a delay that would exceed the limit. `Schedule.upTo` checks the clock before the delay, not after it.
const endWithin = <Out, In>(
  self: Schedule.Schedule<Out, In>,
  limit: Duration.DurationInput
): Schedule.Schedule<Out, In> =>
  Steps.make(
    { start: undefined as number | undefined, inner: self.initial as unknown },
    (now, input: In, state) =>
      Effect.map(Steps.ask(self, now, input, state.inner), ([inner, out, pause]) => {
        const start = state.start ?? now
        const isLate = pause !== undefined && now + pause >= start + Duration.toMillis(limit)
        return [{ start, inner }, out, isLate ? undefined : pause] as const
      })
  )

/**
 * Combines a policy for each kind of error, each with its own count. An error without a policy is final.
 *
 * - `transient`: errors that may pass (`QueueError.isTransient`).
 * - `notFound`: the grace period for a new job that may not have reached every replica: one may know it while the next
 *   does not.
 *
 * @since 0.1.0
 * @category constructors
 */
export const byKind = (options: {
  readonly transient?: Retry | undefined
  readonly notFound?: Retry | undefined
}): Retry => {
  const start = { transient: options.transient?.initial as unknown, notFound: options.notFound?.initial as unknown }
  return Steps.make(start, (now, error: QueueError, states) => {
    const kind = isTransient(error) ? "transient" : "notFound"
    const schedule = kind === "transient" || error._tag === "JobNotFound" ? options[kind] : undefined
    if (schedule === undefined) return Effect.succeed([states, error as unknown, undefined] as const)
    return Effect.map(
      Steps.ask(schedule, now, error, states[kind]),
      ([after, out, pause]) => [{ ...states, [kind]: after }, out, pause] as const
    )
  })
}

/**
 * The default retry policy. Transient errors: up to 8 retries, after pauses of 0.5, 1, 2, 4, 8, 16, 30 and 30 seconds,
 * plus or minus a fifth, to outlast an outage of a minute and a half. A job that is not found: retries for 5 seconds,
 * twice a second.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultRetry: Retry = byKind({
  transient: transient({ base: Duration.millis(500), factor: 2, cap: Duration.seconds(30), times: 8 }),
  notFound: Schedule.intersect(Schedule.spaced(Duration.millis(500)), Schedule.recurs(10))
})

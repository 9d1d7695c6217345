/**
 * When to try again after trouble: schedules whose input is the error that the last try met.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { maxRetryAfter } from "../model/internal/limits.js"
import { isTransient } from "../model/QueueError.js"
import type { QueueError } from "../model/QueueError.js"
import { retryAfterOf } from "./internal/retryAfter.js"
import * as Steps from "./internal/schedule.js"

/**
 * Any schedule that takes every error of a call. When it ends, the error it was last given is final. A watch starts it
 * afresh for each poll, so a success makes good for what went before.
 *
 * @since 0.1.0
 * @category models
 */
export type Retry = Schedule.Schedule<unknown, QueueError>

/**
 * The same schedule, with no delay shorter than the service asked for by `Retry-After`, and none longer than
 * one day. Whatever jitter there is must be inside of it. A watch does this to every retry policy it is given;
 * other callers must ask for it.
 *
 * @since 0.1.0
 * @category combinators
 */
export const respectRetryAfter = <Out, In extends QueueError>(
  self: Schedule.Schedule<Out, In>
): Schedule.Schedule<In, In> =>
  self.pipe(
    // `modifyDelay` is handed what the schedule puts out: let that be the error
    Schedule.passthrough,
    Schedule.modifyDelay((error, delay) => Duration.min(Duration.max(delay, retryAfterOf(error)), maxRetryAfter))
  )

// Zero, negative and NaN delays would make a hot loop of it.
const delayOf = (input: Duration.DurationInput): Duration.Duration =>
  Duration.clamp(Duration.decode(input), { minimum: Duration.millis(1), maximum: maxRetryAfter })

/**
 * Tries again at most `times` times, and only after errors that may pass (`QueueError.isTransient`). The pauses grow
 * from `base` by `factor` up to `cap`, each lengthened or shortened by chance by up to a fifth; where the service said
 * `Retry-After`, no pause is shorter than that. With `within`, no try begins that much time after the first one failed,
 * or later.
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
  readonly within?: Duration.DurationInput | undefined
}): Schedule.Schedule<QueueError, QueueError> =>
  Schedule.exponential(delayOf(options.base), options.factor >= 1 ? options.factor : 1).pipe(
    Schedule.union(Schedule.spaced(delayOf(options.cap))),
    Schedule.jittered,
    Schedule.intersect(Schedule.recurs(options.times)),
    Schedule.whileInput(isTransient),
    respectRetryAfter,
    (schedule) => options.within === undefined ? schedule : endWithin(schedule, options.within)
  )

// Ends before a delay that would lead past the limit. `Schedule.upTo` looks at the clock before the delay, not after it.
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
 * A policy for each kind of error, each with a count of its own. An error of a kind for which there is none is final.
 *
 * - `transient`: what may pass (`QueueError.isTransient`).
 * - `notFound`: the grace for a job that was only just submitted and may not have arrived at every replica: one may know
 *   it, and the next one that is asked may not.
 *
 * @since 0.1.0
 * @category constructors
 */
export const byKind = (options: {
  readonly transient?: Retry | undefined
  readonly notFound?: Retry | undefined
}): Retry => {
  const kindOf = (error: QueueError) =>
    isTransient(error) ? "transient" : error._tag === "JobNotFound" ? "notFound" : undefined
  const start: { readonly [kind: string]: unknown } = {}
  return Steps.make(start, (now, error: QueueError, states) => {
    const kind = kindOf(error)
    const schedule = kind === undefined ? undefined : options[kind]
    if (kind === undefined || schedule === undefined) {
      return Effect.succeed([states, error as unknown, undefined] as const)
    }
    const state = kind in states ? states[kind] : schedule.initial
    return Effect.map(
      Steps.ask(schedule, now, error, state),
      ([after, out, pause]) => [{ ...states, [kind]: after }, out, pause] as const
    )
  })
}

/**
 * What may pass: up to 8 more tries, after pauses of 0.5, 1, 2, 4, 8, 16, 30 and 30 seconds, give or take a fifth; a
 * service that is gone for a minute and a half is waited for. A job that is not found: tries for 5 seconds, twice a
 * second.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultRetry: Retry = byKind({
  transient: transient({ base: Duration.millis(500), factor: 2, cap: Duration.seconds(30), times: 8 }),
  notFound: Schedule.intersect(Schedule.spaced(Duration.millis(500)), Schedule.recurs(10))
})

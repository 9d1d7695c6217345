/**
 * Limits of the pause between two polls of a job, for every policy.
 *
 * @internal
 */
import * as Duration from "effect/Duration"

/** @internal */
export const minPause: Duration.Duration = Duration.millis(50)

/** @internal */
export const maxPause: Duration.Duration = Duration.days(1)

/**
 * Returns the pause that a duration stands for, in milliseconds: zero, negative and NaN are the shortest, infinity the longest.
 *
 * @internal
 */
export const pauseOf = (input: Duration.DurationInput): number =>
  Duration.toMillis(Duration.clamp(Duration.decode(input), { minimum: minPause, maximum: maxPause }))

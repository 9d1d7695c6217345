/** Limits of the pause between two requests, for every policy. @internal */
import * as Duration from "effect/Duration"
import { maxRetryAfter } from "../../model/internal/limits.js"
import type { QueueError } from "../../model/QueueError.js"

/** @internal */
export const minPause: Duration.Duration = Duration.millis(50)

/** @internal */
export const maxPause: Duration.Duration = Duration.days(1)

/** In milliseconds. @internal */
export const shortestPause: number = Duration.toMillis(minPause)

const longestPause = Duration.toMillis(maxPause)

/**
 * Returns the pause within the limits, in milliseconds. `NaN`, as of `Schedule.windowed(0)`, is the shortest.
 * @internal
 */
export const clampPause = (millis: number): number =>
  millis > shortestPause ? Math.min(longestPause, millis) : shortestPause

/**
 * Returns the pause that a duration stands for, in milliseconds: zero, negative and NaN are the shortest, infinity the longest.
 * @internal
 */
export const pauseOf = (input: Duration.DurationInput): number => clampPause(Duration.toMillis(input))

/** Returns the `Retry-After` of an error: zero if it has none, and at most one day. @internal */
export const retryAfterOf = (error: QueueError): Duration.Duration =>
  "retryAfter" in error && error.retryAfter !== undefined
    ? Duration.min(error.retryAfter, maxRetryAfter)
    : Duration.zero

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

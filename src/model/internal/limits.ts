/**
 * Bounds that hold whatever a caller or the service says.
 *
 * @internal
 */
import * as Duration from "effect/Duration"

/**
 * The longest wait that a `Retry-After` may cause. A longer one counts as this.
 *
 * @internal
 */
export const maxRetryAfter: Duration.Duration = Duration.days(1)

/**
 * The most characters of a response that an error keeps.
 *
 * @internal
 */
export const maxBodyLength = 2_000

/**
 * How often the service puts a job back into the queue after losing its worker (WIRE: `retries`, 0 to 3).
 *
 * @internal
 */
export const maxRetries = 3

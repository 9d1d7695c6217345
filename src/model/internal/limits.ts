/** Limits that no caller or response can override. @internal */
import * as Duration from "effect/Duration"

/** The longest wait that a `Retry-After` can cause. A longer one is reduced to this. @internal */
export const maxRetryAfter: Duration.Duration = Duration.days(1)

/** The maximum number of characters of a response in an error. @internal */
export const maxBodyLength = 2_000

/** How often the service puts a job back into the queue after losing its worker (WIRE: `retries`, 0 to 3). @internal */
export const maxRetries = 3

/** The last date that there is, in milliseconds since the epoch. @internal */
export const lastDate = 8.64e15

import * as Duration from "effect/Duration"
import { maxRetryAfter } from "../../model/internal/limits.js"
import type { QueueError } from "../../model/QueueError.js"

/**
 * How long the service asked not to be called, by this error: zero if it did not, and one day at most.
 *
 * @internal
 */
export const retryAfterOf = (error: QueueError): Duration.Duration =>
  "retryAfter" in error && error.retryAfter !== undefined
    ? Duration.min(error.retryAfter, maxRetryAfter)
    : Duration.zero

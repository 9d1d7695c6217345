import * as Duration from "effect/Duration"
import { maxRetryAfter } from "../../model/internal/limits.js"
import type { QueueError } from "../../model/QueueError.js"

/**
 * Returns the `Retry-After` of an error: zero if it has none, and at most one day.
 *
 * @internal
 */
export const retryAfterOf = (error: QueueError): Duration.Duration =>
  "retryAfter" in error && error.retryAfter !== undefined
    ? Duration.min(error.retryAfter, maxRetryAfter)
    : Duration.zero

/**
 * What is noted of each call of the queue in memory.
 *
 * @since 0.1.0
 */
import type { Operation, QueueError } from "../model/QueueError.js"

/**
 * How a call ended: it was answered, it failed (the tag of its error), who made it did not wait for the answer, or it died
 * of a defect.
 *
 * @since 0.1.0
 * @category models
 */
export type Outcome = "answered" | "interrupted" | "died" | QueueError["_tag"]

/**
 * A call of the queue. What is refused before it is sent, since it is malformed, is no call.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  /** The operation that was called. */
  readonly operation: Operation
  /** The number of the call among those of its operation, 1 for the first. */
  readonly nth: number
  /** When the call was made, in milliseconds since the epoch. */
  readonly at: number
  /** The model that the call was about. */
  readonly model: string
  /** The request id of the job that the call was about; `undefined` for `submit`, `clear` and `metrics`. */
  readonly requestId: string | undefined
  /** When the call ended, in milliseconds since the epoch, and how; `undefined` while it is on its way. */
  readonly end: { readonly at: number; readonly outcome: Outcome } | undefined
}

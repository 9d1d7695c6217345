/**
 * The record that the queue in memory keeps of a call. Public types are made of it, so nothing here is marked as
 * internal: the build would leave it out.
 */
import type { Operation, QueueError } from "../../model/QueueError.js"

/** How a call ended: with a response, with an error (its tag), by interruption, or by a defect. */
export type Outcome = "answered" | "interrupted" | "died" | QueueError["_tag"]

/** A call of the queue. A request that fails validation is not sent, and is no call. */
export interface Call {
  /** The operation that was called. */
  readonly operation: Operation
  /** The number of the call among those of its operation, 1 for the first. */
  readonly nth: number
  /** The time of the call, in milliseconds since the epoch. */
  readonly at: number
  /** The model of the call. */
  readonly model: string
  /** The request id of the job for `status` and `cancel`; `undefined` for `submit`, `clear` and `metrics`. */
  readonly requestId: string | undefined
  /** When the call ended, in milliseconds since the epoch, and how; `undefined` while it is in flight. */
  readonly end: { readonly at: number; readonly outcome: Outcome } | undefined
}

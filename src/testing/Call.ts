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
 * - `nth`: the number of the call among those of its operation, 1 for the first.
 * - `at`: when it was made, in milliseconds since the epoch.
 * - `end`: when and how it ended, `undefined` while it is on its way.
 *
 * @since 0.1.0
 * @category models
 */
export interface Call {
  readonly operation: Operation
  readonly nth: number
  readonly at: number
  readonly model: string
  readonly requestId: string | undefined
  readonly end: { readonly at: number; readonly outcome: Outcome } | undefined
}

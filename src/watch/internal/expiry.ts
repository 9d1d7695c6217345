/**
 * When the deadlines of a watch pass: the same for a real watch and for a simulated one.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as QueueError from "../../model/QueueError.js"
import type { Deadline } from "../../policy/Deadline.js"
import { minPause } from "../../policy/internal/pauses.js"
import type { JobState } from "./jobState.js"

/** @internal */
export interface Expiry {
  readonly at: number
  readonly after: Duration.Duration
  readonly error: typeof QueueError.PendingTooLong | typeof QueueError.Stalled | typeof QueueError.WatchTimeout
}

/**
 * Of the deadlines of a watch, the one that passes first; of two that pass together, `total`.
 *
 * @internal
 */
export const nextExpiry = (startedAt: number, state: JobState, deadline: Deadline): Expiry => {
  const total: Expiry = {
    at: startedAt + Duration.toMillis(deadline.total),
    after: deadline.total,
    error: QueueError.WatchTimeout
  }
  const phase = state.cursor?.phase
  if (phase !== "Queued" && phase !== "Running") return total
  const after = phase === "Queued" ? deadline.pending : deadline.stalled
  // what happened before the watch is not counted
  const at = Math.max(startedAt, state.unchangedSince) + Duration.toMillis(after)
  return at < total.at
    ? { at, after, error: phase === "Queued" ? QueueError.PendingTooLong : QueueError.Stalled }
    : total
}

/** How long the look may take that is made after a deadline has passed, at most. */
const maxLookTimeout = Duration.toMillis(Duration.seconds(30))

/** @internal */
export const lookTimeoutOf = (deadline: Deadline): number =>
  Math.min(Duration.toMillis(deadline.request), maxLookTimeout)

/**
 * The requests of a watch, as far as its deadlines depend on them.
 *
 * @internal
 */
export interface Polled {
  /** When the last request was sent, and when it ended. */
  readonly sentAt: number
  readonly landedAt: number
  /** Until when, by the cadence, the last snapshot is not to be replaced. */
  readonly freshUntil: number
  /** Until when the service asked not to be polled. */
  readonly notBefore: number
}

/**
 * When to poll once more before a deadline that has passed is reported; `undefined` if it is to be reported now. A
 * deadline is reported only after a poll that was sent after it had passed, or while the last snapshot is younger than one
 * cadence; otherwise the job may long have moved, where polls met trouble, had to wait, or the process was suspended.
 * The service is not polled before it asked to be, and never waited for longer than `until`.
 *
 * @internal
 */
export const lookAgainAt = (expiry: Expiry, polled: Polled, now: number, until: number): number | undefined => {
  if (polled.sentAt >= expiry.at || now <= polled.freshUntil) return undefined
  const at = Math.max(now, polled.notBefore, polled.landedAt + Duration.toMillis(minPause))
  return at < until ? at : undefined
}

/**
 * When the deadlines of a watch pass: the same for a real watch and for a simulated one.
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

/** The deadline of a watch that passes first; `total` if two pass together. @internal */
export const nextExpiry = (startedAt: number, state: JobState, deadline: Deadline): Expiry => {
  const total: Expiry = {
    at: startedAt + Duration.toMillis(deadline.total),
    after: deadline.total,
    error: QueueError.WatchTimeout
  }
  const phase = state.cursor?.phase
  if (phase !== "Queued" && phase !== "Running") return total
  const after = phase === "Queued" ? deadline.pending : deadline.stalled
  // time before the watch does not count
  const at = Math.max(startedAt, state.unchangedSince) + Duration.toMillis(after)
  return at < total.at
    ? { at, after, error: phase === "Queued" ? QueueError.PendingTooLong : QueueError.Stalled }
    : total
}

const maxConfirmTimeout = Duration.toMillis(Duration.seconds(30))

/** How long the poll may take that confirms an expiry, in milliseconds. @internal */
export const confirmTimeoutOf = (deadline: Deadline): number =>
  Math.min(Duration.toMillis(deadline.request), maxConfirmTimeout)

/** The requests of a watch, as far as its deadlines depend on them. @internal */
export interface Polled {
  /** When the last request was sent. */
  readonly sentAt: number | undefined
  /** When the last request ended. */
  readonly endedAt: number
  /** Until when the cadence asks for no other snapshot. */
  readonly freshUntil: number
  /** Until when the service asked for no poll. */
  readonly notBefore: number
}

/**
 * When to poll once more before an expiry is reported; `undefined` to report it now. An expiry is reported only after a
 * poll that was sent after it, or while the last snapshot is younger than one cadence. Otherwise the job may have moved
 * long ago, where polls failed, had to wait, or the process was suspended. No poll comes before `notBefore`, and none is
 * waited for after `until`.
 * @internal
 */
export const confirmAt = (expiry: Expiry, polled: Polled, now: number, until: number): number | undefined => {
  if ((polled.sentAt !== undefined && polled.sentAt >= expiry.at) || now <= polled.freshUntil) return undefined
  const at = Math.max(now, polled.notBefore, polled.endedAt + Duration.toMillis(minPause))
  return at < until ? at : undefined
}

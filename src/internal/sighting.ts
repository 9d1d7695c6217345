/**
 * What a watch remembers of a job, and when it gives up on it: the same for a real watch and for a simulated one.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { Deadline } from "../Deadline.js"
import type { JobStatus } from "../Job.js"
import * as QueueError from "../QueueError.js"
import { sameJson } from "./fingerprint.js"

/** @internal */
export interface Sighting {
  readonly status: JobStatus
  readonly at: number
  /** Since when the job has been seen as it is: in the queue, or running without a change. */
  readonly unchangedSince: number
}

const attemptOf = (status: JobStatus): number =>
  Option.getOrElse(status.retries, () => 0) + (status._tag === "Pending" ? 0 : 1)

/**
 * Whether the job is where it was: in the queue, or running without a change.
 *
 * @internal
 */
export const isUnchanged = (before: JobStatus, status: JobStatus): boolean =>
  before._tag === status._tag &&
  attemptOf(before) === attemptOf(status) &&
  (status._tag !== "Running" || sameJson(before.info, status.info))

/** @internal */
export const sight = (before: Sighting | undefined, status: JobStatus, at: number): Sighting => ({
  status,
  at,
  unchangedSince: before !== undefined && isUnchanged(before.status, status) ? before.unchangedSince : at
})

/**
 * The part of an error that tells what was seen of the job: nothing of one that was not.
 *
 * @internal
 */
export const lastSeen = (sighting: Sighting | undefined, now: number): { readonly lastSeen?: QueueError.LastSeen } =>
  sighting === undefined ? {} : {
    lastSeen: {
      status: sighting.status,
      age: Duration.millis(now - sighting.at),
      attempt: attemptOf(sighting.status)
    }
  }

/** @internal */
export interface Expiry {
  readonly at: number
  readonly after: Duration.Duration
  readonly error: typeof QueueError.PendingTooLong | typeof QueueError.Stalled | typeof QueueError.WatchTimeout
}

/**
 * Of the deadlines of a watch, the one that passes first.
 *
 * @internal
 */
export const nextExpiry = (startedAt: number, sighting: Sighting | undefined, deadline: Deadline): Expiry => {
  const total: Expiry = {
    at: startedAt + Duration.toMillis(deadline.total),
    after: deadline.total,
    error: QueueError.WatchTimeout
  }
  const [after, error] = sighting?.status._tag === "Pending"
    ? [deadline.pending, QueueError.PendingTooLong] as const
    : sighting?.status._tag === "Running"
    ? [deadline.stalled, QueueError.Stalled] as const
    : [Duration.infinity, QueueError.WatchTimeout] as const
  const at = (sighting?.unchangedSince ?? startedAt) + Duration.toMillis(after)
  return at < total.at ? { at, after, error } : total
}

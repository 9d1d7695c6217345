/** The position of a job in its history, by a cursor and by a snapshot. @internal */
import type * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import type { JobStatus } from "../Job.js"
import { maxRetries } from "./limits.js"

// Bounds the length of a path if a service reports a billion retries.
const mostRetries = 100

// Public types are made of these two, so they are not marked as internal: the build would leave them out.
export type Phase = "Queued" | "Running" | "Ended"

/** The fields of a cursor. Times are the server's, in milliseconds since the epoch, `undefined` if it reported none. */
export interface Known {
  /** A hash of the job's reference. */
  readonly job: string
  /** The phase of the job. */
  readonly phase: Phase
  /** The least number of times that the job went back to the queue. */
  readonly retries: number
  /** The latest time of a transition. */
  readonly at: number | undefined
  /** The time of the last claim, even if it was lost. */
  readonly claimedAt: number | undefined
  /** A digest of the `info` that was last emitted, `undefined` if none was. */
  readonly info: string | undefined
}

/** @internal */
export const phaseOf = (status: JobStatus): Phase =>
  status._tag === "Pending" ? "Queued" : status._tag === "Running" ? "Running" : "Ended"

/** The job is in the queue, or was canceled there: every claim was lost. @internal */
export const isUnclaimed = (status: JobStatus): boolean => status._tag === "Pending" || status._tag === "Canceled"

/** Returns a time in whole milliseconds: a cursor has no others. @internal */
export const millis = (time: Option.Option<DateTime.Utc>): number | undefined =>
  Option.isSome(time) ? Math.floor(time.value.epochMillis) : undefined

/** @internal */
export const isEarlier = (time: number | undefined, than: number | undefined): boolean =>
  time !== undefined && than !== undefined && time < than

/** @internal */
export const later = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || isEarlier(a, b) ? b : a

/**
 * Until it ends, the history of a job is Queued, Claimed 1, Requeued 1, Claimed 2, … Its position is the number of
 * these steps after `Queued`. It only grows, so positions compare as numbers.
 *
 * @internal
 */
export const positionOf = (phase: Phase, retries: number): number => 2 * retries + (phase === "Queued" ? 0 : 1)

/** @internal */
export const claimsAt = (position: number): number => Math.ceil(position / 2)

/** @internal */
export const retriesAt = (position: number): number => Math.floor(position / 2)

/** @internal */
export const isRunningAt = (position: number): boolean => position % 2 === 1

/**
 * Returns how often the job had been requeued when a snapshot was taken: as reported, or else the least possible. So
 * the result is never too high, whatever a lagging replica returns: a lower number reported later is old, and a higher
 * one is caught up with.
 *
 * @internal
 */
export const retriesOf = (before: Known | undefined, status: JobStatus): number => {
  const retries = Option.isSome(status.retries)
    ? Math.min(status.retries.value, mostRetries)
    : Math.min(leastRetries(before, status), Math.max(maxRetries, before?.retries ?? 0))
  if (before === undefined || phaseOf(status) !== "Ended") return retries
  // an end is never old, and a running job is requeued before it can be canceled
  const returned = before.phase === "Running" && status._tag === "Canceled" ? 1 : 0
  return Math.max(retries, before.retries + returned)
}

const leastRetries = (before: Known | undefined, status: JobStatus): number => {
  const claims = leastClaims(before, millis(status.claimedAt))
  return isUnclaimed(status) ? claims : Math.max(0, claims - 1)
}

// The least number of claims, given one at that time.
const leastClaims = (before: Known | undefined, claimedAt: number | undefined): number => {
  if (claimedAt === undefined) return 0
  if (before?.claimedAt === undefined) return 1
  if (claimedAt < before.claimedAt) return 0
  return claimsAt(positionOf(before.phase, before.retries)) + (claimedAt > before.claimedAt ? 1 : 0)
}

/**
 * Returns whether a snapshot is older than the cursor, or may be because nothing in it shows when it was taken.
 *
 * @internal
 */
export const isStale = (before: Known, status: JobStatus, retries: number): boolean => {
  const phase = phaseOf(status)
  if (phase === "Ended") return false
  const ahead = positionOf(phase, retries) - positionOf(before.phase, before.retries)
  return ahead < 0 || (ahead === 0 && phase === "Running" && isEarlier(millis(status.claimedAt), before.claimedAt))
}

/**
 * Where a job is in its life: by what was known of it, and by a snapshot.
 *
 * @internal
 */
import type * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import type { JobStatus } from "../Job.js"
import { maxRetries } from "./limits.js"

// A service that reports a billion retries is not believed: no consumer needs a path of that length.
const mostRetries = 100

// Public types refer to it, so it is not marked as internal: the build would leave it out.
export type Phase = "Queued" | "Running" | "Ended"

/**
 * What was known before a snapshot. `claimedAt` is the time of the last claim, be it lost or not.
 *
 * @internal
 */
export interface Known {
  readonly phase: Phase
  readonly retries: number
  readonly claimedAt: number | undefined
}

/** @internal */
export const phaseOf = (status: JobStatus): Phase =>
  status._tag === "Pending" ? "Queued" : status._tag === "Running" ? "Running" : "Ended"

/**
 * In the queue, or canceled there: every claim of such a job was lost.
 *
 * @internal
 */
export const isUnclaimed = (status: JobStatus): boolean => status._tag === "Pending" || status._tag === "Canceled"

/** @internal */
export const millis = (time: Option.Option<DateTime.Utc>): number | undefined =>
  Option.isSome(time) ? time.value.epochMillis : undefined

/** @internal */
export const isEarlier = (time: number | undefined, than: number | undefined): boolean =>
  time !== undefined && than !== undefined && time < than

/** @internal */
export const later = (a: number | undefined, b: number | undefined): number | undefined =>
  a === undefined || isEarlier(a, b) ? b : a

/**
 * Until it ends, the life of a job is Queued, Claimed 1, Requeued 1, Claimed 2, … Its position is the number of these
 * steps after `Queued`. It only grows, so two positions compare as numbers.
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
 * How often the job had gone back to the queue when a snapshot was taken: as reported, else the least that is possible.
 * So what is known is never too much, whatever a lagging replica answers: a lower number that is reported later is an old
 * one, and a higher one is caught up with.
 *
 * @internal
 */
export const retriesOf = (before: Known | undefined, status: JobStatus): number => {
  const retries = Option.isSome(status.retries)
    ? Math.min(status.retries.value, mostRetries)
    : Math.min(leastRetries(before, status), Math.max(maxRetries, before?.retries ?? 0))
  if (before === undefined || phaseOf(status) !== "Ended") return retries
  // an end is never old, and a running job can be canceled only after it went back to the queue
  const returned = before.phase === "Running" && status._tag === "Canceled" ? 1 : 0
  return Math.max(retries, before.retries + returned)
}

const leastRetries = (before: Known | undefined, status: JobStatus): number => {
  const claims = leastClaims(before, millis(status.claimedAt))
  return isUnclaimed(status) ? claims : Math.max(0, claims - 1)
}

// How many claims there were, if one was made at that time.
const leastClaims = (before: Known | undefined, claimedAt: number | undefined): number => {
  if (claimedAt === undefined) return 0
  if (before?.claimedAt === undefined) return 1
  if (claimedAt < before.claimedAt) return 0
  return claimsAt(positionOf(before.phase, before.retries)) + (claimedAt > before.claimedAt ? 1 : 0)
}

/**
 * Whether a snapshot is behind what was known, or, because nothing in it says when it was taken, may be.
 *
 * @internal
 */
export const isStale = (before: Known, status: JobStatus, retries: number): boolean => {
  const phase = phaseOf(status)
  if (phase === "Ended") return false
  const ahead = positionOf(phase, retries) - positionOf(before.phase, before.retries)
  return ahead < 0 || (ahead === 0 && phase === "Running" && isEarlier(millis(status.claimedAt), before.claimedAt))
}

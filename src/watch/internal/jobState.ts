/**
 * What is known of a job that is watched: the one answer to "has it moved". Deadlines, the attempt in an error and the
 * age of a snapshot are read from here; `Transition.derive` alone changes it.
 *
 * @internal
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type { JobStatus } from "../../model/Job.js"
import type { LastSeen } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"

/**
 * Times are monotonic.
 *
 * @internal
 */
export interface JobState {
  /** What the transitions so far lead to; `undefined` before the first one. */
  cursor: Transition.Cursor | undefined
  /** The latest snapshot that was not stale, and when it was taken. */
  status: JobStatus | undefined
  at: number
  /** When the last transition was derived. */
  unchangedSince: number
}

/**
 * Of a job of which nothing is known but a cursor, if there is one.
 *
 * @internal
 */
export const make = (cursor: Transition.Cursor | undefined, now: number): JobState => ({
  cursor,
  status: undefined,
  at: now,
  unchangedSince: now
})

/**
 * What a snapshot adds.
 *
 * @internal
 */
export const derive = (
  state: JobState,
  status: JobStatus,
  options: Transition.DeriveOptions
): ReturnType<typeof Transition.derive> => Transition.derive(Option.fromNullable(state.cursor), status, options)

/**
 * Adds a snapshot by what was derived from it. A stale one changes nothing.
 *
 * @internal
 */
export const accept = (
  state: JobState,
  status: JobStatus,
  at: number,
  { cursor, stale, transitions }: Transition.Derivation
): void => {
  if (stale) return
  state.cursor = cursor
  state.status = status
  state.at = at
  if (transitions.length > 0) state.unchangedSince = at
}

const epoch = DateTime.unsafeMake(0)

/**
 * Whether a snapshot is older than a cursor.
 *
 * @internal
 */
export const isStale = (cursor: Transition.Cursor, status: JobStatus): boolean => {
  const derived = Transition.derive(Option.some(cursor), status, { observedAt: epoch, unrecognized: "end" })
  return Either.isRight(derived) && derived.right.stale
}

/**
 * The attempt that the job is in, or was in last; 0 before the first claim.
 *
 * @internal
 */
export const attemptOf = ({ cursor }: JobState): number =>
  cursor === undefined ? 0 : cursor.retries + (cursor.phase === "Queued" ? 0 : 1)

/**
 * The part of an error that says what was last seen of the job; empty if nothing was.
 *
 * @internal
 */
export const lastSeen = (state: JobState, now: number): { readonly lastSeen?: LastSeen } =>
  state.status === undefined
    ? {}
    : { lastSeen: { status: state.status, age: Duration.millis(now - state.at), attempt: attemptOf(state) } }

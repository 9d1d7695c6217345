/**
 * What is known of a watched job, changed by `Transition.derive` alone. Deadlines, the attempt in an error and the age of a
 * snapshot are read from here, so that all agree on whether the job has moved.
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Either from "effect/Either"
import * as Equivalence from "effect/Equivalence"
import * as Option from "effect/Option"
import { sameJson } from "../../model/internal/fingerprint.js"
import type { JobStatus, Unrecognized } from "../../model/Job.js"
import * as QueueError from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import { retryAfterOf } from "../../policy/internal/pauses.js"

/** Times are monotonic. @internal */
export interface JobState {
  /** The cursor after the last transition; `undefined` before the first one. */
  cursor: Transition.Cursor | undefined
  /** The latest snapshot that was not stale. */
  status: JobStatus | undefined
  /** When that snapshot arrived. */
  at: number
  /** When the last transition was derived. */
  unchangedSince: number
}

/** The errors of polls since the last response. @internal */
export interface Trouble {
  /** The last error. */
  readonly error: QueueError.QueueError
  /** When the first error came. */
  readonly since: number
  /** When the last error came. */
  readonly at: number
  /** Until when the service asked for no poll. */
  readonly notBefore: number
}

/** @internal */
export const troubleOf = (before: Trouble | undefined, error: QueueError.QueueError, now: number): Trouble => ({
  error,
  since: before?.since ?? now,
  at: now,
  notBefore: now + Duration.toMillis(retryAfterOf(error))
})

/** The state of a job without a snapshot. @internal */
export const make = (cursor: Transition.Cursor | undefined, now: number): JobState => ({
  cursor,
  status: undefined,
  at: now,
  unchangedSince: now
})

/** Stores a snapshot with its derivation. A stale snapshot changes nothing. @internal */
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

const isSameTime = Option.getEquivalence(DateTime.Equivalence)

const isSameNumber = Option.getEquivalence(Equivalence.number)

/** Whether two snapshots of a job have the same content. @internal */
export const isSame = (a: JobStatus, b: JobStatus): boolean =>
  a._tag === b._tag && (a._tag !== "Unrecognized" || a.status === (b as Unrecognized).status) &&
  isSameTime(a.createdAt, b.createdAt) && isSameTime(a.claimedAt, b.claimedAt) && isSameTime(a.doneAt, b.doneAt) &&
  isSameNumber(a.priority, b.priority) && isSameNumber(a.retries, b.retries) &&
  sameJson(a.info, b.info) && sameJson(a.inputs, b.inputs) && sameJson(a.outputs, b.outputs) &&
  sameJson(a.warnings, b.warnings)

const epoch = DateTime.unsafeMake(0)

/**
 * Whether a snapshot is older than a cursor. It is `unknown` if it differs in progress alone: the snapshots of an attempt
 * have no order.
 * @internal
 */
export const isOlder = (cursor: Transition.Cursor, status: JobStatus): boolean | "unknown" => {
  const derived = Transition.derive(Option.some(cursor), status, { observedAt: epoch, unrecognized: "end" })
  if (Either.isLeft(derived)) return false
  const { stale, transitions: [first] } = derived.right
  return first?._tag === "Progressed" ? "unknown" : stale
}

/** The current attempt of the job, or the last one; 0 before the first claim. @internal */
export const attemptOf = ({ cursor }: JobState): number =>
  cursor === undefined ? 0 : cursor.retries + (cursor.phase === "Queued" ? 0 : 1)

/** The `lastSeen` field of an error; empty without a snapshot. @internal */
export const lastSeen = (state: JobState, now: number): { readonly lastSeen?: QueueError.LastSeen } =>
  state.status === undefined
    ? {}
    : { lastSeen: { status: state.status, age: Duration.millis(now - state.at), attempt: attemptOf(state) } }

/** Adds what was known of the job before the error. @internal */
export const withKnown = (
  error: QueueError.QueueError,
  state: JobState,
  trouble: Trouble | undefined,
  now: number
): QueueError.QueueError => {
  // the fields are those of the error's own class; TypeScript would require those of every class
  const ErrorClass = QueueError[error._tag] as unknown as new(fields: object) => QueueError.QueueError
  const previousError = trouble?.error.message
  return new ErrorClass({ ...error, ...lastSeen(state, now), ...(previousError !== undefined && { previousError }) })
}

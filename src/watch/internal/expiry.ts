/**
 * The deadlines of a watch: when each passes, and its error.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Job from "../../model/Job.js"
import * as QueueError from "../../model/QueueError.js"
import type { Deadline } from "../../policy/Deadline.js"
import { shortestPause } from "../../policy/internal/pauses.js"
import { makeWithin } from "../../queue/internal/fiber.js"
import type { CancelResult } from "../../queue/JobQueue.js"
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

/** The error of the fourth deadline, which is that of a request. @internal */
export const requestTimeoutOf = (
  job: Job.JobRef,
  millis: number,
  operation: QueueError.Operation = "status"
): QueueError.ResponseTimeout =>
  new QueueError.ResponseTimeout({ operation, model: job.model, job, after: Duration.millis(millis) })

const maxConfirmTimeout = Duration.toMillis(Duration.seconds(30))

/** How long the poll may take that confirms an expiry, in milliseconds. @internal */
export const confirmTimeoutOf = (deadline: Deadline): number =>
  Math.min(Duration.toMillis(deadline.request), maxConfirmTimeout)

/**
 * Fails with the error of a deadline, after its job was canceled if the policy says so. `elapsed` milliseconds have passed
 * since the last poll: the job is canceled no sooner than another poll could come.
 * @internal
 */
export const cancelThenFail = (
  error: QueueError.DeadlineError,
  cancel: Effect.Effect<CancelResult, QueueError.QueueError>,
  deadline: Deadline,
  elapsed: number
): Effect.Effect<never, QueueError.DeadlineError> => {
  const timeout = confirmTimeoutOf(deadline)
  return makeWithin.pipe(
    Effect.delay(Math.max(0, shortestPause - elapsed)),
    Effect.flatMap((within) => within(cancel, timeout, Effect.fail(requestTimeoutOf(error.job, timeout, "cancel")))),
    Effect.merge,
    Effect.flatMap((cancel) => Effect.fail(new QueueError[error._tag]({ ...error, cancel })))
  )
}

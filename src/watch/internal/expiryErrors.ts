/**
 * The errors of watches.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { monotonic } from "../../model/internal/time.js"
import type * as Job from "../../model/Job.js"
import * as QueueError from "../../model/QueueError.js"
import type { Deadline } from "../../policy/Deadline.js"
import { minPause } from "../../policy/internal/pauses.js"
import { retryAfterOf } from "../../policy/internal/retryAfter.js"
import type { WatchPolicy } from "../../policy/WatchPolicy.js"
import type { Within } from "../../queue/internal/fiber.js"
import type { CancelResult, Service } from "../../queue/JobQueue.js"
import { confirmTimeoutOf, type Expiry } from "./expiry.js"
import { type JobState, lastSeen } from "./jobState.js"

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

/** @internal */
export const requestTimeoutOf = (job: Job.JobRef, after: Duration.Duration): QueueError.ResponseTimeout =>
  new QueueError.ResponseTimeout({ operation: "status", model: job.model, job, after })

/** The knowledge of a watch that ends before its job. @internal */
export interface Known {
  readonly state: JobState
  readonly trouble: Trouble | undefined
  /** When the last request ended. */
  readonly endedAt: number
}

/** Cancels a job because a deadline of its watch has passed. Returns a description of the result. @internal */
export const cancelExpired = (
  within: Within,
  cancel: Effect.Effect<CancelResult, QueueError.QueueError>,
  deadline: Deadline
): Effect.Effect<string> =>
  within(
    cancel.pipe(
      Effect.map((result) => result._tag === "Canceled" ? "canceled" : `not canceled, it is ${result.status}`),
      Effect.catchAll((error) => Effect.succeed(error.message))
    ),
    confirmTimeoutOf(deadline),
    Effect.succeed("no answer in time")
  )

/**
 * Fails with the error of a deadline that has passed. If the policy says so, and the job is not known to be running,
 * cancels the job first, no sooner after the last poll than another poll could come.
 * @internal
 */
export const expire = (
  within: Within,
  queue: Service,
  job: Job.JobRef,
  policy: WatchPolicy,
  { endedAt, state, trouble }: Known,
  { after, error: DeadlineError }: Expiry
): Effect.Effect<never, QueueError.DeadlineError> =>
  Effect.gen(function*() {
    const now = monotonic(yield* Effect.clock)
    const seen = lastSeen(state, now)
    let cancel: string | undefined
    if (policy.deadline.onExpiry === "cancel-pending" && state.cursor?.phase !== "Running") {
      yield* Effect.sleep(Math.max(0, endedAt + Duration.toMillis(minPause) - now))
      cancel = yield* cancelExpired(within, queue.cancel(job), policy.deadline)
    }
    return yield* new DeadlineError({
      job,
      after,
      ...seen,
      ...(trouble !== undefined && { lastError: trouble.error }),
      ...(cancel !== undefined && { cancel })
    })
  })

// the fields are those of the error's own class; TypeScript would require those of every class
const withFields = <E extends QueueError.DeadlineError | QueueError.QueueError>(error: E, fields: object): E =>
  new (QueueError[error._tag] as unknown as new(fields: object) => E)({ ...error, ...fields })

/** Adds the result of canceling the job. @internal */
export const withCancel = (error: QueueError.DeadlineError, cancel: string): QueueError.DeadlineError =>
  withFields(error, { cancel })

/** Adds what the watch knew of the job before the error. @internal */
export const withKnown = (
  { state, trouble }: Pick<Known, "state" | "trouble">,
  error: QueueError.QueueError,
  now: number
): QueueError.QueueError =>
  withFields(error, { ...lastSeen(state, now), ...(trouble !== undefined && { previousError: trouble.error.message }) })

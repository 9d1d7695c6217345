/**
 * When to give up. Four clocks that are easily confused, each with a name and an error of its own.
 *
 * | deadline | runs | error |
 * | --- | --- | --- |
 * | `request` | from when a request is sent until its answer is whole | `ResponseTimeout`, which may be tried again |
 * | `pending` | while the job waits in the queue | `PendingTooLong` |
 * | `stalled` | while the job runs and nothing of it changes | `Stalled` |
 * | `total` | from the beginning of the watch | `WatchTimeout` |
 *
 * A deadline of the watch ends the watch, not the job, unless `onExpiry` says otherwise.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import { dual } from "effect/Function"
import * as Pipeable from "effect/Pipeable"

/**
 * The four deadlines, and what happens to the job when one of the watch has passed. A deadline that is infinite never
 * passes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Deadline extends Pipeable.Pipeable {
  /** How long one request may take, headers and body. Then it fails with `ResponseTimeout`, which may be tried again. */
  readonly request: Duration.Duration
  /** How long the job may wait in the queue, each time that it is there. Then the watch fails with `PendingTooLong`. */
  readonly pending: Duration.Duration
  /** How long the job may run without any change in its attempt or its `info`. Then the watch fails with `Stalled`. */
  readonly stalled: Duration.Duration
  /** How long the watch may take in all. Then it fails with `WatchTimeout`. */
  readonly total: Duration.Duration
  /**
   * What happens to the job when `pending`, `stalled` or `total` has passed: it is left alone (`leave`), or, if it is
   * still pending, canceled (`cancel-pending`).
   */
  readonly onExpiry: "leave" | "cancel-pending"
}

/**
 * No deadline at all.
 *
 * @since 0.1.0
 * @category constants
 */
export const none: Deadline = {
  request: Duration.infinity,
  pending: Duration.infinity,
  stalled: Duration.infinity,
  total: Duration.infinity,
  onExpiry: "leave",
  // its own, so that a spread keeps it
  pipe: Pipeable.Prototype.pipe
}

/**
 * How long one request may take, headers and body.
 *
 * @since 0.1.0
 * @category constructors
 */
export const request = (duration: Duration.DurationInput): Deadline => ({
  ...none,
  request: Duration.decode(duration)
})

/**
 * How long the job may wait in the queue, each time that it is there.
 *
 * @since 0.1.0
 * @category constructors
 */
export const pending = (duration: Duration.DurationInput): Deadline => ({
  ...none,
  pending: Duration.decode(duration)
})

/**
 * How long the job may run without any change in its attempt or its `info`. A heartbeat that carries nothing is not seen
 * by a watch; for jobs that report no progress this is how long an attempt may take.
 *
 * @since 0.1.0
 * @category constructors
 */
export const stalled = (duration: Duration.DurationInput): Deadline => ({
  ...none,
  stalled: Duration.decode(duration)
})

/**
 * How long the watch may take in all.
 *
 * @since 0.1.0
 * @category constructors
 */
export const total = (duration: Duration.DurationInput): Deadline => ({ ...none, total: Duration.decode(duration) })

/**
 * Of two deadlines the sooner, clock by clock. The job is canceled on expiry when either says so.
 *
 * @example
 * import { Deadline, JobStream } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 *
 * const deadline = Deadline.total("2 hours").pipe(
 *   Deadline.min(Deadline.pending("10 minutes")),
 *   Deadline.min(Deadline.stalled("5 minutes")),
 *   Deadline.cancelPending
 * )
 *
 * const watch = (job: Job.JobRef) => JobStream.transitions(job, { deadline })
 *
 * @since 0.1.0
 * @category combinators
 */
export const min: {
  (that: Deadline): (self: Deadline) => Deadline
  (self: Deadline, that: Deadline): Deadline
} = dual(2, (self: Deadline, that: Deadline): Deadline => ({
  ...self,
  request: Duration.min(self.request, that.request),
  pending: Duration.min(self.pending, that.pending),
  stalled: Duration.min(self.stalled, that.stalled),
  total: Duration.min(self.total, that.total),
  onExpiry: self.onExpiry === "leave" ? that.onExpiry : self.onExpiry
}))

/**
 * The same deadlines; and a job that is still pending when one of them has passed is canceled.
 *
 * @since 0.1.0
 * @category combinators
 */
export const cancelPending = (self: Deadline): Deadline => ({ ...self, onExpiry: "cancel-pending" })

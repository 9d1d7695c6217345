/**
 * Deadlines: four clocks that are easily confused, each with its own name and error. All but `request` end the watch, not the
 * job, unless `onExpiry` is `cancel-pending`.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import { dual } from "effect/Function"
import * as Pipeable from "effect/Pipeable"

/**
 * The four deadlines, and what happens to the job when one of the watch has passed. An infinite deadline never passes.
 *
 * @since 0.1.0
 * @category models
 */
export interface Deadline extends Pipeable.Pipeable {
  /** The time limit of a request, headers and body. Then it fails with `ResponseTimeout`, which may be retried. */
  readonly request: Duration.Duration
  /** The maximum time in the queue, for each stay. Then the watch fails with `PendingTooLong`. */
  readonly pending: Duration.Duration
  /** The maximum running time without a change of the attempt or the `info`. Then the watch fails with `Stalled`. */
  readonly stalled: Duration.Duration
  /** The maximum duration of the watch. Then it fails with `WatchTimeout`. */
  readonly total: Duration.Duration
  /**
   * What happens to the job when `pending`, `stalled` or `total` has passed: it is left alone (`leave`), or, if it is
   * still pending, canceled (`cancel-pending`).
   */
  readonly onExpiry: "leave" | "cancel-pending"
}

/**
 * No deadline.
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
  // an own property, so that a spread keeps it
  pipe: Pipeable.Prototype.pipe
}

/**
 * Limits the duration of a request, headers and body.
 *
 * @since 0.1.0
 * @category constructors
 */
export const request = (duration: Duration.DurationInput): Deadline => ({ ...none, request: Duration.decode(duration) })

/**
 * Limits the time in the queue, for each stay.
 *
 * @since 0.1.0
 * @category constructors
 */
export const pending = (duration: Duration.DurationInput): Deadline => ({ ...none, pending: Duration.decode(duration) })

/**
 * Limits the running time without a change of the attempt or the `info`. A watch does not see heartbeats without
 * content: for jobs that report no progress this is the maximum duration of an attempt.
 *
 * @since 0.1.0
 * @category constructors
 */
export const stalled = (duration: Duration.DurationInput): Deadline => ({ ...none, stalled: Duration.decode(duration) })

/**
 * Limits the duration of the watch.
 *
 * @since 0.1.0
 * @category constructors
 */
export const total = (duration: Duration.DurationInput): Deadline => ({ ...none, total: Duration.decode(duration) })

/**
 * Combines two deadlines: the sooner of each clock. The job is canceled on expiry if either requests it.
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
 * Cancels a job that is still pending when a deadline of the watch has passed.
 *
 * @since 0.1.0
 * @category combinators
 */
export const cancelPending = (self: Deadline): Deadline => ({ ...self, onExpiry: "cancel-pending" })

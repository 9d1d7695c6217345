/**
 * When to poll next: schedules whose input is the snapshot that the last poll brought.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Schedule from "effect/Schedule"
import type { JobStatus } from "./Job.js"

/**
 * Any schedule that takes every snapshot. Its delays are the pauses between polls; what it puts out does not matter. The
 * first poll of a watch is immediate and asks no cadence. A cadence that ends does not end the watch: from then on the
 * default cadence is followed.
 *
 * @since 0.1.0
 * @category models
 */
export type Cadence = Schedule.Schedule<unknown, JobStatus>

/**
 * Pauses that grow from `base` by `factor` up to `cap`, each lengthened or shortened by chance by up to a fifth, so that
 * watches that began together do not poll together.
 *
 * With `base` 1 second, `factor` 2 and `cap` 10 seconds, polls come after 0, 1, 3, 7, 15, 25, 35 … seconds, give or take
 * the jitter.
 *
 * @example
 * import { Cadence, JobStream } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 *
 * const watch = (job: Job.JobRef) =>
 *   JobStream.transitions(job, { cadence: Cadence.exponential({ base: "1 second", factor: 2, cap: "10 seconds" }) })
 *
 * @since 0.1.0
 * @category constructors
 */
export const exponential = (options: {
  readonly base: Duration.DurationInput
  readonly factor: number
  readonly cap: Duration.DurationInput
}): Cadence =>
  Schedule.exponential(options.base, options.factor).pipe(
    // of two delays, `union` takes the shorter
    Schedule.union(Schedule.spaced(options.cap)),
    Schedule.jittered
  )

/**
 * From half a second, growing by half, up to 5 seconds: polls come after 0, 0.5, 1.25, 2.4, 4.1, 6.6, 10.4, 15.4, 20.4 …
 * seconds, give or take a fifth of each pause.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultCadence: Cadence = exponential({
  base: Duration.millis(500),
  factor: 1.5,
  cap: Duration.seconds(5)
})

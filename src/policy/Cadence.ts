/**
 * When to poll next: schedules whose input is the snapshot that the last poll brought.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Schedule from "effect/Schedule"
import * as Job from "../model/Job.js"
import { maxPause, minPause } from "./internal/pauses.js"
import { ask, make } from "./internal/schedule.js"

/**
 * Any schedule that takes every snapshot. Its delays are the pauses between polls; what it puts out does not matter. The
 * first poll of a watch is immediate and asks no cadence. A cadence that ends does not end the watch: from then on the
 * default cadence is followed. Whatever it says, a watch pauses for 50 milliseconds at least and for one day at most.
 *
 * @since 0.1.0
 * @category models
 */
export type Cadence = Schedule.Schedule<unknown, Job.JobStatus>

// Zero, negative and NaN durations mean the shortest pause there is, infinite ones the longest.
const pauseOf = (input: Duration.DurationInput): number =>
  Duration.toMillis(Duration.clamp(Duration.decode(input), { minimum: minPause, maximum: maxPause }))

/**
 * A pause of `interval` between polls. Only the first one is shorter, by chance, so that watches that began together do
 * not poll together; after that the beat is kept.
 *
 * With 2 seconds, polls come after 0, x, x + 2, x + 4 … seconds, x being anything from 0 to 2.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fixed = (interval: Duration.DurationInput): Cadence => {
  const pause = pauseOf(interval)
  return make(
    true,
    (_now, _: Job.JobStatus, first) =>
      Effect.map(
        first ? Random.next : Effect.succeed(1),
        (part) => [false, undefined, pause * part] as const
      )
  )
}

/**
 * Pauses that grow from `base` by `factor` up to `cap`, each lengthened or shortened by chance by up to a fifth, so that
 * watches that began together do not poll together.
 *
 * With `base` 1 second, `factor` 2 and `cap` 10 seconds, polls come after 0, 1, 3, 7, 15, 25, 35 … seconds, give or take
 * the jitter. A `factor` below 1 is taken for 1; a `cap` below `base` is the pause from the beginning.
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
}): Cadence => {
  const base = pauseOf(options.base)
  const cap = pauseOf(options.cap)
  const factor = options.factor >= 1 ? options.factor : 1
  return make(
    base,
    (_now, _: Job.JobStatus, pause) =>
      Effect.map(Random.nextRange(0.8, 1.2), (jitter) =>
        [
          Math.min(cap, pause * factor),
          undefined,
          Math.min(cap, pause) * jitter
        ] as const)
  )
}

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

/**
 * One cadence for a job that waits in the queue, and another for one that runs. Each begins afresh whenever the job comes
 * into its phase.
 *
 * @example
 * import { Cadence } from "effect-queue-status"
 *
 * // a queue of hours is not worth a poll a second
 * const patient = Cadence.byPhase({
 *   pending: Cadence.exponential({ base: "1 second", factor: 2, cap: "1 minute" }),
 *   running: Cadence.fixed("2 seconds")
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const byPhase = (options: { readonly pending: Cadence; readonly running: Cadence }): Cadence => {
  const start = { phase: "pending" as "pending" | "running", state: options.pending.initial as unknown }
  return make(start, (now, status: Job.JobStatus, before) => {
    const phase = status._tag === "Pending" ? "pending" : "running"
    const cadence = options[phase]
    return Effect.map(
      ask(cadence, now, status, phase === before.phase ? before.state : cadence.initial),
      ([state, out, pause]) => [{ phase, state }, out, pause] as const
    )
  })
}

/**
 * Pauses by the age of the job: each of `upTo` says how old a job may be for its pause, and `otherwise` is for all that are
 * older. The age is taken from the server's `created_at`, and from the beginning of the watch where that is missing or
 * lies ahead of our clock.
 *
 * @example
 * import { Cadence } from "effect-queue-status"
 *
 * const patient = Cadence.byAge({
 *   upTo: [["1 minute", "1 second"], ["1 hour", "10 seconds"]],
 *   otherwise: "1 minute"
 * })
 *
 * @since 0.1.0
 * @category constructors
 */
export const byAge = (options: {
  readonly upTo: ReadonlyArray<readonly [age: Duration.DurationInput, pause: Duration.DurationInput]>
  readonly otherwise: Duration.DurationInput
}): Cadence => {
  const steps = options.upTo.map(([age, pause]) => [Duration.toMillis(age), pauseOf(pause)] as const)
  const last = pauseOf(options.otherwise)
  return make(undefined as number | undefined, (now, status: Job.JobStatus, start = now) => {
    const createdAt = Option.getOrElse(Option.map(status.createdAt, DateTime.toEpochMillis), () => start)
    const age = now - Math.min(createdAt, start)
    const pause = steps.find(([upTo]) => age < upTo)?.[1] ?? last
    return Effect.map(Random.nextRange(0.8, 1.2), (jitter) => [start, undefined, pause * jitter] as const)
  })
}

/** What `adaptive` knows between two polls; times in milliseconds. */
interface Adaptive {
  /** The pause of the exponential after the next poll that it asks for, and when that one is. */
  readonly pause: number
  readonly due: number
  /** The attempt that is predicted, and since when it has been running. */
  readonly attempt: string | undefined
  readonly since: number
  /** When the end was expected, if a poll was made for it. */
  readonly aim: number
  /** No poll is added that comes sooner than this, after the last one or before the next one. */
  readonly shortest: number
}

/**
 * The polls of `exponential`, and some more where they pay: when the progress of a running job and the time that its
 * attempt has taken predict that it ends before the next poll, one is added for the predicted end.
 *
 * No prediction takes a poll away, and those that are wrong are few: each time that a poll was added and the job had not
 * ended, the shortest pause doubles, from `floor` on, until predictions have no more say in this attempt. So without
 * progress, or with one that is stuck, jumps, falls or ends early, staleness is never more than that of an exponential
 * with the same `base`, `factor` and `cap`, and the polls are at most `log2(cap / floor) + 1` more in an attempt. To save
 * polls on jobs that tell their progress, raise `cap`.
 *
 * With `floor` 0.2 seconds and `cap` 5 seconds, a job that runs for 17.6 seconds from the beginning and says so is polled
 * after 0, 0.5, 1.25, 2.4, 4.1, 6.6, 10.4, 15.4 and 17.7 seconds, give or take the jitter; the exponential would have
 * seen its end after 20.4. One that is at 99 % all the time: after 0, 0.5, 0.7, 1.25, 1.65, 2.4, 3.2, 4.1 …
 *
 * `base` is half a second and `factor` 1.5 unless said otherwise, as in the default cadence. A `base` below `floor` is
 * taken for `floor`, a `floor` above `cap` for `cap`. `readProgress` is the rule for `info`, `Job.readProgress` by
 * default.
 *
 * @example
 * import { Cadence, WatchPolicy } from "effect-queue-status"
 *
 * const policy = WatchPolicy.withCadence(
 *   WatchPolicy.defaultPolicy,
 *   Cadence.adaptive({ floor: "200 millis", cap: "15 seconds" })
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const adaptive = (options: {
  readonly floor: Duration.DurationInput
  readonly cap: Duration.DurationInput
  readonly base?: Duration.DurationInput | undefined
  readonly factor?: number | undefined
  readonly readProgress?: ((info: Job.JsonObject) => Option.Option<number>) | undefined
}): Cadence => {
  const { factor = 1.5, readProgress = Job.readProgress } = options
  const cap = pauseOf(options.cap)
  const floor = Math.min(cap, pauseOf(options.floor))
  const base = Math.max(floor, pauseOf(options.base ?? Duration.millis(500)))
  const growth = factor >= 1 ? factor : 1
  const start: Adaptive = {
    pause: base,
    due: -Infinity,
    attempt: undefined,
    since: 0,
    aim: Infinity,
    shortest: floor
  }

  // When the attempt ends, by what is known now; never, if nothing is.
  const endOf = (now: number, status: Job.JobStatus, since: number): number => {
    const progress = Option.getOrElse(readProgress(status.info), () => 0)
    return progress > 0 && now > since ? now + (now - since) * (1 - Math.min(1, progress)) / progress : Infinity
  }

  return make(start, (now, status: Job.JobStatus, before) => {
    // timers are not that exact: a poll that comes a little before it is due is that poll
    const isDue = now > before.due - floor / 2
    return Effect.map(isDue ? Random.nextRange(0.8, 1.2) : Effect.succeed(1), (jitter) => {
      const due = isDue ? now + Math.max(floor, Math.min(cap, before.pause) * jitter) : before.due
      const pause = isDue ? Math.min(cap, before.pause * growth) : before.pause
      if (status._tag !== "Running") {
        return [{ ...before, pause, due }, undefined, Math.max(floor, due - now)] as const
      }
      const claimedAt = Option.map(status.claimedAt, DateTime.toEpochMillis)
      const attempt = `${Option.getOrElse(status.retries, () => 0)} ${Option.getOrElse(claimedAt, () => 0)}`
      const isNew = attempt !== before.attempt
      const since = isNew ? Math.min(now, Option.getOrElse(claimedAt, () => now)) : before.since
      const shortest = isNew ? floor : now >= before.aim ? before.shortest * 2 : before.shortest
      const end = Math.max(now + shortest, endOf(now, status, since) + floor / 2)
      const pays = end + shortest <= due
      const next: Adaptive = { pause, due, attempt, since, aim: pays ? end : Infinity, shortest }
      return [next, undefined, pays ? end - now : Math.max(floor, due - now)] as const
    })
  })
}

/**
 * When to poll next: schedules whose input is the snapshot of the last poll.
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
import { pauseOf } from "./internal/pauses.js"
import { remaining } from "./internal/progress.js"
import { ask, make, type Step } from "./internal/schedule.js"

/**
 * A schedule that accepts every snapshot. Its delays are the pauses between polls; its output is ignored. The first
 * poll of a watch is immediate and does not use the cadence. If the cadence ends, the watch continues with the default
 * cadence. A watch pauses for at least 50 milliseconds and at most one day, whatever the cadence returns.
 *
 * @since 0.1.0
 * @category models
 */
export type Cadence = Schedule.Schedule<unknown, Job.JobStatus>

/** A step of a schedule, whose pause is up to a fifth longer or shorter. */
const jittered = <S>(state: S, pause: number): Effect.Effect<Step<S, undefined>> =>
  Effect.map(Random.nextRange(0.8, 1.2), (jitter) => [state, undefined, pause * jitter])

/**
 * Polls every `interval`. Only the first pause is randomly shorter, so that watches that began together do not poll
 * together.
 *
 * With 2 seconds, polls come after 0, x, x + 2, x + 4 … seconds, where x is between 0 and 2.
 *
 * @since 0.1.0
 * @category constructors
 */
export const fixed = (interval: Duration.DurationInput): Cadence => {
  const pause = pauseOf(interval)
  return make(
    true,
    (_now, _: Job.JobStatus, first) =>
      first
        ? Effect.map(Random.next, (part) => [false, undefined, pause * part] as const)
        : Effect.succeed([false, undefined, pause])
  )
}

/**
 * Polls after pauses that grow from `base` by `factor` up to `cap`, each with a random jitter of up to a fifth, so that
 * watches that began together do not poll together.
 *
 * With `base` 1 second, `factor` 2 and `cap` 10 seconds, polls come after 0, 1, 3, 7, 15, 25, 35 … seconds, plus or
 * minus the jitter. A `factor` below 1 counts as 1. If `cap` is below `base`, every pause is `cap`.
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
  return make(base, (_now, _: Job.JobStatus, pause) => jittered(Math.min(cap, pause * factor), Math.min(cap, pause)))
}

/**
 * The default cadence: pauses of half a second, growing by half, up to 5 seconds. Polls come after 0, 0.5, 1.25, 2.4,
 * 4.1, 6.6, 10.4, 15.4, 20.4 … seconds, plus or minus a fifth of each pause.
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
 * Uses one cadence while the job is pending, and another while it runs. Each restarts when the job enters its phase.
 *
 * @example
 * import { Cadence } from "effect-queue-status"
 *
 * // poll seldom while the queue takes hours
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
 * Chooses the pause by the age of the job: each entry of `upTo` has a maximum age and its pause, and `otherwise` is the
 * pause of older jobs. The age is measured from the server's `created_at`, by the server's clock, or from the beginning of
 * the watch if that is missing or later.
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
    return jittered(start, pause)
  })
}

/** The state of `adaptive` between two polls; times in milliseconds. */
interface Adaptive {
  /** The state of the exponential, whose next poll is due at `due`. */
  readonly regular: unknown
  readonly due: number
  /** The attempt that is predicted, and when it began. */
  readonly attempt: string | undefined
  readonly since: number
  /** The predicted end, if a poll was added for it. */
  readonly aim: number
  /** The shortest pause before and after an added poll. */
  readonly shortest: number
}

/**
 * Polls like `exponential`, and adds polls where they pay: if the progress and the running time of the attempt predict
 * that it ends before the next poll, one is added at the predicted end.
 *
 * A prediction never removes a poll, and the number of wrong ones is bounded: each time that a poll was added and the
 * job had not ended, the shortest pause doubles, from `floor` on, until no more polls are added in this attempt. So
 * without progress, or if it is stuck, jumps, falls or ends early, staleness is never more than that of an exponential
 * with the same `base`, `factor` and `cap`, with at most `log2(cap / floor) + 1` more polls in an attempt. To save
 * polls on jobs that report progress, raise `cap`.
 *
 * With `floor` 0.2 seconds and `cap` 5 seconds, a job that runs for 17.6 seconds and reports its progress from the
 * beginning is polled after 0, 0.5, 1.25, 2.4, 4.1, 6.6, 10.4, 15.4 and 17.7 seconds, plus or minus the jitter; the
 * exponential would have seen its end after 20.4. A job that always reports 99 % is polled after 0, 0.5, 0.7, 1.25,
 * 1.65, 2.4, 3.2, 4.1 …
 *
 * `base` defaults to half a second and `factor` to 1.5, as in the default cadence. A `base` below `floor` counts as
 * `floor`, a `floor` above `cap` as `cap`. `readProgress` is the rule for `info`, and defaults to `Job.readProgress`.
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
  const regular = exponential({ base, factor, cap })
  const start: Adaptive = {
    regular: regular.initial,
    due: -Infinity,
    attempt: undefined,
    since: 0,
    aim: Infinity,
    shortest: floor
  }

  return make(start, (now, status: Job.JobStatus, before) => {
    // timers are inexact: a poll slightly before its due time counts as due
    const isDue = now > before.due - floor / 2
    const step: Effect.Effect<Step<unknown, unknown>> = isDue
      ? ask(regular, now, status, before.regular)
      : Effect.succeed([before.regular, undefined, before.due - now])
    return Effect.map(step, ([regular, , left = floor]) => {
      const pause = Math.max(floor, left)
      const due = isDue ? now + pause : before.due
      if (status._tag !== "Running") return [{ ...before, regular, due }, undefined, pause] as const
      const claimedAt = Option.map(status.claimedAt, DateTime.toEpochMillis)
      const attempt = `${Option.getOrElse(status.retries, () => 0)} ${Option.getOrElse(claimedAt, () => 0)}`
      const isNew = attempt !== before.attempt
      const since = isNew ? Math.min(now, Option.getOrElse(claimedAt, () => now)) : before.since
      const shortest = isNew ? floor : now >= before.aim ? before.shortest * 2 : before.shortest
      const progress = Option.getOrElse(readProgress(status.info), () => 0)
      // infinite without progress
      const predicted = now + remaining(now - since, progress)
      const end = Math.max(now + shortest, predicted + floor / 2)
      const pays = end + shortest <= due
      const next: Adaptive = { regular, due, attempt, since, aim: pays ? end : Infinity, shortest }
      return [next, undefined, pays ? end - now : pause] as const
    })
  })
}

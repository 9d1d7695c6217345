/**
 * Workers that do what they are told: what becomes of a job once somebody has claimed it.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type { JobRef, JsonObject } from "../model/Job.js"

// -----------------------------------------------------------------------------
// times
// -----------------------------------------------------------------------------

/**
 * A time that is taken by chance, from a source of numbers between 0 and 1. What workers draw from is seeded, and each
 * attempt at a job has a source of its own: the same seed gives the same times, whatever other jobs do.
 *
 * @since 0.1.0
 * @category times
 */
export type Distribution = (random: () => number) => Duration.Duration

/**
 * A time, always the same or taken by chance.
 *
 * @since 0.1.0
 * @category times
 */
export type Timing = Duration.DurationInput | Distribution

/**
 * Any time between two, all as likely.
 *
 * @since 0.1.0
 * @category times
 */
export const uniform = (from: Duration.DurationInput, to: Duration.DurationInput): Distribution => {
  const min = Duration.toMillis(from)
  const max = Duration.toMillis(to)
  return (random) => Duration.millis(min + (max - min) * random())
}

/**
 * Times with that mean, most of them short: what lies between events that know nothing of each other.
 *
 * @since 0.1.0
 * @category times
 */
export const exponential = (mean: Duration.DurationInput): Distribution => {
  const millis = Duration.toMillis(mean)
  return (random) => Duration.millis(-Math.log(1 - random()) * millis)
}

/**
 * Times around a median, as many half of it as twice of it: how long work takes. `spread` is the standard deviation of
 * the logarithm: with 0.5, the default, two of three times lie between 0.6 and 1.65 times the median.
 *
 * @since 0.1.0
 * @category times
 */
export const lognormal = (median: Duration.DurationInput, spread: number = 0.5): Distribution => {
  const millis = Duration.toMillis(median)
  return (random) => {
    // Box and Muller, A Note on the Generation of Random Normal Deviates, 1958
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
    return Duration.millis(millis * Math.exp(spread * normal))
  }
}

// -----------------------------------------------------------------------------
// steps
// -----------------------------------------------------------------------------

/**
 * One thing that a worker does, `after` so long a time of work since the last one (since the claim, for the first). While
 * it is at work it keeps its claim, by signs of life that tell nothing.
 *
 * - `Heartbeat`: a sign of life that merges `info` into the job's.
 * - `Finish`: the job is done, with `outputs`.
 * - `Fail`: the job has failed, with the `reason` in `info.error`; it is not tried again.
 * - `Die`: nothing more is heard of the worker, and its claim runs out. A worker that runs out of steps dies as well.
 *
 * A `late` step comes so long after the worker has lost its claim, for it went silent instead.
 *
 * @since 0.1.0
 * @category steps
 */
export type Step =
  | { readonly _tag: "Heartbeat"; readonly after: Timing; readonly late: boolean; readonly info: JsonObject }
  | { readonly _tag: "Finish"; readonly after: Timing; readonly late: boolean; readonly outputs: JsonObject }
  | { readonly _tag: "Fail"; readonly after: Timing; readonly late: boolean; readonly reason: string }
  | { readonly _tag: "Die" }

/**
 * A sign of life that may carry notes.
 *
 * @since 0.1.0
 * @category steps
 */
export const heartbeat = (after: Timing, info: JsonObject = {}): Step => ({
  _tag: "Heartbeat",
  after,
  late: false,
  info
})

/**
 * A heartbeat that reports progress, a fraction from 0 to 1, in `info.progress`.
 *
 * @since 0.1.0
 * @category steps
 */
export const progress = (after: Timing, fraction: number): Step => heartbeat(after, { progress: fraction })

/**
 * So many heartbeats, each after such a pause, that report even progress: the last one reports 1.
 *
 * @since 0.1.0
 * @category steps
 */
export const progressInSteps = (count: number, pause: Timing): ReadonlyArray<Step> =>
  Array.from({ length: count }, (_, i) => progress(pause, (i + 1) / count))

/**
 * @since 0.1.0
 * @category steps
 */
export const finish = (after: Timing, outputs: JsonObject = {}): Step => ({
  _tag: "Finish",
  after,
  late: false,
  outputs
})

/**
 * @since 0.1.0
 * @category steps
 */
export const fail = (after: Timing, reason: string): Step => ({
  _tag: "Fail",
  after,
  late: false,
  reason
})

/**
 * Nothing more is heard of the worker.
 *
 * @since 0.1.0
 * @category steps
 */
export const die: Step = { _tag: "Die" }

/**
 * The step of a worker that had gone silent: its pause begins when the claim has run out. Whatever it reports, it must
 * not change what has become of the job since.
 *
 * @example
 * import { Worker } from "effect-queue-status/testing"
 *
 * // the first worker comes back when the second one is at work
 * const script = Worker.attempts(
 *   [Worker.progress("1 second", 0.5), Worker.late(Worker.finish("10 seconds", { by: "the first" }))],
 *   [Worker.finish("1 minute", { by: "the second" })]
 * )
 *
 * @since 0.1.0
 * @category steps
 */
export const late = (step: Step): Step => step._tag === "Die" ? step : { ...step, late: true }

// -----------------------------------------------------------------------------
// scripts
// -----------------------------------------------------------------------------

/**
 * What a worker is given when it claims a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface Task {
  /** The reference of the job. */
  readonly job: JobRef
  /** The number of the job among all of its queue, in the order in which they were submitted, 1 for the first. */
  readonly nth: number
  /** The number of the claim, 1 for the first. */
  readonly attempt: number
  /** The payload as it was submitted. */
  readonly payload: JsonObject
  /** The `info` of the job when it is claimed. */
  readonly info: JsonObject
}

/**
 * What workers do with the jobs they claim. `random` gives numbers between 0 and 1, seeded, for this attempt alone.
 *
 * A script is a function: what it does may depend on all that the task says.
 *
 * @example
 * import { Worker } from "effect-queue-status/testing"
 *
 * const script: Worker.Script = ({ payload }) =>
 *   typeof payload["prompt"] === "string"
 *     ? [Worker.finish(Worker.lognormal("30 seconds"), { video_url: "https://example.com/cat.mp4" })]
 *     : [Worker.fail("1 second", "there is no prompt")]
 *
 * @since 0.1.0
 * @category models
 */
export type Script = (task: Task, random: () => number) => ReadonlyArray<Step>

/**
 * The same steps for every job.
 *
 * @since 0.1.0
 * @category scripts
 */
export const always = (...steps: ReadonlyArray<Step>): Script => () => steps

const toScript = (script: Script | ReadonlyArray<Step>): Script =>
  typeof script === "function" ? script : always(...script)

/**
 * Other steps, or another script, for each attempt at a job; the last ones serve for all that come after.
 *
 * @example
 * import { Worker } from "effect-queue-status/testing"
 *
 * // the first worker dies after a heartbeat, the second one succeeds
 * const script = Worker.attempts(
 *   [Worker.progress("1 second", 0.5), Worker.die],
 *   [Worker.progress("1 second", 0.8), Worker.finish("1 second", { answer: 42 })]
 * )
 *
 * @since 0.1.0
 * @category scripts
 */
export const attempts = (...each: ReadonlyArray<Script | ReadonlyArray<Step>>): Script => {
  const scripts = each.map(toScript)
  return (task, random) => scripts[Math.min(task.attempt, scripts.length) - 1]?.(task, random) ?? []
}

/**
 * A script for each model; jobs of a model that has none get `otherwise`, and die if that is not given.
 *
 * @since 0.1.0
 * @category scripts
 */
export const byModel = (
  scripts: { readonly [model: string]: Script | ReadonlyArray<Step> },
  otherwise: Script | ReadonlyArray<Step> = []
): Script => {
  const known = new Map(Object.entries(scripts).map(([model, script]) => [model, toScript(script)] as const))
  const rest = toScript(otherwise)
  return (task, random) => (known.get(task.job.model) ?? rest)(task, random)
}

/**
 * One of several by chance, each as often as its weight says.
 *
 * @example
 * import { Worker } from "effect-queue-status/testing"
 *
 * // one worker of twenty is never heard of again
 * const script = Worker.weighted(
 *   [19, [Worker.finish(Worker.lognormal("20 seconds"))]],
 *   [1, [Worker.die]]
 * )
 *
 * @since 0.1.0
 * @category scripts
 */
export const weighted = (
  ...choices: ReadonlyArray<readonly [weight: number, script: Script | ReadonlyArray<Step>]>
): Script => {
  const scripts = choices.map(([weight, script]) => [weight, toScript(script)] as const)
  const total = scripts.reduce((sum, [weight]) => sum + weight, 0)
  return (task, random) => {
    let left = random() * total
    const chosen = scripts.find(([weight]) => (left -= weight) < 0) ?? scripts.at(-1)
    return chosen?.[1](task, random) ?? []
  }
}

// -----------------------------------------------------------------------------
// pools
// -----------------------------------------------------------------------------

/**
 * Workers that follow one script.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pool {
  /** What each of the workers does. */
  readonly script: Script
  /** How many workers there are for each model. Defaults to 1. */
  readonly workers?: number | undefined
  /** The only model whose jobs they do. Defaults to every model. */
  readonly model?: string | undefined
  /** How long a claim lasts from the last sign of life of a lost worker. Defaults to `defaultClaimTimeout`. */
  readonly claimTimeout?: Duration.DurationInput | undefined
  /** How long an idle worker takes to claim a job that waits. Defaults to zero. */
  readonly pickup?: Duration.DurationInput | undefined
}

/**
 * How long a worker's claim lasts unless it says otherwise: 90 seconds.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultClaimTimeout: Duration.Duration = Duration.seconds(90)

/**
 * Scripted workers: what they do with the jobs that they claim.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type { JobRef, JsonObject } from "../model/Job.js"

// -----------------------------------------------------------------------------
// times
// -----------------------------------------------------------------------------

/**
 * A random time, from a source of numbers between 0 and 1. Each attempt of a job has its own seeded source: the same seed
 * gives the same times, whatever other jobs do.
 *
 * @since 0.1.0
 * @category times
 */
export type Distribution = (random: () => number) => Duration.Duration

/**
 * A fixed time, or a random one.
 *
 * @since 0.1.0
 * @category times
 */
export type Timing = Duration.DurationInput | Distribution

/**
 * A uniform distribution between two times.
 *
 * @since 0.1.0
 * @category times
 */
export const uniform = (from: Duration.DurationInput, to: Duration.DurationInput): Distribution => {
  const min = Duration.toMillis(from)
  const max = Duration.toMillis(to)
  if (!(min < Infinity && max < Infinity)) throw new RangeError("Worker.uniform: the times must be finite")
  return (random) => Duration.millis(min + (max - min) * random())
}

/**
 * An exponential distribution with this mean: the time between independent events.
 *
 * @since 0.1.0
 * @category times
 */
export const exponential = (mean: Duration.DurationInput): Distribution => {
  const millis = Duration.toMillis(mean)
  return (random) => Duration.millis(-Math.log(1 - random()) * millis)
}

/**
 * A log-normal distribution with this median: how long work takes. `spread` is the standard deviation of the logarithm,
 * and defaults to 0.5: two of three times lie between 0.6 and 1.65 times the median.
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
 * The report of a worker to the queue.
 *
 * @since 0.1.0
 * @category steps
 */
export interface Report {
  /** `running` is a heartbeat; the others are the end of the job, which is not tried again. */
  readonly status: "running" | "done" | "failed"
  /** Entries to merge into the `info` of the job. */
  readonly info?: JsonObject | undefined
  /** The outputs of the job. */
  readonly outputs?: JsonObject | undefined
}

/**
 * A step of a worker: a pause, then a report. A worker keeps its claim during the pauses, by heartbeats without `info`. A
 * worker without further steps stops.
 *
 * @since 0.1.0
 * @category steps
 */
export interface Step {
  /** The pause since the step before it, or since the claim. */
  readonly after: Timing
  /** Whether the pause begins only when the claim has expired. */
  readonly late: boolean
  /** The report; `undefined` if the worker stops, and its claim expires. */
  readonly report: Report | undefined
}

const step = (after: Timing, report: Report | undefined): Step => ({ after, late: false, report })

/**
 * Sends a heartbeat, which merges `info` into that of the job.
 *
 * @since 0.1.0
 * @category steps
 */
export const heartbeat = (after: Timing, info: JsonObject = {}): Step => step(after, { status: "running", info })

/**
 * Sends a heartbeat with the progress, a fraction from 0 to 1, in `info.progress`.
 *
 * @since 0.1.0
 * @category steps
 */
export const progress = (after: Timing, fraction: number): Step => {
  if (!(fraction >= 0 && fraction <= 1)) throw new RangeError(`Worker.progress: ${fraction} is not between 0 and 1`)
  return heartbeat(after, { progress: fraction })
}

/**
 * Sends `count` heartbeats, each after `pause`, with even progress up to 1.
 *
 * @since 0.1.0
 * @category steps
 */
export const progressInSteps = (count: number, pause: Timing): ReadonlyArray<Step> => {
  if (!(Number.isSafeInteger(count) && count >= 0)) {
    throw new RangeError(`Worker.progressInSteps: ${count} is not a number of steps`)
  }
  return Array.from({ length: count }, (_, i) => progress(pause, (i + 1) / count))
}

/**
 * Finishes the job, with `outputs`.
 *
 * @since 0.1.0
 * @category steps
 */
export const finish = (after: Timing, outputs: JsonObject = {}): Step => step(after, { status: "done", outputs })

/**
 * Fails the job, with `reason` in `info.error`.
 *
 * @since 0.1.0
 * @category steps
 */
export const fail = (after: Timing, reason: string): Step => step(after, { status: "failed", info: { error: reason } })

/**
 * Stops without a report: the claim of the worker expires.
 *
 * @since 0.1.0
 * @category steps
 */
export const stopResponding: Step = step(0, undefined)

/**
 * Makes a step late: its pause begins when the claim has expired, so that its report has no effect on the job.
 *
 * @since 0.1.0
 * @category steps
 */
export const late = (step: Step): Step => step.report === undefined ? step : { ...step, late: true }

// -----------------------------------------------------------------------------
// scripts
// -----------------------------------------------------------------------------

/**
 * What a worker receives when it claims a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface Task {
  /** The reference of the job. */
  readonly job: JobRef
  /** The number of the job among all jobs of the queue, in the order of submission, 1 for the first. */
  readonly nth: number
  /** The number of the claim, 1 for the first. */
  readonly attempt: number
  /** The payload as it was submitted. */
  readonly payload: JsonObject
  /** The `info` of the job when it is claimed. */
  readonly info: JsonObject
}

/**
 * Returns the steps of a worker for a task. `random` is the seeded source of this attempt, of numbers between 0 and 1.
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
 * Takes the same steps for every job.
 *
 * @since 0.1.0
 * @category scripts
 */
export const always = (...steps: ReadonlyArray<Step>): Script => () => steps

const toScript = (script: Script | ReadonlyArray<Step>): Script =>
  typeof script === "function" ? script : always(...script)

/**
 * Takes other steps, or follows another script, for each attempt of a job. The last one serves for all further attempts: a
 * list that ends with a worker that stops leads to `RetriesExhausted`.
 *
 * @example
 * import { Worker } from "effect-queue-status/testing"
 *
 * // the first worker dies after a heartbeat, the second one succeeds
 * const script = Worker.attempts(
 *   [Worker.progress("1 second", 0.5), Worker.stopResponding],
 *   [Worker.progress("1 second", 0.8), Worker.finish("1 second", { answer: 42 })]
 * )
 *
 * @since 0.1.0
 * @category scripts
 */
export const attempts = (...each: ReadonlyArray<Script | ReadonlyArray<Step>>): Script => {
  if (each.length === 0) {
    throw new RangeError("Worker.attempts: there is no attempt; add one, such as [Worker.finish(0)]")
  }
  const scripts = each.map(toScript)
  return (task, random) => scripts[Math.min(task.attempt, scripts.length) - 1]!(task, random)
}

/**
 * Follows a script for each model. Other models get `otherwise`. Without it they have no script: a call of the queue during
 * which a worker claims such a job dies with a `RangeError`, which names the model and the entry to add.
 *
 * @since 0.1.0
 * @category scripts
 */
export const byModel = (
  scripts: { readonly [model: string]: Script | ReadonlyArray<Step> },
  otherwise?: Script | ReadonlyArray<Step>
): Script =>
(task, random) => {
  const { model } = task.job
  const script = Object.hasOwn(scripts, model) ? scripts[model]! : otherwise
  if (script !== undefined) return toScript(script)(task, random)
  const name = JSON.stringify(model)
  throw new RangeError(
    `Worker.byModel: there is no script for the model ${name}; add ${name}: [Worker.finish(0)] to the scripts, ` +
      "or pass a script for other models as the second argument"
  )
}

/**
 * Follows one of several scripts at random, each as often as its weight.
 *
 * @since 0.1.0
 * @category scripts
 */
export const weighted = (
  ...choices: ReadonlyArray<readonly [weight: number, script: Script | ReadonlyArray<Step>]>
): Script => {
  if (choices.length === 0) throw new RangeError("Worker.weighted: there is no script; add one, such as [1, script]")
  const scripts = choices.map(([weight, script]) => [weight, toScript(script)] as const)
  const total = scripts.reduce((sum, [weight]) => sum + weight, 0)
  if (!(scripts.every(([weight]) => weight >= 0) && total > 0 && total < Infinity)) {
    throw new RangeError("Worker.weighted: the weights must be finite, none below 0, and not all 0")
  }
  return (task, random) => {
    let left = random() * total
    const [, script] = scripts.find(([weight]) => (left -= weight) < 0) ?? scripts.at(-1)!
    return script(task, random)
  }
}

// -----------------------------------------------------------------------------
// pools
// -----------------------------------------------------------------------------

/**
 * A pool of workers that follow one script.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pool {
  /** The script of each worker. */
  readonly script: Script
  /** The number of workers for each model. Defaults to 1. */
  readonly workers?: number | undefined
  /** The only model whose jobs the workers claim. Defaults to every model. */
  readonly model?: string | undefined
  /** How long a claim lasts after the last heartbeat. Defaults to 90 seconds. */
  readonly claimTimeout?: Duration.DurationInput | undefined
  /** How long an idle worker takes to claim a waiting job. Defaults to zero. */
  readonly pickup?: Duration.DurationInput | undefined
}

/**
 * Workers that do what they are told: what becomes of a job once somebody has claimed it.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import type { JobRef, JsonObject } from "../Job.js"

/**
 * One thing that a worker does, `after` so long a pause since the last one (since the claim, for the first).
 *
 * - `Heartbeat`: keeps the claim, and merges `info` into the job's.
 * - `Finish`: the job is done, with `outputs`.
 * - `Fail`: the job has failed, with the `reason` in `info.error`; it is not tried again.
 *
 * A worker that runs out of steps is dead: nothing more is heard of it, and its claim runs out.
 *
 * @since 0.1.0
 * @category models
 */
export type Step =
  | { readonly _tag: "Heartbeat"; readonly after: Duration.Duration; readonly info: JsonObject }
  | { readonly _tag: "Finish"; readonly after: Duration.Duration; readonly outputs: JsonObject }
  | { readonly _tag: "Fail"; readonly after: Duration.Duration; readonly reason: string }

/**
 * What a worker is given when it claims a job. `attempt` is 1 for the first claim.
 *
 * @since 0.1.0
 * @category models
 */
export interface Task {
  readonly job: JobRef
  readonly attempt: number
  readonly payload: JsonObject
  readonly info: JsonObject
}

/**
 * What workers do with the jobs they claim.
 *
 * @since 0.1.0
 * @category models
 */
export type Script = (task: Task) => ReadonlyArray<Step>

/**
 * Workers for every model.
 *
 * - `script`: what each of them does.
 * - `workers`: how many there are for each model, 1 unless given.
 * - `claimTimeout`: how long a claim lasts from the worker's last sign of life, 90 seconds unless given.
 * - `pickup`: how long an idle worker takes to claim a job that waits, nothing unless given.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pool {
  readonly script: Script
  readonly workers?: number | undefined
  readonly claimTimeout?: Duration.DurationInput | undefined
  readonly pickup?: Duration.DurationInput | undefined
}

/**
 * How long a worker's claim lasts unless it says otherwise: 90 seconds.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultClaimTimeout: Duration.Duration = Duration.seconds(90)

/**
 * A sign of life that may carry notes.
 *
 * @since 0.1.0
 * @category steps
 */
export const heartbeat = (after: Duration.DurationInput, info: JsonObject = {}): Step => ({
  _tag: "Heartbeat",
  after: Duration.decode(after),
  info
})

/**
 * A heartbeat that reports progress, a fraction from 0 to 1, in `info.progress`.
 *
 * @since 0.1.0
 * @category steps
 */
export const progress = (after: Duration.DurationInput, fraction: number): Step =>
  heartbeat(after, { progress: fraction })

/**
 * @since 0.1.0
 * @category steps
 */
export const finish = (after: Duration.DurationInput, outputs: JsonObject = {}): Step => ({
  _tag: "Finish",
  after: Duration.decode(after),
  outputs
})

/**
 * @since 0.1.0
 * @category steps
 */
export const fail = (after: Duration.DurationInput, reason: string): Step => ({
  _tag: "Fail",
  after: Duration.decode(after),
  reason
})

/**
 * The same steps for every job.
 *
 * @since 0.1.0
 * @category scripts
 */
export const always = (...steps: ReadonlyArray<Step>): Script => () => steps

/**
 * Other steps for each attempt at a job; the last ones serve for all that come after.
 *
 * @example
 * import { Worker } from "effect-queue-status/testing"
 *
 * // the first worker dies after a heartbeat, the second one succeeds
 * const script = Worker.attempts(
 *   [Worker.progress("1 second", 0.5)],
 *   [Worker.progress("1 second", 0.8), Worker.finish("1 second", { answer: 42 })]
 * )
 *
 * @since 0.1.0
 * @category scripts
 */
export const attempts = (...scripts: ReadonlyArray<ReadonlyArray<Step>>): Script => ({ attempt }) =>
  scripts[Math.min(attempt, scripts.length) - 1] ?? []

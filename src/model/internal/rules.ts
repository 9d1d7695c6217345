import * as Effect from "effect/Effect"
import * as Job from "../Job.js"

/**
 * How an app reads what workers put into `info` and `outputs`.
 *
 * @internal
 */
export interface Rules {
  readonly readProgress: Job.ReadProgress
  readonly readReason: Job.ReadReason
}

/** @internal */
export const rules: Effect.Effect<Rules> = Effect.zipWith(
  Job.ProgressRule,
  Job.ReasonRule,
  (readProgress, readReason) => ({ readProgress, readReason })
)

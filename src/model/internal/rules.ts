import * as Effect from "effect/Effect"
import type * as Option from "effect/Option"
import * as Job from "../Job.js"

/** How an app reads the `info` and `outputs` of workers. @internal */
export interface Rules {
  readonly readProgress: (info: Job.JsonObject) => Option.Option<number>
  readonly readReason: (status: Job.Failed) => Option.Option<string>
}

/** @internal */
export const rules: Effect.Effect<Rules> = Effect.all({ readProgress: Job.ProgressRule, readReason: Job.ReasonRule })

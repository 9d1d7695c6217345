/**
 * What a watch is made of, whether it polls by itself or shares a poller.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Job from "../Job.js"
import {
  InvalidOutputs,
  JobCanceled,
  JobFailed,
  JobRetriesExhausted,
  type OutcomeError,
  UnrecognizedStatus
} from "../QueueError.js"
import type * as Transition from "../Transition.js"
import * as WatchPolicy from "../WatchPolicy.js"
import { clip, formatIssues } from "./checkRequest.js"

/**
 * The policy of a watch: what it was told, and for the rest that of the app.
 *
 * @internal
 */
export const policyOf = (options: Partial<WatchPolicy.WatchPolicy>): Effect.Effect<WatchPolicy.WatchPolicy> =>
  Effect.map(WatchPolicy.Default, (policy) => ({ ...policy, ...options }))

/**
 * A stack trace would lead to this library, and is kept for as long as the watch lasts.
 *
 * @internal
 */
export const spanOf = (job: Job.JobRef) => ({
  attributes: { "queue.model": job.model, "queue.request_id": job.requestId },
  captureStackTrace: false
})

/**
 * What a job ended with: its outputs, or why there are none.
 *
 * @internal
 */
export const outputsOf = (
  end: Transition.Terminal
): Effect.Effect<Job.JsonObject, OutcomeError | UnrecognizedStatus> => {
  const { attempt, job, snapshot } = end
  switch (end._tag) {
    case "Completed":
      return Effect.succeed(end.outputs)
    case "FailedByModel":
      return Effect.fail(new JobFailed({ job, reason: Option.getOrUndefined(end.reason), snapshot }))
    case "RetriesExhausted":
      return Effect.fail(new JobRetriesExhausted({ job, attempts: attempt, snapshot }))
    case "Canceled":
      return Effect.fail(new JobCanceled({ job, snapshot }))
    case "Unrecognized":
      return Effect.fail(new UnrecognizedStatus({ job, status: end.status, snapshot }))
  }
}

/**
 * The same, decoded.
 *
 * @internal
 */
export const decodeOutputs = <A, I, R>(
  end: Transition.Terminal,
  schema: Schema.Schema<A, I, R>
): Effect.Effect<A, OutcomeError | UnrecognizedStatus, R> =>
  Effect.flatMap(
    outputsOf(end),
    (outputs) =>
      Effect.mapError(Schema.decodeUnknown(schema)(outputs), (error) =>
        new InvalidOutputs({ job: end.job, issue: clip(formatIssues(error)), snapshot: end.snapshot }))
  )

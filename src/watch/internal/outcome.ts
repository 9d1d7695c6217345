/**
 * The policy of a watch, and the outcome of its job.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { isSameJob } from "../../model/internal/jobKey.js"
import * as Job from "../../model/Job.js"
import {
  InvalidOutputs,
  JobCanceled,
  JobFailed,
  JobRetriesExhausted,
  type OutcomeError,
  UnexpectedResponse,
  UnrecognizedStatus
} from "../../model/QueueError.js"
import type * as Transition from "../../model/Transition.js"
import type { Cadence } from "../../policy/Cadence.js"
import type { Deadline } from "../../policy/Deadline.js"
import { toCadence, toDeadline } from "../../policy/internal/inputs.js"
import type { Retry } from "../../policy/Retry.js"
import * as WatchPolicy from "../../policy/WatchPolicy.js"
import { clip, formatIssues } from "../../queue/internal/request.js"

/**
 * Parts of a policy; one that is `undefined` is not given. Public types extend them, so they are not marked as internal: the
 * build would leave them out.
 */
export interface PolicyOptions {
  /** When to poll next, after a poll that succeeded. A duration stands for `Cadence.fixed`. */
  readonly cadence?: Cadence | Duration.DurationInput | undefined
  /** When to try again, after a poll that failed. */
  readonly retry?: Retry | undefined
  /** When to give up. A duration stands for `Deadline.total`. */
  readonly deadline?: Deadline | Duration.DurationInput | undefined
  /** How to treat an unknown state of the job: as an error, not at all, or as the end of the job. */
  readonly unrecognized?: WatchPolicy.WatchPolicy["unrecognized"] | undefined
}

/** The policy of a watch: its options, and the policy of the app for those that are not given. @internal */
export const policyOf = (options: PolicyOptions): Effect.Effect<WatchPolicy.WatchPolicy> =>
  Effect.map(WatchPolicy.Default, (policy) => ({
    ...policy,
    cadence: toCadence(options.cadence ?? policy.cadence),
    retry: options.retry ?? policy.retry,
    deadline: toDeadline(options.deadline ?? policy.deadline),
    unrecognized: options.unrecognized ?? policy.unrecognized
  }))

/** The error of a response about another job: like any other invalid response, trouble that may pass. @internal */
export const mismatchOf = (job: Job.JobRef, status: Job.JobStatus): UnexpectedResponse | undefined =>
  isSameJob(status.job, job) ? undefined : new UnexpectedResponse({
    operation: "status",
    model: job.model,
    job,
    httpStatus: 200,
    issue: `it is about another job, ${Job.format(status.job)}`,
    body: ""
  })

/** The outputs of a job, or the error that its terminal state stands for. @internal */
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

/** Decodes the outputs of a job. @internal */
export const decodeOutputs = <A, I, R>(
  end: Transition.Terminal,
  schema: Schema.Schema<A, I, R>
): Effect.Effect<A, OutcomeError | UnrecognizedStatus, R> =>
  Effect.flatMap(
    outputsOf(end),
    (outputs) =>
      Effect.mapError(Schema.decodeUnknown(schema, { errors: "all" })(outputs), (error) =>
        new InvalidOutputs({ job: end.job, issue: clip(formatIssues(error)), snapshot: end.snapshot }))
  )

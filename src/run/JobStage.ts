/**
 * A stage of a pipeline: a model as a function, with a schema for what goes in and one for what comes out.
 *
 * Stages are put together with whatever Effect puts effects together with: `Effect.flatMap` hands the outputs of one to
 * the next, `Effect.filterOrFail` checks them in between, `Effect.all` runs several at once.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { TaggedError } from "../model/internal/taggedError.js"
import { format, JobRef } from "../model/Job.js"
import { RunError } from "../model/QueueError.js"
import { CursorFromString, formatCursor } from "../model/Transition.js"
import { formatIssues, invalidSubmit } from "../queue/internal/request.js"
import type { JobQueue, SubmitRequest } from "../queue/JobQueue.js"
import { decodeOutputs } from "../watch/internal/outcome.js"
import type { JobWatcher } from "../watch/JobWatcher.js"
import { type RunFailure, runToEnd } from "./internal/runToEnd.js"
import type { RunOptions } from "./JobRun.js"

/**
 * A stage has failed. `stage` is its name and `error` says why; `job` is the job that was submitted for it, if one was,
 * and `cursor` what was last known of that: enough to look at it, or to go on watching it
 * (`JobStream.transitions(job, { from: cursor })`).
 *
 * @since 0.1.0
 * @category errors
 */
export class StageFailed extends TaggedError<StageFailed>()(
  "StageFailed",
  {
    stage: Schema.String,
    error: RunError,
    job: Schema.optional(JobRef),
    cursor: Schema.optional(CursorFromString)
  },
  (error) => {
    const facts = [
      ...(error.job === undefined ? ["no job was made, or none is known"] : [format(error.job)]),
      ...(error.cursor === undefined ? [] : [`cursor ${formatCursor(error.cursor)}`])
    ]
    return `stage ${error.stage} (${facts.join(", ")}): ${error.error.message}`
  }
) {}

/**
 * Submits a job for its input, once, and returns the outputs. The options of a call take precedence over those of the
 * stage. With a `key` the call can be made again after a restart: see `JobRun.submit`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stage<in In, out Out, out R = never> {
  (
    input: In,
    options?: RunOptions
  ): Effect.Effect<Out, StageFailed, JobQueue | JobWatcher | R>
}

/**
 * The model of a stage, what goes in and what comes out, and how its jobs are run.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, PayloadI extends object, PayloadR, Out, OutputsI, OutputsR>
  extends Omit<SubmitRequest, "payload">
{
  /** The schema of what goes in, encoded to the payload of the job. */
  readonly payload: Schema.Schema<In, PayloadI, PayloadR>
  /** The schema of what comes out, decoded from the outputs of the job. */
  readonly outputs: Schema.Schema<Out, OutputsI, OutputsR>
  /** How the job is run: see `JobRun.run`. */
  readonly options?: Omit<RunOptions, "key"> | undefined
}

/**
 * A stage, by the name that its errors and its events have.
 *
 * @example
 * import { JobStage } from "effect-queue-status"
 * import { Effect, Schema } from "effect"
 *
 * const image = JobStage.make("image", {
 *   model: "my-org/image-generator",
 *   payload: Schema.Struct({ prompt: Schema.String }),
 *   outputs: Schema.Struct({ image_url: Schema.String, width: Schema.Int })
 * })
 *
 * const video = JobStage.make("video", {
 *   model: "my-org/video-generator",
 *   payload: Schema.Struct({ image_url: Schema.String }),
 *   outputs: Schema.Struct({ video_url: Schema.String })
 * })
 *
 * const film = (prompt: string) =>
 *   image({ prompt }).pipe(
 *     Effect.filterOrFail(({ width }) => width >= 1024, () => "too small" as const),
 *     Effect.flatMap(({ image_url }) => video({ image_url }))
 *   )
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = <In, PayloadI extends object, PayloadR, Out, OutputsI, OutputsR>(
  stage: string,
  { model, options, outputs, payload, ...rest }: Options<In, PayloadI, PayloadR, Out, OutputsI, OutputsR>
): Stage<In, Out, PayloadR | OutputsR> => {
  const encode = Schema.encode(payload)
  return (input, call = {}) =>
    encode(input).pipe(
      Effect.mapError((error): RunFailure => ({
        error: invalidSubmit({ model }, `payload: ${formatIssues(error)}`),
        job: undefined,
        cursor: undefined
      })),
      Effect.flatMap((payload) => runToEnd({ ...rest, model, payload }, { ...options, ...call }, Option.some(stage))),
      Effect.flatMap((end) =>
        Effect.mapError(
          decodeOutputs(end, outputs),
          (error): RunFailure => ({ error, job: end.job, cursor: end.cursor })
        )
      ),
      Effect.mapError((failure) => new StageFailed({ stage, ...failure })),
      Effect.withSpan("JobStage", {
        attributes: { "queue.stage": stage, "queue.model": model },
        captureStackTrace: false
      })
    )
}

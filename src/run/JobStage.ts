/**
 * Stages of a pipeline: a model as a function, with schemas of its input and output.
 *
 * Stages are combined with the functions of Effect: `Effect.flatMap` passes the outputs of one to the next,
 * `Effect.filterOrFail` checks them in between, `Effect.all` runs several at once.
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
import { type RunFailure, type RunOptions, runToEnd } from "./internal/runToEnd.js"

/**
 * A stage has failed. `stage` is its name and `error` the reason; `job` is the job that was submitted for it, if any,
 * and `cursor` its last cursor, from which a watch can continue (`JobStream.transitions(job, { from: cursor })`).
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
  ({ cursor, error, job, stage }) => {
    // nearly every error names the job
    const facts = [
      ...(job === undefined || error.message.includes(format(job)) ? [] : [format(job)]),
      ...(cursor === undefined ? [] : [`cursor ${formatCursor(cursor)}`])
    ]
    return `stage ${stage}: ${error.message}${facts.length === 0 ? "" : ` (${facts.join(", ")})`}`
  }
) {}

/**
 * Submits one job for its input, and returns the outputs. The options of a call take precedence over those of the
 * stage. With a `key` the call can be repeated after a restart: see `JobRun.submit`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Stage<in In, out Out, out R = never> {
  (input: In, options?: RunOptions): Effect.Effect<Out, StageFailed, JobQueue | JobWatcher | R>
}

/**
 * The model of a stage, its input and output, and how its jobs are run.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options<In, PayloadI extends object, PayloadR, Out, OutputsI, OutputsR>
  extends Omit<SubmitRequest, "payload">
{
  /** The schema of the input, encoded to the payload of the job. */
  readonly payload: Schema.Schema<In, PayloadI, PayloadR>
  /** The schema of the output, decoded from the outputs of the job. */
  readonly outputs: Schema.Schema<Out, OutputsI, OutputsR>
  /** How the job is run: see `JobRun.run`. */
  readonly options?: Omit<RunOptions, "key"> | undefined
}

// an option that is `undefined` is not given
const given = (options: RunOptions): RunOptions =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))

/**
 * Creates a stage. Its errors and events have its name.
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
  const encode = Schema.encode(payload, { errors: "all" })
  return (input, call = {}) =>
    encode(input).pipe(
      Effect.mapError((error): RunFailure => ({ error: invalidSubmit({ model }, `payload: ${formatIssues(error)}`) })),
      Effect.flatMap((payload) =>
        runToEnd(
          { ...rest, model, payload },
          { ...options, ...given(call) },
          Option.some(stage),
          (end) => decodeOutputs(end, outputs)
        )
      ),
      Effect.mapError((failure) => new StageFailed({ stage, ...failure })),
      Effect.withSpan("JobStage", {
        attributes: { "queue.stage": stage, "queue.model": model },
        captureStackTrace: false
      })
    )
}

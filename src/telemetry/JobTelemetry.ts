/**
 * Traces and metrics of jobs, by the server's times; and why a job has not ended yet.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Schema from "effect/Schema"
import type { JobRef } from "../model/Job.js"
import { eta } from "../policy/LearnedCadence.js"
import * as Fiber from "../queue/internal/fiber.js"
import { clockAheadOf } from "../queue/internal/hidden.js"
import { JobQueue } from "../queue/JobQueue.js"
import { observed } from "../watch/internal/observed.js"
import { mismatchOf } from "../watch/internal/outcome.js"
import { JobWatcher } from "../watch/JobWatcher.js"
import * as internal from "./internal/explanation.js"
import { JobMetrics } from "./internal/metrics.js"
import { JobObserver } from "./internal/observer.js"
import * as TraceContext from "./internal/traceContext.js"

// -----------------------------------------------------------------------------
// traces and metrics
// -----------------------------------------------------------------------------

/**
 * Adds traces and metrics of all jobs to a `JobWatcher`: `JobStream`, `JobRun` and `JobStage` need no change.
 *
 * - Each job is a span `job`, whose children are the times in the queue (`queued`, `requeued`) and the attempts
 *   (`attempt 1`, `attempt 2`, …), with the server's times. A time that the server did not report is that of the
 *   observation, between the reported times around it, and is marked as estimated. The spans are made when the job ends.
 * - A lost or failed attempt and a failed job are errors, with the reason as the message.
 * - A job has one trace and counts once, regardless of the number of its watches. The parent of `job` is the span that was
 *   current where the first watch began.
 * - If the last watch ends before the job, `job` ends then, as interrupted. The phase that is open is left out: a watch that
 *   begins later, or resumes from the cursor in another process, makes its span, marked as resumed.
 * - Metrics are tagged by model, never by job, and have the labels of `Effect.tagMetrics` around the layer. Durations count
 *   only if the server reported both ends.
 * - Errors of the tracer are logged, and do not affect the watches.
 *
 * @example
 * import { JobTelemetry, JobWatcher } from "effect-queue-status"
 * import { NodeJobQueue } from "effect-queue-status/node"
 * import { Layer } from "effect"
 *
 * const Live = JobTelemetry.layer.pipe(
 *   Layer.provide(JobWatcher.layer()),
 *   Layer.provideMerge(NodeJobQueue.layer())
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<JobWatcher, never, JobWatcher> = Layer.effect(
  JobWatcher,
  Effect.zipWith(
    JobWatcher,
    Fiber.metricLabels,
    (watcher, labels) => observed(watcher, new JobObserver(new JobMetrics(labels), clockAheadOf(watcher)))
  )
)

/**
 * Writes the current span of each submit to the `info` of its job, as a W3C `traceparent`, unless `info` has one. The span
 * `job` of `layer` links to it, in whatever process the job is watched. Without this layer, nothing is written.
 *
 * @example
 * import { JobTelemetry, JobWatcher } from "effect-queue-status"
 * import { NodeJobQueue } from "effect-queue-status/node"
 * import { Layer } from "effect"
 *
 * const QueueLive = Layer.provide(JobTelemetry.propagation, NodeJobQueue.layer())
 *
 * const Live = Layer.provide(JobTelemetry.layer, JobWatcher.layer()).pipe(Layer.provideMerge(QueueLive))
 *
 * @since 0.1.0
 * @category layers
 */
export const propagation: Layer.Layer<JobQueue, never, JobQueue> = Layer.effect(
  JobQueue,
  Effect.map(JobQueue, (queue) => ({
    status: (job) => queue.status(job),
    cancel: (job) => queue.cancel(job),
    clear: (model) => queue.clear(model),
    metrics: (model) => queue.metrics(model),
    clockAhead: clockAheadOf(queue),
    submit: (request) =>
      Effect.flatMap(
        Effect.option(Effect.currentParentSpan),
        (span) => queue.submit(Option.isSome(span) ? TraceContext.addTo(request, span.value) : request)
      )
  }))
)

// -----------------------------------------------------------------------------
// explanations
// -----------------------------------------------------------------------------

/**
 * A cause of an explanation, or a fact that helps to judge the others. Each has the `age` of its evidence: of the status,
 * unless the cause names something else.
 *
 * - `NoStatus`: the queue returned no status of the job. What else is known comes from the `JobWatcher`.
 * - `Ended`: the job has ended, so there is nothing to wait for.
 * - `Unrecognized`: the job is in a state that this version of the library does not know.
 * - `Running`: a worker runs the job.
 * - `NoChange`: for a minute or longer, a watch has seen no change of the running job. `timesUsual` is that time, divided by
 *   the usual running time of the model (`LearnedCadence`), if it was learned.
 * - `Paused`: no job is polled for a while, because the service answered 429. The age is that of the 429.
 * - `InTrouble`: polls of the job fail. The age is that of the last error.
 * - `NoneRunning`: the job waits, and, by the metrics of the queue, no job of its model runs. It may have no workers.
 * - `Behind`: jobs that this program watches wait before it. The age is that of the oldest of their last snapshots.
 * - `OthersRun`: jobs of the model that this program watches run. The age is that of the oldest of their last snapshots.
 * - `Pace`: the mean time between the ends of watched jobs of the model lately. The age is that of the last one.
 * - `Waiting`: the job waits in the queue.
 * - `WorkersLost`: the job began anew, since its workers were lost.
 * - `Expected`: the estimate of `LearnedCadence.eta`, if there is evidence for one.
 * - `GivesUp`: a watch of the job has a deadline; the first one.
 *
 * @since 0.1.0
 * @category models
 */
export type Cause = internal.Cause

/**
 * The schema of an explanation.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Explanation = internal.Explanation

/**
 * Why a job has not ended yet, at a time by our clock: the causes, the weightiest first, and all of them as one sentence.
 *
 * @since 0.1.0
 * @category models
 */
export interface Explanation extends Schema.Schema.Type<typeof Explanation> {}

/**
 * Explains why a job has not ended yet. Asks the queue for the status of the job and the metrics of its model, once each. If
 * there is a `JobWatcher` that polls, adds what that knows of the jobs of the model: it costs no request. Every cause is what
 * was observed, `age` ago, except `Expected`, which is an estimate. A running job without a change has
 * `NoChange`, and no `Expected` once it has run for longer than earlier jobs, and than its progress predicted.
 *
 * @example
 * import { JobTelemetry } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { Effect } from "effect"
 *
 * const logSummary = (job: Job.JobRef) =>
 *   Effect.flatMap(JobTelemetry.explain(job), ({ causes, summary }) =>
 *     causes[0]?._tag === "NoneRunning" ? Effect.logWarning(summary) : Effect.log(summary))
 *
 * @since 0.1.0
 * @category explanations
 */
export const explain: (job: JobRef) => Effect.Effect<Explanation, never, JobQueue> = Effect.fn("JobTelemetry.explain")(
  function*(job) {
    const jobQueue = yield* JobQueue
    const watcher = yield* Effect.serviceOption(JobWatcher)
    const status = Effect.flatMap(jobQueue.status(job), (status) => mismatchOf(job, status) ?? Effect.succeed(status))
    const answers = yield* Effect.all(
      { status: Effect.either(status), queue: Effect.option(jobQueue.metrics(job.model)) },
      { concurrency: 2 }
    )
    const at = yield* DateTime.now
    const answer = Either.map(answers.status, (status) => ({ status, at, queue: answers.queue }))
    return yield* internal.explain(job, Option.getOrUndefined(watcher), eta, answer)
  }
)

/**
 * Submitting a job once, owning it, and having several of them.
 *
 * Who only looks at a job (`JobStream`) can stop looking, and the job goes on. Who submits one here owns it:
 *
 * | | the job belongs to | who goes away |
 * | --- | --- | --- |
 * | `submit` | whoever has the reference | leaves it alone |
 * | `scoped` | the scope | cancels it when the scope closes, if it is still pending |
 * | `run` | the effect | cancels it when the effect ends before it, if it is still pending |
 *
 * Only a pending job can be canceled. One that runs goes on to its end, and that is told: see `Release`.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import type * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Take from "effect/Take"
import type { JobRef, JsonObject } from "../model/Job.js"
import type * as QueueError from "../model/QueueError.js"
import type { RunError, SubmitError } from "../model/QueueError.js"
import type { WatchPolicy } from "../policy/WatchPolicy.js"
import type { JobQueue, SubmitRequest } from "../queue/JobQueue.js"
import { decodeOutputs, outputsOf } from "../watch/internal/outcome.js"
import type * as JobStream from "../watch/JobStream.js"
import type { JobWatcher } from "../watch/JobWatcher.js"
import * as Own from "./internal/ownership.js"
import * as RunToEnd from "./internal/runToEnd.js"
import * as Submit from "./internal/submit.js"

// -----------------------------------------------------------------------------
// submit
// -----------------------------------------------------------------------------

/**
 * The options of a submit.
 *
 * @since 0.1.0
 * @category models
 */
export interface SubmitOptions {
  /**
   * The name that this submit has for the program: one that it has again after a restart, such as `order-17`. It is
   * written into the job's `info`, as `client_key`. Defaults to a new one for each submit.
   */
  readonly key?: string | undefined
  /** When to send again what has not arrived. Defaults to that of `WatchPolicy.Default`. */
  readonly retry?: WatchPolicy["retry"]
}

/**
 * Submits a job, and never makes two. The request is sent again only where it provably has not arrived: the connection
 * was refused, the name did not resolve, the service said 429, or 503 with `Retry-After` (`QueueError.mayHaveArrived`).
 * Where an answer was lost, or makes no sense, it fails with `SubmitUncertain`, which has the key by which the job, if
 * there is one, can be found.
 *
 * With a `key`, and a `SubmitJournal` in its context, what was submitted before is not submitted again, even after a
 * restart.
 *
 * Interruption stops the request at once. Whether it has arrived nobody knows then, but the journal knows that it is not
 * known; `scoped` and `run` wait for the answer, so as to give the job back.
 *
 * @example
 * import { JobRun } from "effect-queue-status"
 * import { Effect } from "effect"
 *
 * const program = JobRun.submit(
 *   { model: "my-org/video-generator", payload: { prompt: "a cat at the piano" } },
 *   { key: "order-17" }
 * ).pipe(
 *   Effect.catchTag("SubmitUncertain", ({ at, key, message }) =>
 *     Effect.zipRight(Effect.logError(message, { at, key }), Effect.fail("ask somebody who can look it up")))
 * )
 *
 * @since 0.1.0
 * @category submitting
 */
export const submit: (
  request: SubmitRequest,
  options?: SubmitOptions
) => Effect.Effect<JobRef, SubmitError, JobQueue> = Effect.fn("JobRun.submit")(function*(request, options = {}) {
  return yield* Submit.submit(request, options)
})

// -----------------------------------------------------------------------------
// owning
// -----------------------------------------------------------------------------

/**
 * The fate of a job that its owner did not see to its end.
 *
 * - `Canceled`: it was pending, and is canceled.
 * - `Ended`: it had ended before; `status` is `done`, `failed` or `canceled`.
 * - `StillRunning`: a worker has it. It goes on, and is paid for.
 * - `NotReleased`: it could not be canceled in time; `error` is the last one. It may still be pending.
 * - `Unknown`: it is not known whether there is a job: the submit failed with `SubmitUncertain`, or the owner went away
 *   before it was answered and the answer did not come in time. If there is a job, its `info` has this `client_key`.
 *
 * @since 0.1.0
 * @category models
 */
export type Release = Own.Release

/**
 * @since 0.1.0
 * @category constructors
 */
export const Release = Own.Release

/**
 * The options of a submit whose job is given back when its owner ends before it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ScopedOptions extends SubmitOptions {
  /**
   * How long it may take to give the job back. Closing the scope, or interrupting the effect, takes so long at most,
   * and twice that if the submit was in flight. Defaults to 5 seconds.
   */
  readonly releaseTimeout?: Duration.DurationInput | undefined
  /**
   * Receives the release, also where an error says the same: code that combines runs may drop an error. Defaults to the
   * log, as a warning where there may be a job that goes on, unless `events` reports the release.
   */
  readonly onRelease?: ((release: Release) => Effect.Effect<void>) | undefined
}

/**
 * Submits a job that belongs to the scope. When that closes, a job that is still pending is canceled, and one that runs
 * is reported; closing takes a bounded time, and never fails.
 *
 * @example
 * import { JobRun, JobStream } from "effect-queue-status"
 * import { Effect } from "effect"
 *
 * // whatever happens in here, no pending job is left behind
 * const program = Effect.scoped(Effect.gen(function*() {
 *   const job = yield* JobRun.scoped({ model: "my-org/video-generator", payload: { prompt: "a cat at the piano" } })
 *   return yield* JobStream.result(job).pipe(Effect.timeout("10 minutes"))
 * }))
 *
 * @since 0.1.0
 * @category owning
 */
export const scoped: (
  request: SubmitRequest,
  options?: ScopedOptions
) => Effect.Effect<JobRef, SubmitError, JobQueue | Scope.Scope> = Effect.fn("JobRun.scoped")(
  function*(request, options = {}) {
    const owner = yield* Own.make(options)
    return yield* Effect.uninterruptibleMask((restore) =>
      owner.acquire(request, restore).pipe(
        Effect.map(({ job }) => job),
        Effect.tap((job) => Effect.addFinalizer(() => owner.release(job, false)))
      )
    )
  }
)

// -----------------------------------------------------------------------------
// running
// -----------------------------------------------------------------------------

/**
 * The options of a run, and any part of the policy by which its job is watched.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunOptions extends ScopedOptions, JobStream.Options {
  /**
   * Whether a pending job is canceled when the run is interrupted or its watch fails. With `leave`, a run that is
   * interrupted while it submits still waits for the answer, as long as a release may take: a journal must know the
   * job. Defaults to `cancel`.
   */
  readonly onInterrupt?: "cancel" | "leave" | undefined
  /**
   * How often a job of which the service has lost every worker is submitted again, and after which pauses. With a `key`,
   * the jobs after the first have `key/2`, `key/3` and so on. Defaults to not at all.
   */
  readonly resubmit?: Schedule.Schedule<unknown, QueueError.JobRetriesExhausted> | undefined
}

/**
 * What is seen of the runs in an effect: see `events`. `stage` is the name of the `JobStage` that the job is of, if it is
 * of one.
 *
 * - `Submitted`: there is a job.
 * - `Observed`: a transition of it, or a trouble of watching it.
 * - `Released`: it was given back before its end.
 *
 * @since 0.1.0
 * @category models
 */
export type RunEvent = RunToEnd.RunEvent

/**
 * Submits a job, watches it to its end, and gives its outputs, decoded where a schema for them is given; or an error that
 * says why there are none. A job that is still pending when this ends is canceled, unless `onInterrupt` says otherwise.
 *
 * @example
 * import { JobRun } from "effect-queue-status"
 * import { Effect, Schedule, Schema } from "effect"
 *
 * const Video = Schema.Struct({ video_url: Schema.String })
 *
 * const video = (prompt: string) =>
 *   JobRun.run({ model: "my-org/video-generator", payload: { prompt } }, Video, {
 *     // two more, if the service loses all its workers
 *     resubmit: Schedule.intersect(Schedule.spaced("10 seconds"), Schedule.recurs(2))
 *   })
 *
 * // results as they come, from eight jobs at a time
 * const videos = (prompts: ReadonlyArray<string>) =>
 *   Effect.forEach(prompts, (prompt) => video(prompt).pipe(Effect.tap(({ video_url }) => Effect.log(video_url))), {
 *     concurrency: 8
 *   })
 *
 * @since 0.1.0
 * @category running
 */
export const run: {
  (request: SubmitRequest, options?: RunOptions): Effect.Effect<JsonObject, RunError, JobQueue | JobWatcher>
  <A, I, R>(
    request: SubmitRequest,
    schema: Schema.Schema<A, I, R>,
    options?: RunOptions
  ): Effect.Effect<A, RunError, JobQueue | JobWatcher | R>
} = <A, I, R>(
  request: SubmitRequest,
  schemaOrOptions: Schema.Schema<A, I, R> | RunOptions = {},
  options: RunOptions = {}
): Effect.Effect<A | JsonObject, RunError, JobQueue | JobWatcher | R> => {
  const ended = (options: RunOptions) =>
    Effect.mapError(RunToEnd.runToEnd(request, options, Option.none()), ({ error }) => error)
  return Effect.suspend((): Effect.Effect<A | JsonObject, RunError, JobQueue | JobWatcher | R> =>
    Schema.isSchema(schemaOrOptions)
      ? Effect.flatMap(
        ended(options),
        (end) => decodeOutputs(end, schemaOrOptions as Schema.Schema<A, I, R>)
      )
      : Effect.flatMap(ended(schemaOrOptions as RunOptions), outputsOf)
  ).pipe(Effect.withSpan("JobRun.run", { attributes: { "queue.model": request?.model }, captureStackTrace: false }))
}

// -----------------------------------------------------------------------------
// several
// -----------------------------------------------------------------------------

/**
 * What is seen while an effect runs, and, as the last element, what it comes to.
 *
 * @since 0.1.0
 * @category models
 */
export type Event<A> = RunEvent | { readonly _tag: "Succeeded"; readonly value: A }

// So far the effect may be ahead of whoever listens.
const ahead = 16

/**
 * Runs an effect, and tells what is seen of all the runs (and stages) in it, however they are put together; then what it
 * comes to. It fails as the effect does. Who does not pull holds the effect up, and who stops interrupts it: its jobs are
 * given back.
 *
 * @example
 * import { JobRun, Transition } from "effect-queue-status"
 * import { Console, Effect, Stream } from "effect"
 *
 * const jobs = Effect.all([
 *   JobRun.run({ model: "my-org/image-generator", payload: { prompt: "a cat" } }),
 *   JobRun.run({ model: "my-org/image-generator", payload: { prompt: "a dog" } })
 * ], { concurrency: 2 })
 *
 * const program = JobRun.events(jobs).pipe(
 *   Stream.runForEach((event) =>
 *     event._tag === "Observed" ? Console.log(event.job.requestId, event.event._tag) : Console.log(event._tag))
 * )
 *
 * @since 0.1.0
 * @category several
 */
export const events = <A, E, R>(self: Effect.Effect<A, E, R>): Stream.Stream<Event<A>, E, R> =>
  Stream.unwrapScoped(Effect.gen(function*() {
    const queue = yield* Queue.bounded<Take.Take<Event<A>, E>>(ahead)
    // the queue is shut down when jobs are released after an interruption
    const listener: Context.Tag.Service<RunToEnd.Listener> = (event) =>
      Effect.map(Effect.exit(Queue.offer(queue, Take.of<Event<A>>(event))), Exit.isSuccess)
    yield* self.pipe(
      Effect.provideService(RunToEnd.Listener, listener),
      Effect.exit,
      Effect.flatMap(Exit.match({
        onFailure: (cause) => Queue.offer(queue, Take.failCause(cause)),
        onSuccess: (value) =>
          Effect.zipRight(
            Queue.offer(queue, Take.of<Event<A>>({ _tag: "Succeeded", value })),
            Queue.offer(queue, Take.end)
          )
      })),
      Effect.forkScoped
    )
    yield* Effect.addFinalizer(() => Queue.shutdown(queue))
    return Stream.flattenTake(Stream.fromQueue(queue))
  }))

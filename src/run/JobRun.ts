/**
 * Submits a job once, owns it, and runs several of them.
 *
 * A watch (`JobStream`) can end without an effect on its job. A job that is submitted here has an owner:
 *
 * | | owner of the job | when the owner ends |
 * | --- | --- | --- |
 * | `submit` | any holder of the reference | the job is left alone |
 * | `scoped` | the scope | the job is canceled when the scope closes, if it is still pending |
 * | `run` | the effect | the job is canceled when the effect ends before it, if it is still pending |
 *
 * Only a pending job can be canceled. A running job continues to its end, which is reported: see `Release`.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Take from "effect/Take"
import type { JobRef, JsonObject } from "../model/Job.js"
import type { RunError, SubmitError } from "../model/QueueError.js"
import type { Terminal } from "../model/Transition.js"
import { forkIn } from "../queue/internal/fiber.js"
import type { JobQueue, SubmitRequest } from "../queue/JobQueue.js"
import { decodeOutputs, outputsOf } from "../watch/internal/outcome.js"
import type { JobWatcher } from "../watch/JobWatcher.js"
import * as Own from "./internal/ownership.js"
import { Listener, type RunEvent, type RunOptions, runToEnd } from "./internal/runToEnd.js"
import * as Submit from "./internal/submit.js"

export { Release, type ScopedOptions } from "./internal/ownership.js"
export type { RunEvent, RunOptions } from "./internal/runToEnd.js"
export type { SubmitOptions } from "./internal/submit.js"

/**
 * Submits a job, and never creates two. The request is sent again only if it provably has not arrived: the connection
 * was refused, the name did not resolve, or the service responded with 429, or 503 with `Retry-After`
 * (`QueueError.mayHaveArrived`). Fails with `SubmitUncertain` if a response was lost or is invalid; the error has the
 * key by which the job, if there is one, can be found.
 *
 * With a `key`, and a `SubmitJournal` in the context, an earlier submit is not repeated, even after a restart.
 *
 * Interruption stops the request at once. It is then unknown whether it arrived, and the journal records that; `scoped`
 * and `run` wait for the response, in order to release the job.
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
  options?: Submit.SubmitOptions
) => Effect.Effect<JobRef, SubmitError, JobQueue> = Effect.fn("JobRun.submit")(function*(request, options = {}) {
  return yield* (yield* Submit.make(options)).submit(request)
})

/**
 * Submits a job that belongs to the scope. When the scope closes, a pending job is canceled, and a running one is
 * reported. Closing takes a bounded time, and never fails.
 *
 * @example
 * import { JobRun, JobStream } from "effect-queue-status"
 * import { Effect } from "effect"
 *
 * // no pending job remains when the scope closes
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
  options?: Own.ScopedOptions
) => Effect.Effect<JobRef, SubmitError, JobQueue | Scope.Scope> = Effect.fn("JobRun.scoped")(
  function*(request, options = {}) {
    const owner = yield* Own.make(options)
    return yield* Effect.uninterruptibleMask((restore) =>
      Effect.tap(owner.acquire(request, restore), (job) => Effect.addFinalizer(() => owner.release(job, false)))
    )
  }
)

/**
 * Submits a job, watches it to its end, and returns its outputs, decoded if a schema is given. Fails with the reason if
 * there are none. A job that is still pending when the run ends is canceled, unless `onInterrupt` is `leave`.
 *
 * `Effect.timeout` bounds the run with its submits and pauses; the `deadline` is that of each watch. The timeout waits
 * for the release of the job, which takes up to `releaseTimeout`.
 *
 * @example
 * import { JobRun } from "effect-queue-status"
 * import { Effect, Schedule, Schema } from "effect"
 *
 * const Video = Schema.Struct({ video_url: Schema.String })
 *
 * const video = (prompt: string) =>
 *   JobRun.run({ model: "my-org/video-generator", payload: { prompt } }, Video, {
 *     // two more, if the job runs out of retries
 *     resubmit: Schedule.intersect(Schedule.spaced("10 seconds"), Schedule.recurs(2))
 *   }).pipe(Effect.timeout("1 hour"))
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
  const [decode, runOptions] = Schema.isSchema(schemaOrOptions)
    ? [(end: Terminal) => decodeOutputs(end, schemaOrOptions as Schema.Schema<A, I, R>), options] as const
    : [outputsOf, schemaOrOptions as RunOptions] as const
  return runToEnd<A | JsonObject, R>(request, runOptions, Option.none(), decode).pipe(
    Effect.mapError(({ error }) => error),
    Effect.withSpan("JobRun.run", { attributes: { "queue.model": request?.model }, captureStackTrace: false })
  )
}

/**
 * An event of a run, or, as the last element, the result of the effect.
 *
 * @since 0.1.0
 * @category models
 */
export type Event<A> = RunEvent | { readonly _tag: "Succeeded"; readonly value: A }

/**
 * Runs an effect, and emits the events of all the runs (and stages) in it, then its result. Fails as the effect does. A
 * slow consumer delays the effect. A consumer that stops interrupts it, which releases its jobs.
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
  // the scope of the stream is not that of the effect, which may need one of its own
  Stream.unwrapScopedWith((scope) =>
    Effect.gen(function*() {
      // not a `Mailbox`, which misses an offer or a taker whose fiber yields before it has begun to wait
      const takes = yield* Queue.bounded<Take.Take<Event<A>, E>>(16)
      // whether it was accepted: not after the shutdown, which interrupts an offer
      const offer = (take: Take.Take<Event<A>, E>) => Effect.map(Effect.exit(takes.offer(take)), Exit.isSuccess)
      const outer = yield* Listener
      yield* self.pipe(
        Effect.provideService(
          Listener,
          (event) =>
            Effect.zipWith(offer(Take.of(event)), outer(event), (isTaken, isTakenOutside) => isTaken || isTakenOutside)
        ),
        Effect.tap((value) => offer(Take.of({ _tag: "Succeeded", value }))),
        Effect.exit,
        Effect.flatMap((exit) => offer(Exit.isSuccess(exit) ? Take.end : Take.failCause(exit.cause))),
        forkIn(scope)
      )
      // before the effect is interrupted: a full queue would delay the release of its jobs
      yield* Scope.addFinalizer(scope, takes.shutdown)
      return Stream.flattenTake(Stream.fromQueue(takes))
    })
  )

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
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
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
import type * as Transition from "../model/Transition.js"
import { minPause } from "../policy/internal/pauses.js"
import * as Pacer from "../policy/internal/scheduleDriver.js"
import type { WatchPolicy } from "../policy/WatchPolicy.js"
import type { JobQueue, SubmitRequest } from "../queue/JobQueue.js"
import { cancelExpired, makeWithin, withCancel } from "../watch/internal/expiryErrors.js"
import { decodeOutputs, outputsOf, policyOf } from "../watch/internal/outcome.js"
import * as JobStream from "../watch/JobStream.js"
import type { JobWatcher } from "../watch/JobWatcher.js"
import * as Own from "./internal/ownership.js"
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
 * Where the key of a submit is in the `info` of its job: `client_key`.
 *
 * @since 0.1.0
 * @category constants
 */
export const keyField: "client_key" = Submit.keyField

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
  return yield* Submit.submit(request, options, yield* Submit.start(options))
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
 * How long it may take to give a job back, unless told otherwise: 5 seconds.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultReleaseTimeout: Duration.Duration = Own.defaultReleaseTimeout

/**
 * The options of a submit whose job is given back when its owner ends before it.
 *
 * @since 0.1.0
 * @category models
 */
export interface ScopedOptions extends SubmitOptions {
  /**
   * How long it may take to give the job back. Closing the scope, or interrupting the effect, takes so long at most,
   * and twice that if the submit was on its way. Defaults to `defaultReleaseTimeout`.
   */
  readonly releaseTimeout?: Duration.DurationInput | undefined
  /**
   * Receives the release, also where an error says the same: code that combines runs may drop an error. Defaults to the
   * log, as a warning where there may be a job that goes on, unless `events`, `quorum` or `firstDone` report the
   * release.
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
    const sending = yield* Submit.start(options)
    return yield* Effect.uninterruptibleMask((restore) =>
      Effect.tap(
        owner.acquire(request, sending, restore),
        (job) => Effect.addFinalizer(() => owner.release(job, false))
      )
    )
  }
)

// -----------------------------------------------------------------------------
// running
// -----------------------------------------------------------------------------

/**
 * How many jobs may be submitted again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Budget {
  /** Takes one of the jobs: `false` if none is left. */
  readonly take: Effect.Effect<boolean>
  /** How many jobs are left. */
  readonly left: Effect.Effect<number>
}

/**
 * A budget of so many jobs, for all the runs that it is given to.
 *
 * @since 0.1.0
 * @category constructors
 */
export const makeBudget = (jobs: number): Effect.Effect<Budget> =>
  Effect.sync(() => {
    let left = jobs
    return {
      take: Effect.sync(() => left >= 1 && left-- >= 1),
      left: Effect.sync(() => left)
    }
  })

/**
 * How a job of which the service has lost every worker is submitted again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Resubmit {
  /** How often the job is submitted again, and after which pauses. */
  readonly schedule: Schedule.Schedule<unknown, QueueError.JobRetriesExhausted>
  /**
   * A limit that many runs may share: a job is submitted again only while there is something left. Defaults to no
   * limit.
   */
  readonly budget?: Budget | undefined
}

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
   * How a job that has run out of retries is submitted again. With a `key`, those after the first have `key/2`, `key/3`
   * and so on. Defaults to not at all.
   */
  readonly resubmit?: Resubmit | undefined
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
export type RunEvent = Data.TaggedEnum<{
  Submitted: { readonly stage: Option.Option<string>; readonly job: JobRef; readonly key: string }
  Observed: { readonly stage: Option.Option<string>; readonly job: JobRef; readonly event: JobStream.WatchEvent }
  Released: { readonly stage: Option.Option<string>; readonly release: Release }
}>

/** Who listens to the runs in an effect: it tells whether it has heard. */
type Tell = (event: RunEvent) => Effect.Effect<boolean>

class Listener extends Context.Reference<Listener>()("effect-queue-status/JobRun/Listener", {
  defaultValue: (): Tell => () => Effect.succeed(false)
}) {}

/**
 * What a run has come to, filled in as it goes on: an error of the run reports it.
 *
 * @internal
 */
export interface Trace {
  /** The last job that was submitted, if one was. */
  job: JobRef | undefined
  /** What is known of that job, if anything is. */
  cursor: Transition.Cursor | undefined
}

/** Watches a job to its end. A deadline that cancels the job does so by its owner. */
const watch = (
  job: JobRef,
  options: RunOptions,
  trace: Trace,
  cancel: Own.Owner["cancel"],
  tell: (event: JobStream.WatchEvent) => Effect.Effect<unknown>
): Effect.Effect<Transition.Terminal, QueueError.WatchError, JobWatcher> =>
  Effect.gen(function*() {
    const { deadline, ...policy } = yield* policyOf(options)
    const watched = JobStream.watchToEnd(
      job,
      { ...policy, deadline: { ...deadline, onExpiry: "leave" } },
      (event) =>
        Effect.map(tell(event), () => {
          if ("cursor" in event) trace.cursor = event.cursor
        })
    )
    if (deadline.onExpiry === "leave") return yield* watched
    const within = yield* makeWithin
    const expired = (error: QueueError.DeadlineError) =>
      trace.cursor?.phase === "Running"
        ? Effect.fail(error)
        : Effect.flatMap(
          Effect.delay(cancelExpired(within, cancel(job), deadline), minPause),
          (cancel) => Effect.fail(withCancel(error, cancel))
        )
    return yield* Effect.catchTags(watched, { PendingTooLong: expired, Stalled: expired, WatchTimeout: expired })
  })

/** Submits a job and watches it to its end, or gives it back. */
const runOnce = (
  request: SubmitRequest,
  options: RunOptions,
  stage: Option.Option<string>,
  trace: Trace
): Effect.Effect<Transition.Terminal, SubmitError | QueueError.WatchError, JobQueue | JobWatcher> =>
  Effect.gen(function*() {
    const tell = yield* Listener
    const owner = yield* Own.make({
      ...options,
      onRelease: (release) =>
        Effect.flatMap(tell({ _tag: "Released", stage, release }), (isHeard) =>
          options.onRelease !== undefined
            ? options.onRelease(release)
            : isHeard
            ? Effect.void
            : Own.log(release))
    })
    const sending = yield* Submit.start(options)
    return yield* Effect.uninterruptibleMask((restore) =>
      Effect.gen(function*() {
        const job = yield* owner.acquire(request, sending, restore)
        trace.job = job
        trace.cursor = undefined
        return yield* restore(
          Effect.zipRight(
            tell({ _tag: "Submitted", stage, job, key: sending.key }),
            watch(job, options, trace, owner.cancel, (event) => tell({ _tag: "Observed", stage, job, event }))
          )
        ).pipe(
          Effect.onError(() => owner.release(job, trace.cursor !== undefined))
        )
      })
    )
  })

/**
 * Submits a job and watches it until it is done, or fails with why it is not. One that has run out of retries may be
 * submitted again.
 *
 * @internal
 */
export const runTraced = (
  request: SubmitRequest,
  options: RunOptions,
  stage: Option.Option<string>,
  trace: Trace
): Effect.Effect<Transition.Terminal, RunError, JobQueue | JobWatcher> =>
  Effect.gen(function*() {
    const { key, resubmit } = options
    const pacer = resubmit === undefined ? undefined : yield* Pacer.make(resubmit.schedule)
    for (let nth = 1;; nth++) {
      const keyed = key === undefined || nth === 1 ? options : { ...options, key: `${key}/${nth}` }
      const end = yield* Effect.repeat(runOnce(request, keyed, stage, trace), {
        // it is shared with a run of this program that was stopped, or was given back by an earlier start of it
        while: (end) => end._tag === "Canceled" ? Submit.wasCanceledByUs(keyed, end.job) : false
      })
      const outputs = yield* Effect.either(outputsOf(end))
      if (Either.isRight(outputs)) return end
      const error = outputs.left
      if (error._tag !== "JobRetriesExhausted" || pacer === undefined) return yield* error
      const pause = yield* pacer.next(error)
      if (Option.isNone(pause)) return yield* error
      if (resubmit?.budget !== undefined && !(yield* resubmit.budget.take)) return yield* error
      yield* Effect.sleep(pause.value)
    }
  })

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
 *     resubmit: { schedule: Schedule.intersect(Schedule.spaced("10 seconds"), Schedule.recurs(2)) }
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
    runTraced(request, options, Option.none(), { job: undefined, cursor: undefined })
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
    // who tells of its jobs while it is interrupted finds nobody who listens
    const tell: Tell = (event) => Effect.map(Effect.exit(Queue.offer(queue, Take.of<Event<A>>(event))), Exit.isSuccess)
    yield* self.pipe(
      Effect.provideService(Listener, tell),
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

/**
 * The effects that succeeded first, and what happened to the jobs of the others.
 *
 * @since 0.1.0
 * @category models
 */
export interface Quorum<A> {
  /** The values of those that succeeded first, in that order, each with the index of its effect. */
  readonly results: ReadonlyArray<{ readonly index: number; readonly value: A }>
  /** What happened to the jobs of the others that were given back. */
  readonly released: ReadonlyArray<Release>
}

/**
 * Runs all of the effects at once until `count` of them have succeeded, and interrupts the others: their runs give back
 * their jobs, the pending ones canceled and the running ones reported, before this ends. As soon as too many have failed
 * it fails likewise, with the error of the first, and the causes of all in its `Cause`.
 *
 * To ask for more than there are is a mistake in the program, and a defect.
 *
 * @example
 * import { JobRun } from "effect-queue-status"
 * import { Effect } from "effect"
 *
 * const judge = (model: string) => JobRun.run({ model, payload: { question: "is this a cat?" } })
 *
 * // two of three opinions are enough
 * const program = JobRun.quorum([judge("my-org/a"), judge("my-org/b"), judge("my-org/c")], 2).pipe(
 *   Effect.map(({ results }) => results.map(({ value }) => value))
 * )
 *
 * @since 0.1.0
 * @category several
 */
export const quorum: {
  (count: number): <A, E, R>(self: Iterable<Effect.Effect<A, E, R>>) => Effect.Effect<Quorum<A>, E, R>
  <A, E, R>(self: Iterable<Effect.Effect<A, E, R>>, count: number): Effect.Effect<Quorum<A>, E, R>
} = dual(
  2,
  <A, E, R>(self: Iterable<Effect.Effect<A, E, R>>, count: number): Effect.Effect<Quorum<A>, E, R> =>
    Effect.suspend(() => {
      const legs = Array.from(self)
      if (!(count <= legs.length)) {
        return Effect.die(
          new Cause.IllegalArgumentException(`JobRun.quorum: ${count} of ${legs.length} can't be had`)
        )
      }
      return Effect.uninterruptibleMask((restore) =>
        Effect.gen(function*() {
          const outer = yield* Listener
          const released: Array<Release> = []
          const unheard: Array<Release> = []
          const tell: Tell = (event) =>
            event._tag !== "Released" ? outer(event) : Effect.map(outer(event), (isHeard) => {
              released.push(event.release)
              if (!isHeard) unheard.push(event.release)
              return true
            })
          const ended = yield* Queue.unbounded<readonly [index: number, exit: Exit.Exit<A, E>]>()
          const fibers = yield* Effect.forEach(legs, (leg, index) =>
            Effect.interruptible(leg).pipe(
              Effect.provideService(Listener, tell),
              Effect.onExit((exit) => Queue.offer(ended, [index, exit])),
              Effect.fork
            ))
          const results: Array<{ readonly index: number; readonly value: A }> = []
          let causes: Cause.Cause<E> = Cause.empty
          let failed = 0
          const collect = Effect.gen(function*() {
            while (results.length < count) {
              const [index, exit] = yield* Queue.take(ended)
              if (Exit.isSuccess(exit)) {
                results.push({ index, value: exit.value })
              } else {
                causes = Cause.isEmpty(causes) ? exit.cause : Cause.parallel(causes, exit.cause)
                if (++failed > legs.length - count) return yield* Effect.failCause(causes)
              }
            }
          })
          yield* restore(collect).pipe(
            Effect.ensuring(Fiber.interruptAll(fibers)),
            // who fails has no other way to say what it has given back
            Effect.onError(() => Effect.forEach(unheard, Own.log, { discard: true }))
          )
          return { results, released }
        })
      )
    })
)

/**
 * The first of several effects that succeeds; the others are interrupted, and give back their jobs before this ends
 * (`quorum` of one). To begin the second only when the first takes its time, delay it.
 *
 * @example
 * import { JobRun } from "effect-queue-status"
 * import { Effect } from "effect"
 *
 * const image = (model: string) => JobRun.run({ model, payload: { prompt: "a cat at the piano" } })
 *
 * const program = JobRun.firstDone([image("my-org/large"), Effect.delay(image("my-org/fast"), "20 seconds")])
 *
 * @since 0.1.0
 * @category several
 */
export const firstDone = <A, E, R>(self: Iterable<Effect.Effect<A, E, R>>): Effect.Effect<
  { readonly index: number; readonly value: A; readonly released: ReadonlyArray<Release> },
  E,
  R
> =>
  Effect.map(quorum(self, 1), ({ released, results }) => ({
    // a quorum of one has one result
    ...results[0]!,
    released
  }))

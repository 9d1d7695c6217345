/**
 * The queue in memory, under Effect's `Clock`: a program that uses `JobQueue` runs on it unchanged, under `TestClock` in
 * virtual time. It has no fibers of its own; it moves to "now" whenever it is asked, so nothing can hang and nothing is
 * left running.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as TestClock from "effect/TestClock"
import { rules } from "../model/internal/rules.js"
import type * as Job from "../model/Job.js"
import type { Operation, QueueError } from "../model/QueueError.js"
import type * as Transition from "../model/Transition.js"
import { defaultRequestTimeout } from "../queue/internal/options.js"
import { checkModel, checkRef, checkSubmit } from "../queue/internal/request.js"
import { fromRefusal } from "../queue/internal/response.js"
import { CancelResult, JobQueue } from "../queue/JobQueue.js"
import type { Service as JobQueueService } from "../queue/JobQueue.js"
import * as JobWatcher from "../watch/JobWatcher.js"
import type { Call, Outcome } from "./Call.js"
import type { Fault } from "./Fault.js"
import { noSuchJob } from "./internal/errorResponses.js"
import * as Expectation from "./internal/expectation.js"
import * as Wire from "./internal/faultInjection.js"
import * as Life from "./internal/history.js"
import * as Exchanges from "./internal/httpResponses.js"
import * as Client from "./internal/inProcessClient.js"
import { defaultSeed } from "./internal/seededRandom.js"
import * as LocalQueue from "./internal/simulatedQueue.js"
import { VirtualTime } from "./internal/virtualTime.js"
import { defaultClaimTimeout } from "./Worker.js"
import type { Pool, Task } from "./Worker.js"

/**
 * The options of the queue in memory.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The workers that run the jobs. Jobs that none of them takes wait until the test claims them. Defaults to none. */
  readonly workers?: Pool | ReadonlyArray<Pool> | undefined
  /** What goes wrong between the program and the queue. Defaults to nothing. */
  readonly faults?: ReadonlyArray<Fault> | undefined
  /**
   * The seed of all chance, in the queue and in the program (`Random`): request ids, the times that workers take, which
   * calls a fault happens to, jitter. The same seed gives the same run, to the byte, if it begins at the same time.
   * Defaults to a fixed seed.
   */
  readonly seed?: string | number | undefined
  /** How long a call may take, as for the client over HTTP. Defaults to 30 seconds. */
  readonly requestTimeout?: Duration.DurationInput | undefined
}

/**
 * What a test sees of the queue and does to it, beside the program.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** When the queue was made, in milliseconds since the epoch. */
  readonly startedAt: number
  /** Every call so far, oldest first. */
  readonly calls: Effect.Effect<ReadonlyArray<Call>>
  /** How many calls there were so far, of each operation. */
  readonly counts: Effect.Effect<{ readonly [operation in Operation]: number }>
  /** Every job that was submitted, oldest first, also where the answer was lost. */
  readonly jobs: Effect.Effect<ReadonlyArray<Job.JobRef>>
  /** What truly happened to a job, oldest first. Each transition is `observed` at the very moment when it happened. */
  readonly transitions: (job: Job.JobRef) => Effect.Effect<ReadonlyArray<Transition.Transition>>
  /** Lets a fault happen from now on, until it is removed. */
  readonly inject: (fault: Fault) => Effect.Effect<{ readonly remove: Effect.Effect<void> }>
  /**
   * Takes the next job of a model, as a worker would. The claim lasts for `timeout`, which defaults to
   * `defaultClaimTimeout`.
   */
  readonly claim: (model: string, timeout?: Duration.DurationInput) => Effect.Effect<Option.Option<Task>>
  /**
   * A sign of life of the worker that claimed the task, or that has the job. It merges `info` into the job's. `false`
   * if the worker has lost its claim.
   */
  readonly heartbeat: (who: Job.JobRef | Task, info?: Job.JsonObject) => Effect.Effect<boolean>
  /**
   * The worker that claimed the task, or that has the job, is done, with `outputs`. `false` if it has lost its claim.
   */
  readonly finish: (who: Job.JobRef | Task, outputs?: Job.JsonObject) => Effect.Effect<boolean>
  /**
   * The worker that claimed the task, or that has the job, has failed it, with `reason` in `info.error`. `false` if it
   * has lost its claim.
   */
  readonly fail: (who: Job.JobRef | Task, reason: string) => Effect.Effect<boolean>
}

/**
 * The handle that comes with the queue in memory.
 *
 * @since 0.1.0
 * @category context
 */
export class TestJobQueue extends Context.Tag("effect-queue-status/testing/TestJobQueue")<TestJobQueue, Service>() {}

const notFound = (operation: Operation, job: Job.JobRef): QueueError => {
  const { body, status } = noSuchJob(job)
  return fromRefusal(
    { operation, model: job.model, job },
    { httpStatus: status, text: JSON.stringify(body), httpRequestId: undefined, retryAfter: undefined },
    (text) => text
  )
}

const outcomeOf = (exit: Exit.Exit<unknown, QueueError>): Outcome =>
  Exit.match(exit, {
    onSuccess: () => "answered",
    onFailure: (cause) =>
      Option.match(Cause.failureOption(cause), {
        onSome: (error) => error._tag,
        onNone: () => Cause.isInterruptedOnly(cause) ? "interrupted" : "died"
      })
  })

const claimOf = (who: Job.JobRef | Task) => "job" in who ? { ref: who.job, attempt: who.attempt } : { ref: who }

const make = (options: Options) =>
  Effect.gen(function*() {
    const { seed = defaultSeed } = options
    const jobs: Array<Job.JobRef> = []
    const local = LocalQueue.make({ workers: options.workers, random: Random.make(seed), seed, recording: true })
    const queue: LocalQueue.LocalQueue = {
      ...local,
      submit: (request) => Effect.tap(local.submit(request), (job) => Effect.sync(() => jobs.push(job)))
    }
    const exchanges = Exchanges.make(queue)
    const startedAt = yield* Clock.currentTimeMillis
    const client = yield* Effect.cached(Client.make(options.requestTimeout ?? defaultRequestTimeout))
    const faults = new Wire.Faults(seed, startedAt)
    for (const fault of options.faults ?? []) faults.add(fault)
    const calls: Array<Call> = []
    const counts = { status: 0, submit: 0, cancel: 0, clear: 0, metrics: 0 }

    /**
     * A call, noted. It is answered by `direct`, unless something goes wrong with it: then `exchange` says what the
     * service would have sent, and the client what that means.
     */
    const called = <A>(
      about: { readonly operation: Operation; readonly model: string; readonly requestId?: string },
      direct: Effect.Effect<A, QueueError>,
      exchange: Wire.Exchange,
      make: (client: JobQueueService) => Effect.Effect<A, QueueError>
    ): Effect.Effect<A, QueueError> =>
      Clock.clockWith((clock) => {
        const { model, operation, requestId } = about
        const at = clock.unsafeCurrentTimeMillis()
        const call: Call = { operation, nth: ++counts[operation], at, model, requestId, end: undefined }
        const index = calls.push(call) - 1
        const happenings = faults.to(call)
        return Effect.onExit(
          happenings.length === 0
            ? direct
            : Effect.flatMap(
              client,
              (client) => Client.answered(make(client), Wire.disturb(happenings, exchange)(Wire.truth))
            ),
          (exit) =>
            Effect.sync(() => {
              calls[index] = { ...call, end: { at: clock.unsafeCurrentTimeMillis(), outcome: outcomeOf(exit) } }
            })
        )
      })

    const jobQueue = JobQueue.of({
      status: (input) =>
        Effect.flatMap(checkRef("status", input), (job) =>
          called(
            { operation: "status", model: job.model, requestId: job.requestId },
            Effect.flatMap(queue.status(job), Effect.mapError(() => notFound("status", job))),
            exchanges.status(job),
            (client) => client.status(job)
          )),
      submit: (input) =>
        Effect.flatMap(checkSubmit(input), (request) =>
          called(
            { operation: "submit", model: request.model },
            queue.submit(request),
            exchanges.submit(request),
            (client) => client.submit(input)
          )),
      cancel: (input) =>
        Effect.flatMap(checkRef("cancel", input), (job) =>
          called(
            { operation: "cancel", model: job.model, requestId: job.requestId },
            Effect.flatMap(
              queue.cancel(job),
              Option.match({
                onNone: () => Effect.fail(notFound("cancel", job)),
                onSome: (state) =>
                  Effect.succeed(
                    state === "pending" ? CancelResult.Canceled() : CancelResult.NotCanceled({ status: state })
                  )
              })
            ),
            exchanges.cancel(job),
            (client) => client.cancel(job)
          )),
      clear: (input) =>
        Effect.flatMap(checkModel("clear", input), (model) =>
          called(
            { operation: "clear", model },
            queue.clear(model),
            exchanges.clear(model),
            (client) => client.clear(model)
          )),
      metrics: (input) =>
        Effect.flatMap(checkModel("metrics", input), (model) =>
          called(
            { operation: "metrics", model },
            queue.metrics(model),
            exchanges.metrics(model),
            (client) => client.metrics(model)
          ))
    })

    const handle = TestJobQueue.of({
      startedAt,
      calls: Effect.sync(() => calls.slice()),
      counts: Effect.sync(() => ({ ...counts })),
      jobs: Effect.sync(() => jobs.slice()),
      transitions: (job) =>
        Effect.zipWith(queue.find(job), rules, (job, rules) =>
          Option.match(job, {
            onNone: () => [],
            onSome: (job) => Life.trueTransitionsOf(job, rules)
          })),
      inject: (fault) => Effect.sync(() => ({ remove: Effect.sync(faults.add(fault)) })),
      claim: (model, timeout) => queue.claim(model, Duration.toMillis(timeout ?? defaultClaimTimeout)),
      heartbeat: (who, info = {}) => queue.update({ ...claimOf(who), status: "running", info }),
      finish: (who, outputs = {}) => queue.update({ ...claimOf(who), status: "done", outputs }),
      fail: (who, reason) => queue.update({ ...claimOf(who), status: "failed", info: { error: reason } })
    })

    return Context.make(JobQueue, jobQueue).pipe(Context.add(TestJobQueue, handle))
  })

/**
 * A queue of its own for whoever provides it, a `JobWatcher` that polls it, and chance that comes from its seed.
 *
 * @example
 * import { JobQueue, JobStream } from "effect-queue-status"
 * import { Fault, TestJobQueue, Worker } from "effect-queue-status/testing"
 * import { Effect, TestContext } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const job = yield* JobQueue.submit({ model: "my-org/adder", payload: { a: 1, b: 2 } })
 *   return yield* JobStream.result(job)
 * })
 *
 * // the first worker dies, the third poll is told to wait for a minute; over in a few milliseconds
 * const test = TestJobQueue.runUntilDone(program).pipe( // { sum: 3 }
 *   Effect.provide(TestJobQueue.layer({
 *     workers: { script: Worker.attempts([Worker.die], [Worker.finish("10 seconds", { sum: 3 })]) },
 *     faults: [Fault.rateLimited("1 minute").pipe(Fault.on("status"), Fault.nth(3))]
 *   })),
 *   Effect.provide(TestContext.TestContext)
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<JobQueue | JobWatcher.JobWatcher | TestJobQueue> =>
  // afresh for each who provides it: a layer that two tests share would have the second go on where the first left off
  Layer.suspend(() =>
    JobWatcher.layer().pipe(
      Layer.provideMerge(Layer.merge(
        Layer.effectContext(make(options)),
        Layer.setRandom(Random.make(options.seed ?? defaultSeed))
      ))
    )
  )

// -----------------------------------------------------------------------------
// accessors
// -----------------------------------------------------------------------------

/**
 * When the queue was made, in milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category accessors
 */
export const startedAt: Effect.Effect<number, never, TestJobQueue> = Effect.map(
  TestJobQueue,
  (queue) => queue.startedAt
)

/**
 * Every call so far, oldest first.
 *
 * @since 0.1.0
 * @category accessors
 */
export const calls: Effect.Effect<ReadonlyArray<Call>, never, TestJobQueue> = Effect.flatMap(
  TestJobQueue,
  (queue) => queue.calls
)

/**
 * How many calls there were so far, of each operation.
 *
 * @since 0.1.0
 * @category accessors
 */
export const counts: Effect.Effect<{ readonly [operation in Operation]: number }, never, TestJobQueue> = Effect.flatMap(
  TestJobQueue,
  (queue) => queue.counts
)

/**
 * Every job that was submitted, oldest first, also where the answer was lost.
 *
 * @since 0.1.0
 * @category accessors
 */
export const jobs: Effect.Effect<ReadonlyArray<Job.JobRef>, never, TestJobQueue> = Effect.flatMap(
  TestJobQueue,
  (queue) => queue.jobs
)

/**
 * What truly became of a job until now, oldest first.
 *
 * @since 0.1.0
 * @category accessors
 */
export const transitions = (
  job: Job.JobRef
): Effect.Effect<ReadonlyArray<Transition.Transition>, never, TestJobQueue> =>
  Effect.flatMap(TestJobQueue, (queue) => queue.transitions(job))

/**
 * Lets a fault happen from now on, until it is removed.
 *
 * @since 0.1.0
 * @category accessors
 */
export const inject = (
  fault: Fault
): Effect.Effect<{ readonly remove: Effect.Effect<void> }, never, TestJobQueue> =>
  Effect.flatMap(TestJobQueue, (queue) => queue.inject(fault))

/**
 * Takes the next job of a model, as a worker would, for `defaultClaimTimeout` unless another time is given.
 *
 * @since 0.1.0
 * @category accessors
 */
export const claim = (
  model: string,
  timeout?: Duration.DurationInput
): Effect.Effect<Option.Option<Task>, never, TestJobQueue> =>
  Effect.flatMap(TestJobQueue, (queue) => queue.claim(model, timeout))

/**
 * A sign of life of the worker that has the job, or that claimed the task; `false` where it has lost its claim.
 *
 * @since 0.1.0
 * @category accessors
 */
export const heartbeat = (
  who: Job.JobRef | Task,
  info?: Job.JsonObject
): Effect.Effect<boolean, never, TestJobQueue> => Effect.flatMap(TestJobQueue, (queue) => queue.heartbeat(who, info))

/**
 * The worker that has the job, or that claimed the task, is done; `false` where it has lost its claim.
 *
 * @since 0.1.0
 * @category accessors
 */
export const finish = (
  who: Job.JobRef | Task,
  outputs?: Job.JsonObject
): Effect.Effect<boolean, never, TestJobQueue> => Effect.flatMap(TestJobQueue, (queue) => queue.finish(who, outputs))

/**
 * The worker that has the job, or that claimed the task, has failed it; `false` where it has lost its claim.
 *
 * @since 0.1.0
 * @category accessors
 */
export const fail = (who: Job.JobRef | Task, reason: string): Effect.Effect<boolean, never, TestJobQueue> =>
  Effect.flatMap(TestJobQueue, (queue) => queue.fail(who, reason))

// -----------------------------------------------------------------------------
// expectations
// -----------------------------------------------------------------------------

// Made where the expectation is stated, so that its stack begins there; whether it is met shows only later.
const expectation = (
  // what the test called: its stack is none of the test's business
  stating: (...args: never) => unknown,
  check: (queue: Service) => Effect.Effect<Option.Option<string>>
): Effect.Effect<void, never, TestJobQueue> => {
  const stated = { stack: "" }
  if ("captureStackTrace" in Error) Error.captureStackTrace(stated, stating)
  return Effect.flatMap(
    Effect.flatMap(TestJobQueue, check),
    Option.match({
      onNone: () => Effect.void,
      onSome: (message) => Effect.die(Expectation.failed(message, stated.stack))
    })
  )
}

/**
 * A transition, with or without the number of its attempt: `Claimed 2`, or `Claimed` for any.
 *
 * @since 0.1.0
 * @category expectations
 */
export type ExpectedTransition = Transition.Transition["_tag"] | `${Transition.Transition["_tag"]} ${number}`

/**
 * Expects these transitions and no others, seen by a program or true (`Service.transitions`). Where no `Progressed` is
 * expected, none counts. What is not as expected is a defect that shows the difference.
 *
 * @example
 * import { JobQueue, JobStream } from "effect-queue-status"
 * import { TestJobQueue } from "effect-queue-status/testing"
 * import { Effect, Stream } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   const job = yield* JobQueue.submit({ model: "my-org/adder", payload: { a: 1, b: 2 } })
 *   const seen = yield* Stream.runCollect(JobStream.transitions(job))
 *   yield* TestJobQueue.expectTransitions(seen, ["Queued", "Claimed 1", "Requeued 1", "Claimed 2", "Completed 2"])
 * })
 *
 * @since 0.1.0
 * @category expectations
 */
export const expectTransitions = (
  transitions: Iterable<Transition.Transition>,
  expected: ReadonlyArray<ExpectedTransition>
): Effect.Effect<void, never, TestJobQueue> =>
  expectation(expectTransitions, () => Effect.succeed(Expectation.ofTransitions(transitions, expected)))

/**
 * Expects that what a program saw of a job, from its beginning until now, is what happened: every step and no other, at
 * the times that it was told, and no progress that there was not. (Of progress a program may miss as much as it likes. A
 * job that the model failed and one that has lost its last worker look alike to the service; to mistake them is no lie.)
 *
 * @since 0.1.0
 * @category expectations
 */
export const expectTruth = (
  job: Job.JobRef,
  seen: Iterable<Transition.Transition>
): Effect.Effect<void, never, TestJobQueue> =>
  expectation(
    expectTruth,
    ({ startedAt, transitions }) =>
      Effect.map(transitions(job), (truth) => Expectation.ofTruth(job, startedAt, truth, Array.from(seen)))
  )

/**
 * Expects that so many jobs were submitted, also where the answer was lost.
 *
 * @since 0.1.0
 * @category expectations
 */
export const expectJobs = (expected: number): Effect.Effect<void, never, TestJobQueue> =>
  expectation(
    expectJobs,
    ({ calls, jobs, startedAt }) =>
      Effect.zipWith(jobs, calls, (jobs, calls) => Expectation.ofJobs(startedAt, jobs, calls, expected))
  )

/**
 * Expects that the status of a job was asked for so often, or at just these times since the queue was made.
 *
 * @since 0.1.0
 * @category expectations
 */
export const expectPolls = (
  job: Job.JobRef,
  expected: number | ReadonlyArray<Duration.DurationInput>
): Effect.Effect<void, never, TestJobQueue> => {
  const times = typeof expected === "number" ? expected : expected.map((time) => Duration.decode(time))
  return expectation(
    expectPolls,
    ({ calls, startedAt }) => Effect.map(calls, (calls) => Expectation.ofPolls(job, startedAt, calls, times))
  )
}

/**
 * Expects that later than so long after the queue was made no call was begun, nor was one on its way.
 *
 * @since 0.1.0
 * @category expectations
 */
export const expectNoCallsAfter = (time: Duration.DurationInput): Effect.Effect<void, never, TestJobQueue> => {
  const after = Duration.decode(time)
  return expectation(
    expectNoCallsAfter,
    ({ calls, startedAt }) => Effect.map(calls, (calls) => Expectation.ofSilence(startedAt, calls, after))
  )
}

// -----------------------------------------------------------------------------
// time
// -----------------------------------------------------------------------------

/**
 * How far `runUntilDone` lets the time run unless told otherwise: 30 days.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultLimit: Duration.Duration = Duration.days(30)

// How long something may take in the real world, when nothing else is left to wait for.
const patience = Duration.seconds(2)

const isTestClock = (clock: Clock.Clock): clock is TestClock.TestClock => "setTime" in clock

const withLock = Effect.unsafeMakeSemaphore(1)

// Never back: several may end at once, and to set the clock takes some turns of the host.
const forward = (clock: TestClock.TestClock, time: VirtualTime): Effect.Effect<void> =>
  withLock.withPermits(1)(
    Effect.suspend(() => clock.setTime(Math.max(clock.unsafeCurrentTimeMillis(), time.currentTimeMillis)))
  )

/**
 * Runs an effect in a time that jumps: whenever nothing is left to do, to the next moment that something waits for. The
 * test clock, if there is one, is set to the time that this ends with.
 *
 * - It begins at the time of the clock that there is. Fibers that were started before do not see it pass. Inside of it,
 *   `TestClock.adjust` waits, like `Effect.sleep`.
 * - What waits for the real world (a socket, a file) is overtaken by the time, unless it is there by the next turn of the
 *   host's event loop. Where nothing else is left to wait for, it has two real seconds.
 * - Inside of another one it is the same time that jumps, and there is one `limit` more if one is given.
 * - An effect that waits for what will never happen, and one that has not ended after `limit` (30 days unless given, in
 *   its own time), is a defect that says so.
 *
 * @example
 * import { JobQueue, JobStream } from "effect-queue-status"
 * import { TestJobQueue, Worker } from "effect-queue-status/testing"
 * import { Clock, Effect } from "effect"
 *
 * const test = Effect.gen(function*() {
 *   const job = yield* JobQueue.submit({ model: "my-org/video-generator", payload: {} })
 *   yield* JobStream.result(job)
 *   return yield* Clock.currentTimeMillis // six hours later, and at once
 * }).pipe(
 *   TestJobQueue.runUntilDone,
 *   Effect.provide(TestJobQueue.layer({
 *     workers: { script: Worker.always(Worker.finish("6 hours")) }
 *   }))
 * )
 *
 * @since 0.1.0
 * @category time
 */
export const runUntilDone = <A, E, R>(
  effect: Effect.Effect<A, E, R>,
  options: { readonly limit?: Duration.DurationInput | undefined } = {}
): Effect.Effect<A, E, R> =>
  Effect.gen(function*() {
    const clock = yield* Effect.clock
    const limit = Duration.decode(options.limit ?? defaultLimit)
    const pastLimit = `TestJobQueue.runUntilDone: it has not ended within ${Duration.format(limit)} of its own time`
    if (VirtualTime.isClock(clock)) {
      return yield* options.limit === undefined ? effect : Effect.timeoutFailCause(effect, {
        duration: limit,
        onTimeout: () => Cause.die(new Cause.RuntimeException(pastLimit))
      })
    }
    const start = clock.unsafeCurrentTimeMillis()
    let settled = yield* Deferred.make<void>()
    let stuck: string | undefined
    const time = new VirtualTime(start, start + Duration.toMillis(limit), Duration.toMillis(patience), (why, now) => {
      stuck ??= why === "end" ? pastLimit : "TestJobQueue.runUntilDone: it waits for what will never happen: " +
        `nothing is left to do after ${Duration.format(Duration.millis(now - start))}`
      Deferred.unsafeDone(settled, Effect.void)
    })
    const fiber = yield* Effect.fork(effect).pipe(Effect.withClock(time.clock), Effect.withScheduler(time))
    fiber.addObserver(() => {
      time.stop()
      Deferred.unsafeDone(settled, Effect.void)
    })
    return yield* Effect.gen(function*() {
      yield* Deferred.await(settled)
      if (stuck === undefined) return yield* Fiber.join(fiber)
      // it may tidy up, unless it is stuck in that as well
      settled = yield* Deferred.make<void>()
      yield* Fiber.interruptFork(fiber)
      yield* Deferred.await(settled)
      return yield* Effect.dieMessage(stuck)
    }).pipe(
      Effect.onInterrupt(() => Fiber.interrupt(fiber)),
      Effect.ensuring(isTestClock(clock) ? forward(clock, time) : Effect.void)
    )
  })

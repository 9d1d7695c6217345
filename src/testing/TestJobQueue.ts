/**
 * The queue in memory, under Effect's `Clock`. A program that uses `JobQueue` runs on it unchanged, in virtual time under
 * `TestClock`. The queue has no fibers: each call first advances it to the present.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Job from "../model/Job.js"
import type { Operation } from "../model/QueueError.js"
import type * as Transition from "../model/Transition.js"
import { JobQueue } from "../queue/JobQueue.js"
import * as JobWatcher from "../watch/JobWatcher.js"
import type { Fault } from "./Fault.js"
import * as Expectation from "./internal/expectation.js"
import type * as Calls from "./internal/fault.js"
import * as InMemoryQueue from "./internal/inMemoryQueue.js"
import * as SeededRandom from "./internal/seededRandom.js"
import * as StillClock from "./internal/stillClock.js"
import type { Pool, Report, Task } from "./Worker.js"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * The options of the queue in memory.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The workers that run the jobs. Other jobs wait until the test claims them. Defaults to none. */
  readonly workers?: Pool | ReadonlyArray<Pool> | undefined
  /** The faults between the program and the queue. Defaults to none. */
  readonly faults?: ReadonlyArray<Fault> | undefined
  /**
   * The seed of the queue and of Effect's `Random`: request ids, the times of workers, the calls that a fault affects,
   * jitter. The same seed, started at the same time, gives the same run. Defaults to a fixed seed.
   */
  readonly seed?: string | number | undefined
  /** How long a call may take, as for the HTTP client. Defaults to `JobQueue.defaultRequestTimeout`. */
  readonly requestTimeout?: Duration.DurationInput | undefined
}

/**
 * A call of the queue. A request that fails validation is not sent, and is no call.
 *
 * @since 0.1.0
 * @category models
 */
export type Call = Calls.Call

// -----------------------------------------------------------------------------
// context
// -----------------------------------------------------------------------------

/** The primitives of the functions of this module, such as `calls` and `inject`, which are the way to use them. */
interface Service {
  /** The time when the queue was created, in milliseconds since the epoch. */
  readonly startedAt: number
  /** Returns every call so far, oldest first. */
  readonly calls: Effect.Effect<ReadonlyArray<Call>>
  /** Returns every submitted job, oldest first. */
  readonly jobs: Effect.Effect<ReadonlyArray<Job.JobRef>>
  /** Returns the true transitions of a job, oldest first. */
  readonly transitions: (job: Job.JobRef) => Effect.Effect<ReadonlyArray<Transition.Transition>>
  /** Adds a fault until it is removed. */
  readonly inject: (fault: Fault) => Effect.Effect<{ readonly remove: Effect.Effect<void> }>
  /** Claims the next job of a model. */
  readonly claim: (model: string, timeout?: Duration.DurationInput) => Effect.Effect<Option.Option<Task>>
  /** Reports a heartbeat (`running`) or the end of a job. Returns `false` if the worker has lost its claim. */
  readonly report: (worker: Job.JobRef | Task, report: Report) => Effect.Effect<boolean>
}

/**
 * The handle of the queue in memory, which `layer` provides.
 *
 * @since 0.1.0
 * @category context
 */
export class TestJobQueue extends Context.Tag("effect-queue-status/testing/TestJobQueue")<TestJobQueue, Service>() {}

// -----------------------------------------------------------------------------
// layers
// -----------------------------------------------------------------------------

/**
 * Provides a queue in memory, a `JobWatcher` that polls it, and a `Random` from its seed. Each time that the layer is
 * provided, all of them are new. If a program sleeps under a `TestClock` that does not move, a hint is printed after two
 * seconds.
 *
 * @example
 * import { JobQueue, JobStream } from "effect-queue-status"
 * import { Fault, TestJobQueue, VirtualTime, Worker } from "effect-queue-status/testing"
 * import { Effect, TestContext } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const job = yield* JobQueue.submit({ model: "my-org/adder", payload: { a: 1, b: 2 } })
 *   return yield* JobStream.result(job)
 * })
 *
 * // the first worker dies, and the third poll has to wait for a minute; takes a few milliseconds
 * const test = VirtualTime.run(program).pipe( // { sum: 3 }
 *   Effect.provide(TestJobQueue.layer({
 *     workers: { script: Worker.attempts([Worker.stopResponding], [Worker.finish("10 seconds", { sum: 3 })]) },
 *     faults: [Fault.rateLimited("1 minute").pipe(Fault.on("status"), Fault.nth(3))]
 *   })),
 *   Effect.provide(TestContext.TestContext)
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<JobQueue | JobWatcher.JobWatcher | TestJobQueue> =>
  // suspended: two tests that share the layer must not share the state of its `Random`
  Layer.suspend(() => {
    const { seed = SeededRandom.defaultSeed } = options
    const queue = Effect.map(
      InMemoryQueue.make({ ...options, seed }),
      ({ handle, service }) => Context.make(JobQueue, service).pipe(Context.add(TestJobQueue, handle))
    )
    return Layer.provideMerge(
      JobWatcher.layer(),
      Layer.mergeAll(
        Layer.effectContext(queue),
        Layer.setRandom(SeededRandom.make(seed)),
        Layer.scopedDiscard(StillClock.warn)
      )
    )
  })

// -----------------------------------------------------------------------------
// calls and jobs
// -----------------------------------------------------------------------------

/**
 * Returns the time when the queue was created, in milliseconds since the epoch.
 *
 * @since 0.1.0
 * @category accessors
 */
export const startedAt: Effect.Effect<number, never, TestJobQueue> = Effect.map(
  TestJobQueue,
  (queue) => queue.startedAt
)

/**
 * Returns every call so far, oldest first.
 *
 * @since 0.1.0
 * @category accessors
 */
export const calls: Effect.Effect<ReadonlyArray<Call>, never, TestJobQueue> = Effect.flatMap(
  TestJobQueue,
  (queue) => queue.calls
)

/**
 * Returns the number of calls so far, by operation.
 *
 * @since 0.1.0
 * @category accessors
 */
export const counts: Effect.Effect<{ readonly [operation in Operation]: number }, never, TestJobQueue> = Effect.map(
  calls,
  (calls) => {
    const counts = { status: 0, submit: 0, cancel: 0, clear: 0, metrics: 0 }
    for (const { operation } of calls) counts[operation]++
    return counts
  }
)

/**
 * Returns every submitted job, oldest first, including those whose response was lost.
 *
 * @since 0.1.0
 * @category accessors
 */
export const jobs: Effect.Effect<ReadonlyArray<Job.JobRef>, never, TestJobQueue> = Effect.flatMap(
  TestJobQueue,
  (queue) => queue.jobs
)

/**
 * Returns the true transitions of a job so far, oldest first, each `observed` at the time when it happened.
 *
 * @since 0.1.0
 * @category accessors
 */
export const transitions = (
  job: Job.JobRef
): Effect.Effect<ReadonlyArray<Transition.Transition>, never, TestJobQueue> =>
  Effect.flatMap(TestJobQueue, (queue) => queue.transitions(job))

/**
 * Injects a fault from now on, until it is removed.
 *
 * @since 0.1.0
 * @category accessors
 */
export const inject = (
  fault: Fault
): Effect.Effect<{ readonly remove: Effect.Effect<void> }, never, TestJobQueue> =>
  Effect.flatMap(TestJobQueue, (queue) => queue.inject(fault))

// -----------------------------------------------------------------------------
// the test as a worker
// -----------------------------------------------------------------------------

/**
 * Claims the next job of a model, as a worker does. The claim lasts for `timeout` from the last heartbeat, which defaults
 * to 90 seconds.
 *
 * @since 0.1.0
 * @category workers
 */
export const claim = (
  model: string,
  timeout?: Duration.DurationInput
): Effect.Effect<Option.Option<Task>, never, TestJobQueue> =>
  Effect.flatMap(TestJobQueue, (queue) => queue.claim(model, timeout))

/**
 * Sends a heartbeat for a claimed task, or for the present claim of a job, and merges `info` into that of the job.
 * Returns `false` if the claim is lost.
 *
 * @since 0.1.0
 * @category workers
 */
export const heartbeat = (
  worker: Job.JobRef | Task,
  info: Job.JsonObject = {}
): Effect.Effect<boolean, never, TestJobQueue> =>
  Effect.flatMap(TestJobQueue, (queue) => queue.report(worker, { status: "running", info }))

/**
 * Finishes a claimed task, or the present claim of a job, with `outputs`. Returns `false` if the claim is lost.
 *
 * @since 0.1.0
 * @category workers
 */
export const finish = (
  worker: Job.JobRef | Task,
  outputs: Job.JsonObject = {}
): Effect.Effect<boolean, never, TestJobQueue> =>
  Effect.flatMap(TestJobQueue, (queue) => queue.report(worker, { status: "done", outputs }))

/**
 * Fails a claimed task, or the present claim of a job, with `reason` in `info.error`. Returns `false` if the claim is
 * lost.
 *
 * @since 0.1.0
 * @category workers
 */
export const fail = (worker: Job.JobRef | Task, reason: string): Effect.Effect<boolean, never, TestJobQueue> =>
  Effect.flatMap(TestJobQueue, (queue) => queue.report(worker, { status: "failed", info: { error: reason } }))

// -----------------------------------------------------------------------------
// expectations
// -----------------------------------------------------------------------------

const log: Effect.Effect<Expectation.Log, never, TestJobQueue> = Effect.all({ startedAt, calls, jobs })

const expectation = <A>(
  /** The function that the test called: the stack of a failure begins below it. */
  stating: (...args: never) => unknown,
  facts: Effect.Effect<A, never, TestJobQueue>,
  check: (facts: A) => Option.Option<string>
): Effect.Effect<void, never, TestJobQueue> => {
  const stated = { stack: "" }
  if ("captureStackTrace" in Error) Error.captureStackTrace(stated, stating)
  return Effect.flatMap(facts, (facts) =>
    Option.match(check(facts), {
      onNone: () => Effect.void,
      onSome: (message) => Effect.die(Expectation.failed(message, stated.stack))
    }))
}

/** A transition with the number of its attempt, such as `Claimed 2`, or without, such as `Claimed` for any attempt. */
type ExpectedTransition = Transition.Transition["_tag"] | `${Transition.Transition["_tag"]} ${number}`

/**
 * Expects these transitions and no others, seen by a program or true (`transitions`). If no `Progressed` is expected, all
 * of them are ignored. Dies with the difference otherwise.
 *
 * @since 0.1.0
 * @category expectations
 */
export const expectTransitions = (
  transitions: Iterable<Transition.Transition>,
  expected: ReadonlyArray<ExpectedTransition>
): Effect.Effect<void, never, TestJobQueue> =>
  expectation(expectTransitions, Effect.void, () => Expectation.ofTransitions(transitions, expected))

/**
 * Expects that what a program saw of a job so far is what happened: every step and no other, at its reported time, and no
 * progress that was not made. A program may miss progress, and may mistake `FailedByModel` for `RetriesExhausted`, which
 * the service reports alike.
 *
 * @since 0.1.0
 * @category expectations
 */
export const expectMatchesHistory = (
  job: Job.JobRef,
  seen: Iterable<Transition.Transition>
): Effect.Effect<void, never, TestJobQueue> =>
  expectation(
    expectMatchesHistory,
    Effect.all({ startedAt, truth: transitions(job) }),
    ({ startedAt, truth }) => Expectation.ofTruth(job, startedAt, truth, Array.from(seen))
  )

/**
 * Expects this number of submitted jobs, including those whose response was lost.
 *
 * @since 0.1.0
 * @category expectations
 */
export const expectJobs = (expected: number): Effect.Effect<void, never, TestJobQueue> =>
  expectation(expectJobs, log, (log) => Expectation.ofJobs(log, expected))

/**
 * Expects this number of `status` calls for a job, or such calls at these times since the queue was created.
 *
 * @since 0.1.0
 * @category expectations
 */
export const expectPolls = (
  job: Job.JobRef,
  expected: number | ReadonlyArray<Duration.DurationInput>
): Effect.Effect<void, never, TestJobQueue> => {
  const times = typeof expected === "number" ? expected : expected.map((time) => Duration.decode(time))
  return expectation(expectPolls, log, (log) => Expectation.ofPolls(log, job, times))
}

/**
 * Expects that no call starts, or is in flight, later than this time after the queue was created.
 *
 * @since 0.1.0
 * @category expectations
 */
export const expectNoCallsAfter = (time: Duration.DurationInput): Effect.Effect<void, never, TestJobQueue> => {
  const after = Duration.decode(time)
  return expectation(expectNoCallsAfter, log, (log) => Expectation.ofSilence(log, after))
}

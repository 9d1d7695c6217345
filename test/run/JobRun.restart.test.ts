/**
 * Runs with a key that are stopped and started again, in virtual time. With real processes: test/node/restart.test.ts.
 */
import { assert, describe, it } from "@effect/vitest"
import { assertNone } from "@effect/vitest/utils"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import { pipe } from "effect/Function"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { Deadline, JobQueue, JobRun, JobStage, SubmitJournal } from "../../src/index.js"
import type { Job, JobWatcher } from "../../src/index.js"
import { Arbitraries, Fault, TestJobQueue, Worker } from "../../src/testing/index.js"
import { faultsOn, slowOn } from "../fixtures/faultPlans.js"
import { inQueue } from "../fixtures/inQueue.js"
import { model } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"
import { tally } from "../fixtures/tally.js"
import { provideQueue } from "../fixtures/watched.js"

const request: JobQueue.SubmitRequest = { model, payload: { prompt: "a cat" } }

const key = "order-17"

const run = JobRun.run(request, { key })

// claimed 20 seconds after it was submitted
const slowly: Worker.Pool = { pickup: "20 seconds", script: Worker.always(Worker.finish("10 seconds", { sum: 3 })) }

const inJournal = (options: TestJobQueue.Options) =>
<A, E>(
  effect: Effect.Effect<
    A,
    E,
    JobQueue.JobQueue | JobWatcher.JobWatcher | TestJobQueue.TestJobQueue | SubmitJournal.SubmitJournal
  >
): Effect.Effect<A, E> => inQueue(options)(Effect.provide(effect, SubmitJournal.layerMemory))

const known = Effect.flatMap(SubmitJournal.SubmitJournal, (journal) => journal.get(key))

const tagKnown = Effect.map(known, (entry) => Option.getOrUndefined(entry)?._tag)

/** The keys and the states of all jobs, in the order in which they were submitted. */
const jobs = Effect.flatMap(
  TestJobQueue.jobs,
  Effect.forEach((job) => Effect.map(JobQueue.status(job), ({ _tag, info }) => [info["client_key"], _tag] as const))
)

describe("a run with a key that canceled its pending job submits again under the same key when it is restarted", () => {
  const again = [[key, "Canceled"] as const, [key, "Done"] as const]
  const pending = pipe(Deadline.none, Deadline.min(Deadline.pending("5 seconds")), Deadline.cancelPending)
  const stage = JobStage.make("stage", {
    model,
    payload: Schema.Struct({ prompt: Schema.String }),
    outputs: Schema.Struct({ sum: Schema.Int })
  })({ prompt: "a cat" }, { key })

  const stops: ReadonlyArray<
    readonly [how: string, stop: Effect.Effect<unknown, unknown, JobQueue.JobQueue | JobWatcher.JobWatcher>]
  > = [
    ["an interruption", Effect.flatMap(Effect.fork(run), (fiber) => Effect.delay(Fiber.interrupt(fiber), "5 seconds"))],
    ["a timeout", Effect.timeoutOption(run, "5 seconds")],
    ["a deadline that cancels", Effect.flip(JobRun.run(request, { key, deadline: pending }))],
    [
      "a deadline that cancels, in a run that leaves its job",
      Effect.flip(JobRun.run(request, { key, deadline: pending, onInterrupt: "leave" }))
    ],
    ["a watch that failed", Effect.flip(JobRun.run(request, { key, deadline: Deadline.total("5 seconds") }))],
    ["a stage that is interrupted", Effect.timeoutOption(stage, "5 seconds")],
    ["a scope that is closed", Effect.scoped(JobRun.scoped(request, { key }))],
    ["Effect.raceAll", Effect.raceAll([run, Effect.delay(Effect.succeed({}), "5 seconds")])]
  ]
  for (const [how, stop] of stops) {
    it.effect(`after ${how}`, () =>
      Effect.gen(function*() {
        yield* stop
        assertNone(yield* known)
        assert.deepStrictEqual(yield* run, { sum: 3 })
        assert.deepStrictEqual(yield* jobs, again)
        // later runs find the completed job
        assert.deepStrictEqual(yield* stage, { sum: 3 })
        yield* TestJobQueue.expectJobs(2)
      }).pipe(inJournal({ workers: slowly })))
  }

  it.effect("also for the second job, submitted after the first had exhausted its retries", () =>
    Effect.gen(function*() {
      const resubmitted = JobRun.run(request, { key, resubmit: Schedule.recurs(1) })
      const fiber = yield* Effect.fork(resubmitted)
      yield* Effect.repeat(TestJobQueue.jobs, {
        until: (jobs) => jobs.length === 2,
        schedule: Schedule.spaced("1 second")
      })
      yield* Fiber.interrupt(fiber)
      assert.deepStrictEqual(yield* resubmitted, { sum: 3 })
      assert.deepStrictEqual(yield* jobs, [[key, "Failed"], [`${key}/2`, "Canceled"], [`${key}/2`, "Done"]])
    }).pipe(inJournal({
      workers: {
        pickup: "20 seconds",
        claimTimeout: "1 second",
        script: ({ nth }) => nth === 1 ? [Worker.stopResponding] : [Worker.finish("1 second", { sum: 3 })]
      }
    })))

  it.effect("and watches the same job again if it was running", () =>
    Effect.gen(function*() {
      yield* Effect.timeoutOption(run, "25 seconds")
      assert.strictEqual(yield* tagKnown, "Submitted")
      assert.deepStrictEqual(yield* run, { sum: 3 })
      yield* TestJobQueue.expectJobs(1)
    }).pipe(inJournal({ workers: slowly })))
})

describe("a job that another client has canceled", () => {
  const canceledWhileRun = Effect.gen(function*() {
    const fiber = yield* Effect.fork(run)
    yield* Effect.sleep("5 seconds")
    const [job] = yield* TestJobQueue.jobs
    yield* JobQueue.cancel(job!)
    assert.strictEqual((yield* Effect.flip(Fiber.join(fiber)))._tag, "JobCanceled")
    return job
  })

  it.effect("is reported as canceled by every later run, and nothing is submitted", () =>
    Effect.gen(function*() {
      const job = yield* canceledWhileRun
      for (const again of [run, Effect.scoped(Effect.zipRight(JobRun.scoped(request, { key }), run)), run]) {
        const error = yield* Effect.flip(again)
        assert(error._tag === "JobCanceled")
        assert.deepStrictEqual(error.job, job)
      }
      assert.strictEqual(yield* tagKnown, "Submitted")
      yield* TestJobQueue.expectJobs(1)
    }).pipe(inJournal({ workers: slowly })))

  it.effect("is reported as canceled without a journal, too", () => canceledWhileRun.pipe(inQueue({ workers: slowly })))

  it.effect("is submitted again once its key is removed", () =>
    Effect.gen(function*() {
      const job = yield* JobRun.submit(request, { key })
      yield* JobQueue.cancel(job)
      yield* Effect.flatMap(SubmitJournal.SubmitJournal, ({ remove }) => remove(key))
      assert.deepStrictEqual(yield* run, { sum: 3 })
    }).pipe(inJournal({ workers: slowly })))
})

describe("a cancel without a confirmed result", () => {
  const stopped = Effect.timeoutOption(run, "5 seconds")

  it.effect("is stored before it is sent; a job that is still pending is used", () =>
    Effect.gen(function*() {
      yield* stopped
      assert.strictEqual(yield* tagKnown, "Canceling")
      assert.deepStrictEqual(yield* run, { sum: 3 })
      yield* TestJobQueue.expectJobs(1)
    }).pipe(inJournal({ workers: slowly, faults: [Fault.unavailable().pipe(Fault.on("cancel"))] })))

  for (
    const [how, start] of [
      ["run", run],
      ["submitted", JobRun.submit(request, { key })],
      ["owned by a scope", Effect.scoped(Effect.zipRight(JobRun.scoped(request, { key }), Effect.sleep("25 seconds")))]
    ] as const
  ) {
    it.effect(`a job that is found canceled is submitted again, if it is ${how}`, () =>
      Effect.gen(function*() {
        yield* stopped
        assert.strictEqual(yield* tagKnown, "Canceling")
        assert.deepStrictEqual(yield* jobs, [[key, "Canceled"]])
        yield* start
        assert.deepStrictEqual((yield* jobs).map(([, state]) => state === "Canceled"), [true, false])
      }).pipe(inJournal({ workers: slowly, faults: [Fault.answerLost(Fault.noResponse).pipe(Fault.on("cancel"))] })))
  }

  it.effect("is sent again; if the job was canceled before, it was by this cancel", () =>
    Effect.gen(function*() {
      yield* stopped
      assertNone(yield* known)
    }).pipe(inJournal({
      workers: slowly,
      faults: [Fault.answerLost(Fault.unavailable({ status: 502 })).pipe(Fault.on("cancel"), Fault.nth(1))]
    })))

  it.effect("is sent again; if the job was claimed meanwhile, the next run continues with it", () =>
    Effect.gen(function*() {
      yield* Effect.timeoutOption(run, "19950 millis")
      assert.strictEqual(yield* tagKnown, "Submitted")
      assert.deepStrictEqual(yield* run, { sum: 3 })
      yield* TestJobQueue.expectJobs(1)
    }).pipe(inJournal({ workers: slowly, faults: [Fault.unavailable().pipe(Fault.on("cancel"), Fault.nth(1))] })))

  it.effect("nothing is submitted while it is not known whether the job is canceled", () =>
    Effect.gen(function*() {
      yield* stopped
      const error = yield* Effect.flip(run)
      assert(error._tag === "AccessDenied" && error.operation === "status")
      yield* TestJobQueue.expectJobs(1)
      yield* Effect.sleep("3 seconds")
      // a run that is stopped during its status request cancels the job
      const fiber = yield* Effect.fork(run)
      yield* Effect.sleep("1 second")
      yield* Fiber.interrupt(fiber)
      yield* Effect.sleep("3 seconds")
      assert.deepStrictEqual(yield* jobs, [[key, "Canceled"]])
    }).pipe(inJournal({
      workers: slowly,
      faults: [
        Fault.unavailable().pipe(Fault.on("cancel"), Fault.during(0, "12 seconds")),
        Fault.unauthorized.pipe(Fault.on("status"), Fault.during("8 seconds", "12 seconds")),
        Fault.noResponse.pipe(Fault.on("status"), Fault.during("12 seconds", "15 seconds"))
      ]
    })))

  it.effect("the key of a canceled job may be used for another request", () =>
    Effect.gen(function*() {
      yield* stopped
      yield* JobRun.run({ ...request, payload: { prompt: "a dog" } }, { key })
      yield* TestJobQueue.expectJobs(2)
    }).pipe(inJournal({ workers: slowly, faults: [Fault.answerLost(Fault.noResponse).pipe(Fault.on("cancel"))] })))
})

describe("several runs of one program with one key", () => {
  it.effect("share a job; if one cancels it, the other submits again", () =>
    Effect.gen(function*() {
      const first = yield* Effect.fork(run)
      const second = yield* Effect.fork(run)
      yield* Effect.sleep("5 seconds")
      yield* TestJobQueue.expectJobs(1)
      yield* Fiber.interrupt(first)
      assert.deepStrictEqual(yield* Fiber.join(second), { sum: 3 })
      assert.deepStrictEqual(yield* jobs, [[key, "Canceled"], [key, "Done"]])
    }).pipe(inJournal({ workers: slowly })))
})

describe("a run that leaves its job", () => {
  it.effect("and is stopped during the submit waits for the response, and can resume the job", () =>
    Effect.gen(function*() {
      const left = JobRun.run(request, { key, onInterrupt: "leave" })
      yield* Effect.timeoutOption(left, "1 second")
      assert.strictEqual(yield* tagKnown, "Submitted")
      assert.deepStrictEqual(yield* left, { sum: 3 })
      yield* TestJobQueue.expectJobs(1)
    }).pipe(inJournal({ workers: slowly, faults: [Fault.delay("3 seconds").pipe(Fault.on("submit"))] })))
})

describe("a run that is stopped or killed at any time", () => {
  /** The services of a program, which it can't reach any more once it is killed. */
  const killable = Effect.gen(function*() {
    let isDead = false
    const gate = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> =>
      Effect.suspend(() => isDead ? Effect.interrupt : effect)
    const queue = yield* JobQueue.JobQueue
    const disk = yield* SubmitJournal.SubmitJournal
    const journal = yield* SubmitJournal.make({
      get: (key) => gate(disk.get(key)),
      set: (key, entry) => gate(disk.set(key, entry)),
      remove: (key) => gate(disk.remove(key))
    })
    return {
      kill: Effect.sync(() => {
        isDead = true
      }),
      provide: <A, E>(
        effect: Effect.Effect<A, E, JobQueue.JobQueue | JobWatcher.JobWatcher>
      ): Effect.Effect<A, E> =>
        effect.pipe(
          provideQueue({
            ...queue,
            status: (job) => gate(queue.status(job)),
            submit: (request) => gate(queue.submit(request)),
            cancel: (job) => gate(queue.cancel(job))
          }),
          Effect.provideService(SubmitJournal.SubmitJournal, journal)
        )
    }
  })

  /** When each job was alive, by its history. */
  const lives = Effect.gen(function*() {
    const queue = yield* TestJobQueue.TestJobQueue
    return yield* Effect.forEach(yield* queue.jobs, (job) =>
      Effect.map(queue.transitions(job), (transitions) => {
        const last = transitions.at(-1)!
        return {
          job,
          from: transitions[0]!.observedAt.epochMillis,
          to: last.cursor.phase === "Ended" ? last.observedAt.epochMillis : Infinity
        }
      }))
  })

  it("law: at most one job is alive, and the last run ends with its outcome, or reports that it is uncertain", async () => {
    const { met, note } = tally()
    const stop = FastCheck.record({
      after: FastCheck.oneof(FastCheck.nat({ max: 4_000 }), FastCheck.nat({ max: 40_000 })),
      isKilled: FastCheck.boolean()
    })
    await FastCheck.assert(
      FastCheck.asyncProperty(
        // jobs that are pending for some time
        FastCheck.tuple(Arbitraries.pool, FastCheck.nat({ max: 30_000 })).map(([pool, pickup]) => ({
          ...pool,
          pickup
        })),
        slowOn(["submit", "cancel", "status"], 3_000),
        faultsOn("cancel"),
        FastCheck.array(stop, { minLength: 1, maxLength: 3 }),
        FastCheck.constantFrom("cancel" as const, "leave" as const),
        (workers, slow, faults, stops, onInterrupt) =>
          Effect.gen(function*() {
            const run = JobRun.run(request, { key, onInterrupt, retry: Schedule.recurs(100) })
            let isUncertain = false
            for (const { after, isKilled } of stops) {
              const { kill, provide } = yield* killable
              // a program that continues keeps its watcher, and the state of the job in it
              const fiber = yield* Effect.fork(isKilled ? provide(run) : run)
              yield* Effect.sleep(after)
              if (isKilled) yield* kill
              yield* Fiber.interrupt(fiber)
              isUncertain ||= (yield* tagKnown) === "Sent"
              note(`${isKilled ? "killed" : "stopped"} at ${(yield* tagKnown) ?? "nothing"}`)
            }
            const exit = yield* Effect.exit(run)
            const all = yield* lives
            for (const [i, { from, job }] of all.entries()) {
              if (i > 0) assert.isAtMost(all[i - 1]!.to, from, `${job.requestId} was submitted while another was alive`)
            }
            const ended: Job.JobRef | undefined = all.at(-1)?.job
            note(Exit.isSuccess(exit) ? "done" : "not done")
            if (Exit.isSuccess(exit)) return
            assert(exit.cause._tag === "Fail", Cause.pretty(exit.cause))
            const { error } = exit.cause
            note(error._tag)
            if (error._tag === "SubmitUncertain") return assert.isTrue(isUncertain)
            assert.include(["JobFailed", "JobRetriesExhausted"], error._tag, error.message)
            assert("job" in error)
            assert.deepStrictEqual(error.job, ended)
          }).pipe(inJournal({ workers, faults: [...slow, ...faults] }), Effect.runPromise)
      ),
      { numRuns: runs(40, 80) }
    )
    met(
      "stopped at nothing",
      "stopped at Submitted",
      "stopped at Canceling",
      "killed at Sent",
      "killed at Submitted",
      "done",
      "SubmitUncertain",
      "JobFailed"
    )
  })
})

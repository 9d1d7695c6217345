import { assert, describe, it } from "@effect/vitest"
import { assertNone, assertSome } from "@effect/vitest/utils"
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Scheduler from "effect/Scheduler"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Supervisor from "effect/Supervisor"
import * as TestClock from "effect/TestClock"
import { Job, JobQueue, JobStream } from "../../src/index.js"
import { Fault, TestJobQueue, Worker } from "../../src/testing/index.js"
import { seeded } from "../../src/testing/internal/seededRandom.js"
import { model } from "../fixtures/job.js"

const submit = (info: Job.JsonObject = {}, options: Partial<JobQueue.SubmitRequest> = {}) =>
  JobQueue.submit({ model, payload: {}, info, ...options })

/** The history of a job, one line per step: `Claimed 1 @ 2000`. */
const historyOf = (job: Job.JobRef) =>
  Effect.map(
    TestJobQueue.transitions(job),
    (transitions) =>
      transitions.flatMap(({ _tag, attempt, evidence, observedAt }) => {
        assert.strictEqual(evidence, "observed")
        return _tag === "Progressed" ? [] : [`${_tag} ${attempt} @ ${DateTime.toEpochMillis(observedAt)}`]
      })
  )

const millis = (time: Option.Option<DateTime.Utc>) => Option.getOrNull(Option.map(time, DateTime.toEpochMillis))

const everySecond = Schedule.spaced("1 second")

const everyMoment = Schedule.spaced("5 millis")

/** Chooses the script of a job by the `name` in its info. */
const byName = (lives: { readonly [name: string]: Worker.Script }): Worker.Script => (task, random) =>
  lives[String(task.info["name"])]?.(task, random) ?? []

const named = (name: string, options: Partial<JobQueue.SubmitRequest> = {}) => submit({ name }, options)

describe("TestJobQueue", () => {
  describe("workers", () => {
    it.effect("claim a job after the pickup delay, and follow their script to the millisecond", () =>
      Effect.gen(function*() {
        const job = yield* submit({ user_id: "u" })
        yield* TestClock.adjust("1999 millis")
        assert.strictEqual((yield* JobQueue.status(job))._tag, "Pending")
        yield* TestClock.adjust("1 millis")
        const claimed = yield* JobQueue.status(job)
        assert.strictEqual(claimed._tag, "Running")
        assert.strictEqual(millis(claimed.claimedAt), 2000)
        yield* TestClock.adjust("9999 millis")
        assert.deepStrictEqual((yield* JobQueue.status(job)).info, { user_id: "u" })
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual((yield* JobQueue.status(job)).info, { user_id: "u", progress: 0.5 })
        yield* TestClock.adjust("9999 millis")
        assert.strictEqual((yield* JobQueue.status(job))._tag, "Running")
        yield* TestClock.adjust("1 millis")
        const done = yield* JobQueue.status(job)
        assert.strictEqual(done._tag, "Done")
        assert.deepStrictEqual(done.outputs, { sum: 3 })
        assert.strictEqual(millis(done.doneAt), 22_000)
        assert.deepStrictEqual(yield* historyOf(job), ["Queued 0 @ 0", "Claimed 1 @ 2000", "Completed 1 @ 22000"])
      }).pipe(
        Effect.provide(TestJobQueue.layer({
          workers: {
            pickup: "2 seconds",
            script: Worker.always(Worker.progress("10 seconds", 0.5), Worker.finish("10 seconds", { sum: 3 }))
          }
        }))
      ))

    it.effect("receive the job, its payload, its current info, and the number of the attempt", () => {
      const tasks: Array<Worker.Task> = []
      return Effect.gen(function*() {
        const job = yield* JobQueue.submit({ model, payload: { prompt: "a cat" }, info: { user_id: "u" } })
        yield* TestClock.adjust("1 hour")
        yield* JobQueue.status(job)
        assert.deepStrictEqual(tasks, [
          { job, nth: 1, attempt: 1, payload: { prompt: "a cat" }, info: { user_id: "u" } },
          { job, nth: 1, attempt: 2, payload: { prompt: "a cat" }, info: { user_id: "u", seen: 1 } }
        ])
      }).pipe(
        Effect.provide(TestJobQueue.layer({
          workers: {
            script: (task) => {
              tasks.push(task)
              return task.attempt === 1 ? [Worker.heartbeat(0, { seen: task.attempt })] : [Worker.finish(0)]
            }
          }
        }))
      )
    })

    it.effect("that stop responding lose the job when the claim expires, counted from the last report", () =>
      Effect.gen(function*() {
        const job = yield* submit()
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* historyOf(job), [
          "Queued 0 @ 0",
          "Claimed 1 @ 1000",
          "Requeued 1 @ 14000",
          "Claimed 2 @ 15000",
          "Completed 2 @ 16000"
        ])
        const done = yield* JobQueue.status(job)
        assertSome(done.retries, 1)
        assert.deepStrictEqual(done.info, { progress: 0.2, attempt: 2 })
        assert.deepStrictEqual([millis(done.createdAt), millis(done.claimedAt), millis(done.doneAt)], [
          0,
          15_000,
          16_000
        ])
      }).pipe(
        Effect.provide(TestJobQueue.layer({
          workers: {
            pickup: "1 second",
            claimTimeout: "10 seconds",
            script: Worker.attempts(
              [Worker.progress("3 seconds", 0.2)],
              [Worker.heartbeat("500 millis", { attempt: 2 }), Worker.finish("500 millis")]
            )
          }
        }))
      ))

    it.effect("have a claim timeout of 90 seconds by default", () =>
      Effect.gen(function*() {
        const job = yield* submit()
        yield* TestClock.adjust("89999 millis")
        assert.strictEqual((yield* JobQueue.status(job))._tag, "Running")
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(yield* historyOf(job), [
          "Queued 0 @ 0",
          "Claimed 1 @ 0",
          "Requeued 1 @ 90000",
          "Claimed 2 @ 90000"
        ])
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: () => [] } }))))

    it.effect("that report at the instant the claim expires are too late; workers that keep working keep the claim", () =>
      Effect.gen(function*() {
        const late = yield* named("late")
        const prompt = yield* named("prompt", { model: "another model" })
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* historyOf(late), [
          "Queued 0 @ 0",
          "Claimed 1 @ 0",
          "Requeued 1 @ 10000",
          "Claimed 2 @ 10000",
          "Completed 2 @ 10000"
        ])
        assert.deepStrictEqual((yield* JobQueue.status(late)).info, { name: "late" })
        assert.deepStrictEqual(yield* historyOf(prompt), ["Queued 0 @ 0", "Claimed 1 @ 0", "Completed 1 @ 60000"])
        assert.deepStrictEqual((yield* JobQueue.status(prompt)).info, { name: "prompt", alive: true })
      }).pipe(
        Effect.provide(TestJobQueue.layer({
          workers: {
            claimTimeout: "10 seconds",
            script: byName({
              late: Worker.attempts([Worker.late(Worker.heartbeat(0, { alive: true }))], [Worker.finish(0)]),
              prompt: Worker.always(Worker.heartbeat("20 seconds", { alive: true }), Worker.finish("40 seconds"))
            })
          }
        }))
      ))

    it.effect("that all stop responding use up four attempts", () =>
      Effect.gen(function*() {
        const job = yield* submit()
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* historyOf(job), [
          "Queued 0 @ 0",
          "Claimed 1 @ 0",
          "Requeued 1 @ 10000",
          "Claimed 2 @ 10000",
          "Requeued 2 @ 21000",
          "Claimed 3 @ 21000",
          "Requeued 3 @ 33000",
          "Claimed 4 @ 33000",
          "RetriesExhausted 4 @ 45000"
        ])
        const failed = yield* JobQueue.status(job)
        assert.strictEqual(failed._tag, "Failed")
        assertSome(failed.retries, 3)
        assertNone(Job.failureReason(failed))
      }).pipe(
        Effect.provide(TestJobQueue.layer({
          workers: {
            claimTimeout: "10 seconds",
            // the last steps apply to all later attempts
            script: Worker.attempts([], [Worker.heartbeat("1 second")], [Worker.heartbeat("2 seconds")])
          }
        }))
      ))

    it.effect("are available in full number to each model", () =>
      Effect.gen(function*() {
        const jobs = [yield* submit(), yield* submit(), yield* submit(), yield* submit(), yield* submit()]
        const other = yield* submit({}, { model: "another model" })
        assert.deepStrictEqual(yield* JobQueue.metrics(model), { running: 2, waiting: 3, total: 5 })
        assert.deepStrictEqual(yield* JobQueue.metrics("another model"), { running: 1, waiting: 0, total: 1 })
        yield* TestClock.adjust("1 hour")
        const claims: Array<string | undefined> = []
        for (const job of jobs) claims.push((yield* historyOf(job))[1])
        assert.deepStrictEqual(claims, [
          "Claimed 1 @ 0",
          "Claimed 1 @ 0",
          "Claimed 1 @ 10000",
          "Claimed 1 @ 10000",
          "Claimed 1 @ 20000"
        ])
        assert.deepStrictEqual(yield* historyOf(other), ["Queued 0 @ 0", "Claimed 1 @ 0", "Completed 1 @ 10000"])
      }).pipe(
        Effect.provide(
          TestJobQueue.layer({ workers: { workers: 2, script: Worker.always(Worker.finish("10 seconds")) } })
        )
      ))

    it.effect("whose count is no number of workers are refused as the queue is created", () =>
      Effect.gen(function*() {
        for (const workers of [-1, 1.5, NaN]) {
          const layer = TestJobQueue.layer({ workers: { workers, script: Worker.always(Worker.finish(0)) } })
          const cause = yield* Effect.flip(Effect.sandbox(Layer.build(layer)))
          assert.include(String(Cause.squash(cause)), `RangeError: the pool of workers has ${workers} workers`)
        }
      }).pipe(Effect.scoped))

    it.effect("with a count of zero claim no job", () =>
      Effect.gen(function*() {
        const job = yield* submit()
        yield* TestClock.adjust("365 days")
        assert.deepStrictEqual(yield* historyOf(job), ["Queued 0 @ 0"])
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { workers: 0, script: Worker.always(Worker.finish(0)) } }))))

    it.effect("that stopped responding are replaced when their claim expires, not before", () =>
      Effect.gen(function*() {
        const dying = yield* named("dying")
        yield* TestClock.adjust("1 second")
        const next = yield* named("next", { priority: 1 })
        yield* TestClock.adjust("8999 millis")
        assert.strictEqual((yield* JobQueue.status(next))._tag, "Pending")
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* historyOf(next), ["Queued 0 @ 1000", "Claimed 1 @ 10000", "Completed 1 @ 15000"])
        assert.deepStrictEqual(yield* historyOf(dying), [
          "Queued 0 @ 0",
          "Claimed 1 @ 0",
          "Requeued 1 @ 10000",
          // the job kept its place, behind the one with higher priority
          "Claimed 2 @ 15000",
          "Completed 2 @ 16000"
        ])
      }).pipe(
        Effect.provide(TestJobQueue.layer({
          workers: {
            claimTimeout: "10 seconds",
            script: byName({
              dying: Worker.attempts([], [Worker.finish("1 second")]),
              next: Worker.always(Worker.finish("5 seconds"))
            })
          }
        }))
      ))

    it.effect("that stop responding after they lost the job are replaced at once, regardless of the current claim", () =>
      Effect.gen(function*() {
        const lost = yield* named("lost")
        yield* TestClock.adjust("16 seconds")
        const next = yield* named("next")
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* historyOf(next), ["Queued 0 @ 16000", "Claimed 1 @ 16000", "Completed 1 @ 17000"])
        assert.deepStrictEqual(yield* historyOf(lost), [
          "Queued 0 @ 0",
          "Claimed 1 @ 0",
          "Requeued 1 @ 10000",
          "Claimed 2 @ 10000",
          "Completed 2 @ 46000"
        ])
      }).pipe(
        Effect.provide(TestJobQueue.layer({
          workers: {
            workers: 2,
            claimTimeout: "10 seconds",
            script: byName({
              // the first worker reports at 15 seconds, too late, and stops responding
              lost: Worker.attempts(
                [Worker.late(Worker.heartbeat("5 seconds"))],
                [...Array.from({ length: 4 }, () => Worker.heartbeat("9 seconds")), Worker.finish(0)]
              ),
              next: Worker.always(Worker.finish("1 second"))
            })
          }
        }))
      ))

    const reports: ReadonlyArray<readonly [string, Worker.Step]> = [
      ["that it is done", Worker.late(Worker.finish("5 seconds", { by: 1 }))],
      ["that it failed", Worker.late(Worker.fail("5 seconds", "by 1"))],
      ["a heartbeat", Worker.late(Worker.heartbeat("5 seconds", { by: 1 }))]
    ]
    for (const [what, report] of reports) {
      it.effect(`that lost the job change nothing with a late report: ${what}`, () =>
        Effect.gen(function*() {
          const job = yield* submit()
          yield* TestClock.adjust("16 seconds")
          const running = yield* JobQueue.status(job)
          assert.strictEqual(running._tag, "Running")
          assert.deepStrictEqual(running.info, { by: 2 })
          assert.deepStrictEqual(running.outputs, {})
          assert.strictEqual(millis(running.claimedAt), 10_000)
          yield* TestClock.adjust("1 hour")
          // a heartbeat of the first worker does not extend the claim of the second one, which expires at 23 seconds
          assert.deepStrictEqual(yield* historyOf(job), [
            "Queued 0 @ 0",
            "Claimed 1 @ 0",
            "Requeued 1 @ 10000",
            "Claimed 2 @ 10000",
            "Requeued 2 @ 23000",
            "Claimed 3 @ 23000",
            "Completed 3 @ 24000"
          ])
          const done = yield* JobQueue.status(job)
          assert.deepStrictEqual(done.outputs, { by: 3 })
          assert.deepStrictEqual(done.info, { by: 2 })
        }).pipe(
          Effect.provide(TestJobQueue.layer({
            workers: {
              workers: 3,
              claimTimeout: "10 seconds",
              script: Worker.attempts(
                [report],
                [Worker.heartbeat("3 seconds", { by: 2 })],
                [Worker.finish("1 second", { by: 3 })]
              )
            }
          }))
        ))
    }

    it.effect("have the same history after one long sleep as after many short ones", () =>
      Effect.gen(function*() {
        const history = (steps: number) =>
          Effect.gen(function*() {
            const job = yield* submit()
            for (let i = 0; i < steps; i++) {
              yield* TestClock.adjust(60_000 / steps)
              yield* JobQueue.status(job)
            }
            return (yield* historyOf(job)).map((line) => line.split(" @ ")[0])
          }).pipe(
            Effect.provide(TestJobQueue.layer({
              workers: {
                claimTimeout: "7 seconds",
                pickup: "300 millis",
                script: Worker.attempts([Worker.heartbeat("5 seconds")], [], [
                  Worker.progress("4 seconds", 0.5),
                  Worker.finish("4 seconds")
                ])
              }
            }))
          )
        const once = yield* history(1)
        assert.deepStrictEqual(once, [
          "Queued 0",
          "Claimed 1",
          "Requeued 1",
          "Claimed 2",
          "Requeued 2",
          "Claimed 3",
          "Completed 3"
        ])
        assert.deepStrictEqual(yield* history(30), once)
      }))
  })

  describe("manual control", () => {
    it.effect("a test can be the worker", () =>
      Effect.gen(function*() {
        const { claim, finish, heartbeat } = TestJobQueue
        const first = yield* JobQueue.submit({ model, payload: { n: 1 }, info: { user_id: "u" } })
        const second = yield* JobQueue.submit({ model, payload: { n: 2 }, priority: 1 })
        yield* TestClock.adjust("5 seconds")
        assertSome(
          yield* claim(model),
          { job: second, nth: 2, attempt: 1, payload: { n: 2 }, info: {} }
        )
        assertSome(
          yield* claim(model),
          { job: first, nth: 1, attempt: 1, payload: { n: 1 }, info: { user_id: "u" } }
        )
        assertNone(yield* claim(model))
        assertNone(yield* claim("another model"))
        yield* TestClock.adjust("1 second")
        assert.isTrue(yield* heartbeat(first, { progress: 0.5 }))
        assert.isTrue(yield* heartbeat(first))
        assert.deepStrictEqual((yield* JobQueue.status(first)).info, { user_id: "u", progress: 0.5 })
        assert.isTrue(yield* finish(first, { answer: 42 }))
        const done = yield* JobQueue.status(first)
        assert.strictEqual(done._tag, "Done")
        assert.deepStrictEqual(done.outputs, { answer: 42 })
        assert.isTrue(yield* finish(second))
        assert.deepStrictEqual((yield* JobQueue.status(second)).outputs, {})
        assert.deepStrictEqual(yield* historyOf(first), ["Queued 0 @ 0", "Claimed 1 @ 5000", "Completed 1 @ 6000"])
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect("a job can be failed, with a reason", () =>
      Effect.gen(function*() {
        const { claim, fail } = TestJobQueue
        const job = yield* submit({ user_id: "u" })
        yield* claim(model)
        assert.isTrue(yield* fail(job, "CUDA out of memory"))
        const failed = yield* JobQueue.status(job)
        assert.strictEqual(failed._tag, "Failed")
        assert.deepStrictEqual(failed.info, { user_id: "u", error: "CUDA out of memory" })
        assert.deepStrictEqual(yield* historyOf(job), ["Queued 0 @ 0", "Claimed 1 @ 0", "FailedByModel 1 @ 0"])
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect("a claim lasts for its timeout since the last heartbeat; the timeout defaults to 90 seconds", () =>
      Effect.gen(function*() {
        const { claim, heartbeat } = TestJobQueue
        const job = yield* submit()
        yield* claim(model, "10 seconds")
        yield* TestClock.adjust("9 seconds")
        assert.isTrue(yield* heartbeat(job))
        yield* TestClock.adjust("10 seconds")
        assert.isFalse(yield* heartbeat(job, { late: true }))
        assertSome(
          Option.map(yield* claim(model), ({ attempt, info }) => ({ attempt, info })),
          { attempt: 2, info: {} }
        )
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* historyOf(job), [
          "Queued 0 @ 0",
          "Claimed 1 @ 0",
          "Requeued 1 @ 19000",
          "Claimed 2 @ 19000",
          "Requeued 2 @ 109000"
        ])
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect("reports without a claim return false, and change nothing", () =>
      Effect.gen(function*() {
        const { claim, fail, finish, heartbeat } = TestJobQueue
        const reportAll = (job: Job.JobRef) =>
          Effect.all([heartbeat(job, { x: 1 }), finish(job, { x: 1 }), fail(job, "x")])
        const job = yield* submit()
        const rejected = [false, false, false]
        assert.deepStrictEqual(yield* reportAll(job), rejected, "not claimed")
        yield* claim(model)
        assert.deepStrictEqual(yield* reportAll(Job.ref("another model", job.requestId)), rejected, "another model's")
        assert.deepStrictEqual(yield* reportAll(Job.ref(model, "unknown")), rejected, "unknown")
        assert.strictEqual((yield* JobQueue.status(job))._tag, "Running")
        assert.isTrue(yield* finish(job, { answer: 42 }))
        assert.deepStrictEqual(yield* reportAll(job), rejected, "done")
        const done = yield* JobQueue.status(job)
        assert.deepStrictEqual([done._tag, done.info, done.outputs], ["Done", {}, { answer: 42 }])
        const canceled = yield* submit()
        yield* JobQueue.cancel(canceled)
        assert.deepStrictEqual(yield* reportAll(canceled), rejected, "canceled")
        assertNone(yield* claim(model))
        assert.deepStrictEqual(yield* historyOf(Job.ref(model, "unknown")), [])
        assert.deepStrictEqual(yield* historyOf(Job.ref("another model", job.requestId)), [])
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect("a job whose manual claim expires is claimed by the workers of the pool", () =>
      Effect.gen(function*() {
        const { claim } = TestJobQueue
        const job = yield* submit()
        yield* TestClock.adjust("1 second")
        assert.isTrue(Option.isSome(yield* claim(model, "5 seconds")))
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* historyOf(job), [
          "Queued 0 @ 0",
          "Claimed 1 @ 1000",
          "Requeued 1 @ 6000",
          "Claimed 2 @ 8000",
          "Completed 2 @ 9000"
        ])
      }).pipe(
        Effect.provide(TestJobQueue.layer({
          workers: { pickup: "2 seconds", script: Worker.always(Worker.finish("1 second")) }
        }))
      ))
  })

  describe("the log of calls", () => {
    it.effect("has the end of every call, wherever it was interrupted", () =>
      Effect.gen(function*() {
        const job = yield* submit()
        const random = seeded("yields")
        const yielding: Scheduler.Scheduler = {
          // after any operation, one in ten: to yield takes a few operations itself
          shouldYield: (fiber) => fiber.currentOpCount > 3 && random() < 0.1 ? 0 : false,
          scheduleTask: (task, priority) => Scheduler.defaultScheduler.scheduleTask(task, priority)
        }
        for (let i = 0; i < 300; i++) {
          const call = yield* Effect.fork(JobQueue.status(job)).pipe(Effect.withScheduler(yielding))
          yield* Effect.repeatN(Effect.yieldNow(), i % 4)
          yield* Fiber.interrupt(call)
        }
        const ends = (yield* TestJobQueue.calls).map(({ end }) => end?.outcome)
        assert.sameMembers(Array.from(new Set(ends)), ["answered", "interrupted"])
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect("has every call, with its number and its time, whether it succeeded or not", () =>
      Effect.gen(function*() {
        const { calls, counts } = TestJobQueue
        assert.deepStrictEqual(yield* calls, [])
        const job = yield* submit()
        const { requestId } = job
        yield* TestClock.adjust("1 second")
        yield* JobQueue.status(job)
        yield* TestClock.adjust("1500 millis")
        yield* JobQueue.status(job)
        yield* Effect.flip(JobQueue.status(Job.ref("another model", "unknown")))
        yield* JobQueue.cancel(job)
        const before = yield* calls
        yield* TestClock.adjust("1 minute")
        yield* JobQueue.clear(model)
        yield* JobQueue.metrics("another model")
        yield* submit()
        const submits = { operation: "submit" as const, model, requestId: undefined }
        const at = (at: number, outcome: NonNullable<TestJobQueue.Call["end"]>["outcome"] = "answered") => ({
          at,
          end: { at, outcome }
        })
        assert.deepStrictEqual(yield* calls, [
          { ...submits, nth: 1, ...at(0) },
          { operation: "status", nth: 1, ...at(1000), model, requestId },
          { operation: "status", nth: 2, ...at(2500), model, requestId },
          { operation: "status", nth: 3, ...at(2500, "JobNotFound"), model: "another model", requestId: "unknown" },
          { operation: "cancel", nth: 1, ...at(2500), model, requestId },
          { operation: "clear", nth: 1, ...at(62_500), model, requestId: undefined },
          { operation: "metrics", nth: 1, ...at(62_500), model: "another model", requestId: undefined },
          { ...submits, nth: 2, ...at(62_500) }
        ])
        assert.deepStrictEqual(yield* counts, { submit: 2, status: 3, cancel: 1, clear: 1, metrics: 1 })
        // a list that was returned earlier does not change
        assert.strictEqual(before.length, 5)
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect("omits calls that were rejected by validation", () =>
      Effect.gen(function*() {
        const { calls } = TestJobQueue
        yield* Effect.flip(JobQueue.submit({ model: " ", payload: {} }))
        yield* Effect.flip(JobQueue.status(Job.ref(model, "")))
        yield* Effect.flip(JobQueue.clear(""))
        yield* Effect.flip(JobQueue.submit({ model, payload: { big: 1n } }))
        assert.deepStrictEqual(yield* calls, [])
        yield* submit()
        assert.deepStrictEqual((yield* calls).map(({ nth }) => nth), [1])
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect("shows the polls of a watch, and that they stop", () =>
      Effect.gen(function*() {
        const { calls } = TestJobQueue
        const job = yield* submit()
        const watch = yield* Effect.fork(JobStream.result(job))
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* Fiber.join(watch), { answer: 42 })
        const polls = (yield* calls).filter(({ operation }) => operation === "status")
        assert.deepStrictEqual(polls.map(({ nth }) => nth), polls.map((_, i) => i + 1))
        assert.strictEqual(polls[0]?.at, 0)
        assert.isAtLeast(polls.at(-1)!.at, 30_000)
        // the poll before it came before the end
        assert.isBelow(polls.at(-2)!.at, 30_000)
        for (const { requestId } of polls) assert.strictEqual(requestId, job.requestId)
      }).pipe(
        Effect.provide(
          TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("30 seconds", { answer: 42 })) } })
        )
      ))
  })

  describe("faults", () => {
    it.effect("fail the matching calls, which then have no effect on the queue", () =>
      Effect.gen(function*() {
        const { calls } = TestJobQueue
        const error = yield* Effect.flip(submit())
        assert.deepInclude(error, { _tag: "Unavailable", operation: "submit", httpStatus: 503 })
        assert.deepStrictEqual(yield* JobQueue.metrics(model), { running: 0, waiting: 0, total: 0 })
        const job = yield* submit()
        assert.strictEqual((yield* JobQueue.status(job))._tag, "Pending")
        assert.strictEqual((yield* Effect.flip(JobQueue.status(job)))._tag, "Unavailable")
        assert.strictEqual((yield* Effect.flip(JobQueue.cancel(job)))._tag, "Unavailable")
        assert.strictEqual((yield* JobQueue.status(job))._tag, "Pending")
        assert.strictEqual((yield* Effect.flip(JobQueue.clear(model)))._tag, "Unavailable")
        assert.strictEqual((yield* JobQueue.metrics(model)).waiting, 1)
        assert.deepStrictEqual(yield* JobQueue.cancel(job), JobQueue.CancelResult.Canceled())
        assert.deepStrictEqual(
          (yield* calls).map(({ nth, operation }) => `${operation} ${nth}`),
          [
            "submit 1",
            "metrics 1",
            "submit 2",
            "status 1",
            "status 2",
            "cancel 1",
            "status 3",
            "clear 1",
            "metrics 2",
            "cancel 2"
          ]
        )
      }).pipe(
        Effect.provide(TestJobQueue.layer({
          faults: [
            Fault.unavailable().pipe(Fault.where(({ nth, operation }) =>
              ["submit 1", "status 2", "cancel 1", "clear 1"].includes(`${operation} ${nth}`)
            ))
          ]
        }))
      ))

    it.effect("without a response make the call wait until the caller interrupts it", () =>
      Effect.gen(function*() {
        const { calls } = TestJobQueue
        const job = yield* submit()
        const call = yield* Effect.fork(Effect.timeoutOption(JobQueue.status(job), "10 seconds"))
        yield* TestClock.adjust("9999 millis")
        assertNone(yield* Fiber.poll(call))
        assert.isUndefined((yield* calls)[1]?.end)
        yield* TestClock.adjust("1 millis")
        assertNone(yield* Fiber.join(call))
        assert.deepStrictEqual((yield* calls)[1]?.end, { at: 10_000, outcome: "interrupted" })
        // the queue itself keeps working
        assert.strictEqual((yield* JobQueue.status(job))._tag, "Pending")
      }).pipe(
        Effect.provide(TestJobQueue.layer({ faults: [Fault.noResponse.pipe(Fault.on("status"), Fault.nth(1))] }))
      ))

    it.effect("without a response make the call fail after the request timeout", () =>
      Effect.gen(function*() {
        const { calls } = TestJobQueue
        const job = yield* submit()
        const call = yield* Effect.fork(Effect.flip(JobQueue.status(job)))
        yield* TestClock.adjust("6999 millis")
        assertNone(yield* Fiber.poll(call))
        yield* TestClock.adjust("1 millis")
        assert.include((yield* Fiber.join(call)).message, "no whole answer within 7s")
        assert.deepStrictEqual((yield* calls)[1]?.end, { at: 7_000, outcome: "ResponseTimeout" })
      }).pipe(
        Effect.provide(
          TestJobQueue.layer({ faults: [Fault.noResponse.pipe(Fault.on("status"))], requestTimeout: "7 seconds" })
        )
      ))

    it.effect("with a delay make the call wait, and its response shows the state after the delay", () =>
      Effect.gen(function*() {
        const { calls } = TestJobQueue
        const job = yield* submit()
        const call = yield* Effect.fork(JobQueue.status(job))
        yield* TestClock.adjust("3 seconds")
        assert.strictEqual((yield* Fiber.join(call))._tag, "Done")
        assert.deepStrictEqual((yield* calls).map(({ at, end }) => [at, end]), [
          [0, { at: 0, outcome: "answered" }],
          [0, { at: 3_000, outcome: "answered" }]
        ])
      }).pipe(
        Effect.provide(TestJobQueue.layer({
          faults: [Fault.delay("3 seconds").pipe(Fault.on("status"))],
          workers: { script: Worker.always(Worker.finish("2 seconds")) }
        }))
      ))

    it.effect("that are transient do not end a watch", () =>
      Effect.gen(function*() {
        const job = yield* submit()
        const watch = yield* Effect.fork(Stream.runCollect(JobStream.transitions(job)))
        yield* TestClock.adjust("10 minutes")
        const transitions = Array.from(yield* Fiber.join(watch), ({ _tag }) => _tag)
        assert.deepStrictEqual(transitions, ["Queued", "Claimed", "Completed"])
      }).pipe(
        Effect.provide(TestJobQueue.layer({
          faults: [Fault.unavailable().pipe(Fault.on("status"), Fault.where(({ nth }) => nth % 3 !== 0))],
          workers: { script: Worker.always(Worker.finish("1 minute")) }
        }))
      ))
  })

  describe("seeds", () => {
    const encode = Schema.encodeSync(Schema.parseJson(Job.JobStatus))

    /** A log of a queue under load, as text. */
    const record = (options: TestJobQueue.Options) =>
      Effect.gen(function*() {
        const { calls, transitions } = TestJobQueue
        const jobs: Array<Job.JobRef> = []
        for (let i = 0; i < 5; i++) {
          jobs.push(yield* submit({ name: `job ${i}` }, { priority: i % 2, model: i === 3 ? "another model" : model }))
          yield* TestClock.adjust(`${i} seconds`)
          yield* JobQueue.status(jobs[i]!)
        }
        yield* JobQueue.cancel(jobs[4]!)
        const watches = yield* Effect.forEach(
          jobs,
          (job) => Effect.fork(Effect.ignore(Stream.runDrain(JobStream.statuses(job, { cadence: everySecond }))))
        )
        yield* TestClock.adjust("1 minute")
        yield* Fiber.joinAll(watches)
        const lines = [...(yield* calls).map((call) => JSON.stringify(call))]
        const cursors = new Set<string>()
        for (const job of jobs) {
          for (const transition of yield* transitions(job)) {
            cursors.add(transition.cursor.job)
            lines.push(JSON.stringify(transition))
          }
          lines.push(encode(yield* JobQueue.status(job)))
        }
        // for the next recording
        yield* TestClock.setTime(0)
        // every identifier of a job
        return { ids: [...jobs.map(({ requestId }) => requestId), ...cursors], text: lines.join("\n") }
      }).pipe(
        Effect.provide(TestJobQueue.layer({
          workers: {
            workers: 2,
            pickup: "250 millis",
            claimTimeout: "3 seconds",
            script: ({ attempt, info }) =>
              info["name"] === "job 1" && attempt === 1
                ? []
                : [Worker.progress("1 second", 0.5), Worker.finish("2 seconds", { attempt })]
          },
          ...options
        }))
      )

    it.effect("that are equal produce the same ids and the same history, byte for byte", () =>
      Effect.gen(function*() {
        for (const seed of ["a seed", 42, undefined]) {
          const first = yield* record({ seed })
          const second = yield* record({ seed })
          assert.strictEqual(second.text, first.text)
          assert.deepStrictEqual(second.ids, first.ids)
          assert.strictEqual(new Set(first.ids).size, 10)
          assert.isAbove(first.text.split("\n").length, 30)
        }
      }))

    it.effect("that differ produce different ids, and otherwise the same history", () =>
      Effect.gen(function*() {
        const first = yield* record({ seed: "a seed" })
        for (const seed of ["another seed", 42, undefined]) {
          const other = yield* record({ seed })
          assert.deepStrictEqual(other.ids.filter((id) => first.ids.includes(id)), [])
          const renamed = other.ids.reduce((text, id, i) => text.replaceAll(id, first.ids[i]!), other.text)
          assert.strictEqual(renamed, first.text)
        }
      }))
  })

  describe("layers", () => {
    it.effect("share no state, even if they are equal", () =>
      Effect.gen(function*() {
        const layer = TestJobQueue.layer({ seed: 1 })
        const first = yield* Layer.build(Layer.fresh(layer))
        const second = yield* Layer.build(Layer.fresh(layer))
        const job = yield* Effect.provide(submit(), first)
        assert.strictEqual((yield* Effect.flip(Effect.provide(JobQueue.status(job), second)))._tag, "JobNotFound")
        assert.strictEqual((yield* Effect.provide(JobQueue.metrics(model), second)).total, 0)
        assertNone(yield* Effect.provide(TestJobQueue.claim(model), second))
        assert.strictEqual((yield* Effect.provide(JobQueue.metrics(model), first)).waiting, 1)
        assert.deepStrictEqual(
          (yield* Effect.provide(TestJobQueue.calls, second)).map(({ operation }) => operation),
          ["status", "metrics"]
        )
        // the same seed at the same time: the same id, but of another queue
        assert.deepStrictEqual(yield* Effect.provide(submit(), second), job)
      }).pipe(Effect.scoped))

    it.effect("provided to two programs are two queues", () =>
      Effect.gen(function*() {
        const layer = TestJobQueue.layer()
        yield* Effect.provide(submit(), layer)
        assert.strictEqual((yield* Effect.provide(JobQueue.metrics(model), layer)).total, 0)
      }))
  })

  describe("time", () => {
    it.live("may be the system time", () =>
      Effect.gen(function*() {
        const before = yield* DateTime.now
        const job = yield* submit()
        const transitions = yield* Stream.runCollect(JobStream.transitions(job, { cadence: everyMoment }))
        const after = yield* DateTime.now
        assert.strictEqual(Array.from(transitions).at(-1)?._tag, "Completed")
        const { transitions: truth } = TestJobQueue
        const times = (yield* truth(job)).filter(({ _tag }) => _tag !== "Progressed").map(({ observedAt }) =>
          DateTime.toEpochMillis(observedAt)
        )
        assert.strictEqual(times.length, 3)
        assert.isAtLeast(times[0]!, before.epochMillis)
        assert.strictEqual(times[2]! - times[0]!, 30)
        assert.isAtMost(times[2]!, after.epochMillis)
      }).pipe(
        Effect.provide(TestJobQueue.layer({
          workers: { pickup: "10 millis", script: Worker.always(Worker.progress(0, 0.5), Worker.finish("20 millis")) }
        }))
      ))

    it.effect("needs no fiber, timer or finalizer of the queue", () => {
      let scripts = 0
      return Effect.gen(function*() {
        const supervisor = yield* Supervisor.track
        const scope = yield* Scope.make()
        yield* Effect.gen(function*() {
          const queue = yield* Scope.extend(
            Layer.build(TestJobQueue.layer({
              workers: {
                workers: 2,
                claimTimeout: "10 seconds",
                pickup: "1 second",
                script: () => {
                  scripts++
                  return [Worker.progress("5 seconds", 0.5)]
                }
              }
            })),
            scope
          )
          yield* Effect.gen(function*() {
            const { claim } = TestJobQueue
            const job = yield* submit()
            yield* submit()
            yield* submit()
            yield* JobQueue.status(job)
            yield* JobQueue.cancel(job)
            yield* claim("another model")
            yield* JobQueue.clear("another model")
            yield* JobQueue.metrics(model)
          }).pipe(Effect.provide(queue))
        }).pipe(Effect.supervised(supervisor))
        assert.lengthOf(yield* supervisor.value, 1, "the hint about a clock that does not move, and nothing else")
        assert.deepStrictEqual(Array.from(yield* TestClock.sleeps()), [])
        yield* TestClock.adjust("1 day")
        assert.strictEqual(scripts, 0, "nobody asked, so nothing has happened yet")
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(yield* supervisor.value, [])
        yield* TestClock.adjust("1 day")
        assert.strictEqual(scripts, 0, "and now nothing ever will")
      })
    })

    it.effect("may stop during watches: nothing is left behind", () =>
      Effect.gen(function*() {
        const { calls } = TestJobQueue
        const jobs = [yield* submit(), yield* submit(), yield* submit()]
        const watches = yield* Effect.fork(
          Effect.all(jobs.map((job) => JobStream.result(job)), { concurrency: "unbounded" })
        )
        yield* TestClock.adjust("10 seconds")
        const before = (yield* calls).length
        assert.isAbove(before, 6)
        yield* Fiber.interrupt(watches)
        yield* TestClock.adjust("1 hour")
        assert.strictEqual((yield* calls).length, before)
        // a watch does not change the jobs
        for (const job of jobs) assert.strictEqual((yield* JobQueue.status(job))._tag, "Done")
      }).pipe(
        Effect.provide(
          TestJobQueue.layer({ workers: { workers: 3, script: Worker.always(Worker.finish("20 seconds")) } })
        )
      ))
  })

  describe("Worker", () => {
    const noChance = () => assert.fail("nothing is left to chance here")

    it("makes steps from durations of every kind", () => {
      assert.deepStrictEqual(
        Worker.always(
          Worker.heartbeat(5),
          Worker.heartbeat("2 seconds", { step: 1 }),
          Worker.progress("1 minute", 0.25),
          Worker.finish(0),
          Worker.finish("1 second", { answer: 42 }),
          Worker.fail("1 second", "why"),
          Worker.stopResponding,
          Worker.late(Worker.heartbeat(5)),
          Worker.late(Worker.stopResponding)
        )({ job: Job.ref(model, "id"), nth: 3, attempt: 7, payload: {}, info: {} }, noChance),
        [
          { after: 5, late: false, report: { status: "running", info: {} } },
          { after: "2 seconds", late: false, report: { status: "running", info: { step: 1 } } },
          { after: "1 minute", late: false, report: { status: "running", info: { progress: 0.25 } } },
          { after: 0, late: false, report: { status: "done", outputs: {} } },
          { after: "1 second", late: false, report: { status: "done", outputs: { answer: 42 } } },
          { after: "1 second", late: false, report: { status: "failed", info: { error: "why" } } },
          { after: 0, late: false, report: undefined },
          { after: 5, late: true, report: { status: "running", info: {} } },
          { after: 0, late: false, report: undefined }
        ]
      )
    })

    it("has separate steps for each attempt; the last ones apply to all later attempts", () => {
      const lives = [[Worker.heartbeat(1)], [], [Worker.finish(3)]]
      const script = Worker.attempts(...lives)
      const task = { job: Job.ref(model, "id"), nth: 1, payload: {}, info: {} }
      assert.deepStrictEqual(
        [1, 2, 3, 4, 100].map((attempt) => script({ ...task, attempt }, noChance)),
        [lives[0]!, lives[1]!, lives[2]!, lives[2]!, lives[2]!]
      )
    })
  })
})

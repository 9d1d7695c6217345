/** One subscriber, its schedules and its pace do not affect what others receive. */
import { assert, describe, it } from "@effect/vitest"
import { assertNone } from "@effect/vitest/utils"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { Deadline, Job, JobQueue, JobStream, JobWatcher, QueueError, Transition, WatchPolicy } from "../../src/index.js"
import type { Cadence, Retry } from "../../src/index.js"
import { TestJobQueue, VirtualTime } from "../../src/testing/index.js"
import { makeQueue } from "../fixtures/answeringQueue.js"

const job = Job.ref("m/v", "019ba379-92da-71e4-ac40-d98059fd67c7")
const createdAt = Option.some(DateTime.unsafeMake(1_000))
const pending = Job.Pending({ job, createdAt })
const claimedAt = Option.some(DateTime.unsafeMake(2_000))
const running = Job.Running({ job, createdAt, claimedAt, retries: Option.some(0) })
const done = Job.Done({ job, createdAt, claimedAt, outputs: {} })
const about = { operation: "status", model: job.model, job } as const
const down = new QueueError.Unavailable({ ...about, httpStatus: 503 })
const limited = new QueueError.RateLimited({ ...about, httpStatus: 429 })

const elapsed = Effect.map(Effect.clock, (clock) => {
  const start = clock.unsafeCurrentTimeMillis()
  return () => clock.unsafeCurrentTimeMillis() - start
})

const thrown = (): never => {
  throw new Error("a bug of the app")
}

describe("schedules of the app", () => {
  it.effect("a cadence that throws is a defect of its own watch, and of no other watch", () =>
    Effect.gen(function*() {
      const queue = yield* makeQueue({ status: ({ at }) => Effect.succeed(at < 10_000 ? running : done) })
      const bad: Cadence.Cadence = Schedule.makeWithState(0, thrown)
      yield* Effect.gen(function*() {
        const good = yield* Effect.fork(JobStream.result(job, { cadence: "1 second" }))
        const exit = yield* Effect.exit(JobStream.result(job, { cadence: bad }))
        assert(Exit.isFailure(exit) && exit.cause._tag === "Die")
        assert.deepStrictEqual(yield* Fiber.join(good), {})
      }).pipe(Effect.provide(queue.layer))
    }).pipe(VirtualTime.run))

  it.effect("a retry that throws is a defect of its own watch, and of no other watch", () =>
    Effect.gen(function*() {
      const queue = yield* makeQueue({ status: ({ at }) => at < 10_000 ? Effect.fail(down) : Effect.succeed(done) })
      const bad: Retry.Retry = Schedule.makeWithState(0, thrown)
      yield* Effect.gen(function*() {
        const good = yield* Effect.fork(JobStream.result(job, { retry: Schedule.spaced("1 second") }))
        const exit = yield* Effect.exit(JobStream.result(job, { retry: bad }))
        assert(Exit.isFailure(exit) && exit.cause._tag === "Die")
        assert.deepStrictEqual(yield* Fiber.join(good), {})
      }).pipe(Effect.provide(queue.layer))
    }).pipe(VirtualTime.run))

  it.effect("a cadence keeps its state when a watch leaves whose cadence takes a while", () =>
    Effect.gen(function*() {
      const queue = yield* makeQueue({ status: ({ at }) => Effect.succeed(at < 60_000 ? running : done) })
      const paused = (state: string, millis: number) => (now: number) =>
        Effect.map(Schedule.spaced(millis).step(now, undefined, 0), ([, , decision]) => [state, 0, decision] as const)
      const slow: Cadence.Cadence = Schedule.makeWithState(
        "another's",
        (now) => Effect.delay(paused("another's", 2_000)(now), "1 second")
      )
      const seen = new Set<string>()
      const own: Cadence.Cadence = Schedule.makeWithState("own", (now, _, state: string) => {
        seen.add(state)
        return paused("own", 10_000)(now)
      })
      yield* Effect.gen(function*() {
        const leaver = yield* Effect.fork(JobStream.result(job, { cadence: slow }))
        yield* Effect.sleep("100 millis")
        const watch = yield* Effect.fork(JobStream.result(job, { cadence: own }))
        yield* Effect.sleep("4400 millis") // the slow step runs
        yield* Fiber.interrupt(leaver)
        yield* Fiber.join(watch)
        assert.deepStrictEqual(Array.from(seen), ["own"])
      }).pipe(Effect.provide(queue.layer))
    }).pipe(VirtualTime.run))

  it.effect("a step of a cadence that still runs is not begun again by the polls of another watch", () =>
    Effect.gen(function*() {
      const queue = yield* makeQueue({ status: ({ at }) => Effect.succeed(at < 60_000 ? running : done) })
      let [begun, ended] = [0, 0]
      const slow = Schedule.spaced("1 second").pipe(Schedule.mapEffect(() => {
        begun++
        return Effect.map(Effect.sleep("10500 millis"), () => void ended++)
      }))
      yield* Effect.gen(function*() {
        const other = yield* Effect.fork(JobStream.result(job, { cadence: slow }))
        yield* JobStream.result(job, { cadence: Schedule.spaced("1 second") })
        yield* Fiber.join(other)
        assert.isAtLeast(ended, 4)
        assert.isAtMost(begun - ended, 1)
      }).pipe(Effect.provide(queue.layer))
    }).pipe(VirtualTime.run))

  // the steps of the slow watch take so long that they never end in the test, or end between polls of the other one
  for (const step of ["1 hour", "1700 millis"] as const) {
    for (const isFirst of [true, false]) {
      it.effect(`${step} of a step that belongs to the ${isFirst ? "first" : "second"} watch delay no other watch`, () =>
        Effect.gen(function*() {
          const isDown = (at: number) => at > 10_000 && at < 20_000
          const queue = yield* makeQueue({
            status: ({ at }) =>
              isDown(at) ? Effect.fail(down) : Effect.succeed(at < 30_000 ? { ...running, info: { at } } : done)
          })
          const slowly = <Out>(schedule: Schedule.Schedule<Out, unknown>): Schedule.Schedule<Out, unknown> =>
            Schedule.makeWithState(
              schedule.initial,
              (now, input, state) => Effect.delay(schedule.step(now, input, state), step)
            )
          const own = { cadence: "1 second", retry: Schedule.spaced("1 second") } as const
          const seen = (options: JobStream.Options) =>
            Effect.gen(function*() {
              const now = yield* elapsed
              const times = Stream.map(JobStream.statuses(job, options), now)
              return Array.from(yield* Stream.runCollect(times))
            })
          yield* Effect.gen(function*() {
            const slow = seen({
              cadence: slowly(Schedule.spaced("500 millis")),
              retry: slowly(Schedule.spaced("1 second"))
            })
            const good = seen(own)
            const [first, second] = isFirst ? [slow, good] : [good, slow]
            const one = yield* Effect.fork(first)
            yield* Effect.sleep("100 millis")
            const other = yield* Effect.fork(second)
            const times = yield* Fiber.join(isFirst ? other : one)
            yield* Fiber.join(isFirst ? one : other)
            // it has each poll: mostly its own, and more if the other one asks for more
            const pauses = times.slice(1).map((time, i) => time - times[i]!)
            const outage = pauses.findIndex((pause) => pause > 5_000)
            const usual = pauses.filter((_, i) => i !== outage)
            assert.isAtMost(Math.max(...usual), 1_000, String(times))
            assert.isAtMost(pauses[outage]!, 12_000, String(times))
          }).pipe(Effect.provide(queue.layer))
        }).pipe(VirtualTime.run))
    }
  }

  it.effect("are waited for before the next try, each time", () =>
    Effect.gen(function*() {
      const queue = yield* makeQueue({ status: ({ at }) => at < 10_000 ? Effect.fail(down) : Effect.succeed(done) })
      const { initial, step } = Schedule.spaced("2 seconds")
      const slow = Schedule.makeWithState(
        initial,
        (now, input: QueueError.QueueError, state) => Effect.delay(step(now, input, state), "500 millis")
      )
      yield* Effect.provide(JobStream.result(job, { retry: slow }), queue.layer)
      assert.deepStrictEqual(queue.polls(), [0, 2_000, 4_000, 6_000, 8_000, 10_000])
    }).pipe(VirtualTime.run))

  it.effect("are stopped with the last watch that has them", () =>
    Effect.gen(function*() {
      let stopped = 0
      const never = Effect.onInterrupt(Effect.never, () => Effect.sync(() => stopped++))
      const endless: Schedule.Schedule<number, unknown> = Schedule.makeWithState(0, () => never)
      const queue = yield* makeQueue({ status: ({ at }) => at < 5_000 ? Effect.succeed(running) : Effect.fail(down) })
      yield* Effect.gen(function*() {
        const good = yield* Effect.fork(JobStream.result(job, { cadence: "1 second" }))
        const cadence = JobStream.result(job, { cadence: endless })
        yield* Effect.timeoutOption(Effect.zip(cadence, cadence, { concurrent: true }), "500 millis")
        assert.strictEqual(stopped, 1)
        yield* Effect.sleep("10 seconds")
        // a new watch asks its retry at once: the job is in trouble
        yield* Effect.timeoutOption(JobStream.result(job, { retry: endless }), "500 millis")
        assert.strictEqual(stopped, 2)
        yield* Fiber.interrupt(good)
        yield* Effect.timeoutOption(JobStream.result(job, { retry: endless }), "1 minute")
        assert.strictEqual(stopped, 3)
      }).pipe(Effect.provide(queue.layer))
    }).pipe(VirtualTime.run))

  it.effect("ten thousand watches of a job may each have their own", () =>
    Effect.gen(function*() {
      const queue = yield* makeQueue({ status: ({ at }) => Effect.succeed(at < 10_000 ? running : done) })
      yield* Effect.gen(function*() {
        // a duration is the same cadence wherever it is given
        const results = Effect.replicateEffect(JobStream.result(job, { cadence: "2 seconds" }), 10_000, {
          concurrency: "unbounded"
        })
        assert.lengthOf(yield* results, 10_000)
      }).pipe(Effect.provide(queue.layer))
    }).pipe(VirtualTime.run))
})

describe("requests", () => {
  it.effect("of a watcher that was made in an uninterruptible region are stopped with the last watch", () =>
    Effect.gen(function*() {
      let stopped = 0
      const status = () => Effect.onInterrupt(Effect.never, () => Effect.sync(() => stopped++))
      const watcher = yield* Effect.uninterruptible(JobWatcher.make()).pipe(
        Effect.provide(Layer.mock(JobQueue.JobQueue, { status }))
      )
      const watch = JobStream.result(job).pipe(Effect.provideService(JobWatcher.JobWatcher, watcher))
      assertNone(yield* Effect.timeoutOption(watch, "500 millis"))
      assert.strictEqual(stopped, 1)
    }).pipe(Effect.scoped, VirtualTime.run))

  it.effect("have the shortest request deadline, also if its watch joins while one is late", () =>
    Effect.gen(function*() {
      const queue = yield* makeQueue({ status: () => Effect.never })
      yield* Effect.gen(function*() {
        const patient = yield* Effect.fork(JobStream.result(job, { deadline: Deadline.request("10 minutes") }))
        yield* Effect.sleep("61 seconds")
        const now = yield* elapsed
        const error = yield* Effect.flip(
          JobStream.result(job, { deadline: Deadline.request("500 millis"), retry: Schedule.stop })
        )
        assert.deepStrictEqual([error._tag, now()], ["ResponseTimeout", 0])
        yield* Fiber.interrupt(patient)
      }).pipe(Effect.provide(queue.layer))
    }).pipe(VirtualTime.run))

  it.effect("answered with 429 at once, without Retry-After, count as one", () =>
    Effect.gen(function*() {
      const polls: Array<number> = []
      const now = yield* elapsed
      const status = (job: Job.JobRef) =>
        Effect.suspend(() => {
          polls.push(now())
          return Effect.delay(now() < 1_000 ? Effect.fail(limited) : Effect.succeed({ ...done, job }), "100 millis")
        })
      const jobs = Stream.map(Stream.range(1, 5), (n) => Job.ref("m/v", `r${n}`))
      yield* Stream.runDrain(JobStream.watchAll(jobs, { retry: Schedule.spaced("100 millis") })).pipe(
        Effect.provide(Layer.provide(JobWatcher.layer(), Layer.mock(JobQueue.JobQueue, { status })))
      )
      const resumed = polls.find((at) => at > 1_000)
      assert(resumed !== undefined && resumed < 1_300, String(resumed))
    }).pipe(VirtualTime.run))
})

describe("a subscriber", () => {
  it.effect("that joins during trouble receives the latest snapshot first", () =>
    Effect.gen(function*() {
      const queue = yield* makeQueue({
        status: ({ at }) =>
          at < 5_000 ? Effect.succeed(running) : at < 60_000 ? Effect.fail(down) : Effect.succeed(done)
      })
      yield* Effect.gen(function*() {
        const watch = JobStream.events(job, { cadence: "1 second", retry: Schedule.spaced("2 seconds") })
        const first = yield* Effect.fork(Stream.runDrain(watch))
        yield* Effect.sleep("10 seconds")
        const events = yield* Stream.runCollect(Stream.take(watch, 3))
        assert.deepStrictEqual(Array.from(events, ({ _tag }) => _tag), ["Queued", "Claimed", "Trouble"])
        yield* Fiber.join(first)
      }).pipe(Effect.provide(queue.layer))
    }).pipe(VirtualTime.run))

  it.effect("that joins has its own cadence, also for a job behind others in the queue", () =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(JobQueue.submit({ model: "m/v", payload: {} }), 100)
      const others = yield* Effect.fork(Stream.runDrain(JobStream.watchAll(Stream.fromIterable(jobs), {
        cadence: "30 seconds"
      })))
      yield* Effect.sleep("1 minute")
      const now = yield* elapsed
      const last = jobs[99]!
      yield* Stream.runDrain(Stream.take(JobStream.statuses(last, { cadence: "1 second" }), 5))
      assert.isAtMost(now(), 5_000)
      yield* Fiber.interrupt(others)
    }).pipe(VirtualTime.run, Effect.provide(TestJobQueue.layer())))

  it.effect("receives no snapshot that is older than its cursor", () =>
    Effect.gen(function*() {
      const queue = yield* makeQueue({ status: () => Effect.succeed(pending) })
      const { cursor } = yield* Transition.derive(Option.none(), running, { observedAt: DateTime.unsafeMake(0) })
      yield* Effect.gen(function*() {
        const other = yield* Effect.fork(JobStream.result(job))
        yield* Effect.sleep("2 seconds")
        const { subscribe } = yield* JobWatcher.JobWatcher
        const subscription = yield* subscribe({ policy: yield* WatchPolicy.Default, wants: "polls" })
        yield* subscription.add(job, cursor)
        const next = yield* Effect.timeoutOption(subscription.next, "8 seconds")
        assertNone(next)
        yield* Fiber.interrupt(other)
      }).pipe(Effect.scoped, Effect.provide(queue.layer))
    }).pipe(VirtualTime.run))

  it.effect("of many jobs sees a repeated reference once, also of a job that had ended before", () =>
    Effect.gen(function*() {
      const queue = yield* makeQueue({ status: () => Effect.succeed(done) })
      const tags = Effect.map(
        Stream.runCollect(JobStream.watchAll(Stream.make(job, job))),
        (steps) => Array.from(steps, ({ _tag }) => _tag)
      )
      yield* Effect.gen(function*() {
        const steps = ["Queued", "Claimed", "Completed"]
        assert.deepStrictEqual(yield* tags, steps)
        assert.deepStrictEqual(yield* tags, steps)
      }).pipe(Effect.provide(queue.layer))
    }).pipe(VirtualTime.run))
})

import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/TestClock"
import {
  Cadence,
  Deadline,
  Job,
  JobQueue,
  JobStream,
  JobWatcher,
  LearnedCadence,
  QueueError,
  Retry
} from "../../src/index.js"
import { Fault, TestJobQueue, VirtualTime, Worker } from "../../src/testing/index.js"
import { makeQueue, settableClock } from "../fixtures/answeringQueue.js"
import { job, model } from "../fixtures/job.js"

const hour = 3_600_000

const changes = { "back by an hour": -hour, "back by 6 seconds": -6_000, "forward by an hour": hour }

const unavailable = new QueueError.Unavailable({ operation: "status", model, job, httpStatus: 503 })

describe("the wall clock is set", () => {
  for (const [name, change] of Object.entries(changes)) {
    /** Runs a watch for `seconds`, and sets the clock after 10.5 seconds. */
    const run = <A, E, R>(seconds: number, watching: Effect.Effect<A, E, R>) =>
      Effect.gen(function*() {
        const clock = yield* settableClock
        const fiber = yield* Effect.fork(Effect.withClock(watching, clock))
        yield* TestClock.adjust("10500 millis")
        clock.set(change)
        yield* TestClock.adjust((seconds - 10.5) * 1_000)
        return fiber
      })

    it.effect(`${name}: polls keep their pauses`, () =>
      Effect.gen(function*() {
        const cadences = {
          spaced: Schedule.spaced("2 seconds"),
          fixed: Cadence.fixed("2 seconds"),
          exponential: Cadence.exponential({ base: "1 second", factor: 2, cap: "3 seconds" }),
          adaptive: Cadence.adaptive({ floor: "1 second", cap: "2 seconds" }),
          "by age": Cadence.byAge({ upTo: [["2 hours", "2 seconds"]], otherwise: "2 seconds" }),
          "Schedule.fixed": Schedule.fixed("2 seconds"),
          "Schedule.windowed": Schedule.windowed("2 seconds")
        }
        for (const [name, cadence] of Object.entries(cadences)) {
          const queue = yield* makeQueue({ status: () => Effect.succeed(Job.Running({ job })) })
          const fiber = yield* run(60, Stream.runDrain(JobStream.statuses(job, { cadence }))).pipe(
            Effect.provide(queue.layer)
          )
          yield* Fiber.interrupt(fiber)
          const polls = queue.polls()
          const pauses = polls.slice(1).map((at, i) => at - polls[i]!)
          for (const pause of pauses) assert(pause >= 50 && pause <= 3_600, `${name}: ${polls.join(" ")}`)
          assert.isAtLeast(polls.at(-1)!, 56_000, name)
        }
      }))

    it.effect(`${name}: retries keep their pauses and their end`, () =>
      Effect.gen(function*() {
        const queue = yield* makeQueue({ status: () => Effect.fail(unavailable) })
        const retry = Retry.transient({
          base: "2 seconds",
          factor: 1,
          cap: "2 seconds",
          times: 100,
          within: "30 seconds"
        })
        const fiber = yield* run(60, Effect.flip(JobStream.result(job, { retry }))).pipe(Effect.provide(queue.layer))
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "Unavailable")
        const last = queue.polls().at(-1)!
        assert(last > 27_000 && last < 30_000, String(last))
      }))

    it.effect(`${name}: every deadline passes on time`, () =>
      Effect.gen(function*() {
        const deadlines = {
          WatchTimeout: [Deadline.total("25 seconds"), Effect.succeed(Job.Running({ job }))],
          Stalled: [Deadline.stalled("25 seconds"), Effect.succeed(Job.Running({ job }))],
          PendingTooLong: [Deadline.pending("25 seconds"), Effect.succeed(Job.Pending({ job }))],
          ResponseTimeout: [Deadline.request("25 seconds"), Effect.never]
        } as const
        for (const [tag, [deadline, status]] of Object.entries(deadlines)) {
          const queue = yield* makeQueue({ status: () => status })
          const start = yield* Clock.currentTimeMillis
          const options = { cadence: Schedule.spaced("2 seconds"), retry: Schedule.stop, deadline }
          const end = Effect.all([Effect.flip(JobStream.result(job, options)), Clock.currentTimeNanos])
          const fiber = yield* run(60, end).pipe(Effect.provide(queue.layer))
          const [error, nanos] = yield* Fiber.join(fiber)
          assert.strictEqual(error._tag, tag)
          assert.strictEqual(Number(nanos / 1_000_000n) - start, 25_000)
        }
      }))

    it.effect(`${name}: dates are those of the wall clock, and the age of a snapshot is monotonic time`, () =>
      Effect.gen(function*() {
        const queue = yield* makeQueue({
          status: ({ nth }) =>
            nth <= 8
              ? Effect.succeed(nth < 7 ? Job.Pending({ job }) : Job.Running({ job }))
              : Effect.fail(unavailable)
        })
        const start = yield* Clock.currentTimeMillis
        const reported: Array<readonly [string, number]> = []
        const options = {
          cadence: Schedule.spaced("2 seconds"),
          retry: Schedule.spaced("4 seconds"),
          deadline: Deadline.total("15 seconds")
        }
        const watching = Stream.runForEach(
          JobStream.transitions(job, options),
          ({ _tag, observedAt }) => Effect.sync(() => reported.push([_tag, observedAt.epochMillis - start]))
        )
        const fiber = yield* run(60, Effect.flip(watching)).pipe(Effect.provide(queue.layer))
        const error = yield* Fiber.join(fiber)
        assert.deepStrictEqual(reported, [["Queued", 0], ["Claimed", 12_000 + change]])
        assert(error._tag === "WatchTimeout" && error.lastSeen !== undefined)
        assert.strictEqual(Duration.toMillis(error.lastSeen.age), 1_000)
      }))
  }
})

describe("a process that was suspended while the job ended", () => {
  const deadlines = {
    "total deadline": [Deadline.total("6 seconds"), Job.Running({ job })],
    "stalled deadline": [Deadline.stalled("6 seconds"), Job.Running({ job })],
    "pending deadline": [Deadline.pending("6 seconds"), Job.Pending({ job })]
  } as const
  for (const [name, [deadline, before]] of Object.entries(deadlines)) {
    it.effect(`polls once more before the ${name} is reported, and returns the result`, () =>
      Effect.gen(function*() {
        const clock = yield* settableClock
        let hasEnded = false
        const queue = yield* makeQueue({
          status: () => Effect.sync(() => hasEnded ? Job.Done({ job, outputs: { answer: 42 } }) : before)
        })
        const watch = JobStream.result(job, { cadence: Schedule.spaced("2 seconds"), deadline })
        const fiber = yield* Effect.fork(watch.pipe(Effect.withClock(clock), Effect.provide(queue.layer)))
        yield* TestClock.adjust("2500 millis")
        hasEnded = true
        clock.leap(8_000)
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(yield* Fiber.join(fiber), { answer: 42 })
        assert.deepStrictEqual(queue.polls(), [0, 2_000, 4_000])
      }))

    it.effect(`a response that waited for it does not confirm the ${name}`, () =>
      Effect.gen(function*() {
        const clock = yield* settableClock
        let hasEnded = false
        const queue = yield* makeQueue({
          status: () => {
            const status = hasEnded ? Job.Done({ job, outputs: { answer: 42 } }) : before
            return Effect.delay(Effect.succeed(status), "500 millis")
          }
        })
        const watch = JobStream.result(job, { cadence: Schedule.spaced("2 seconds"), deadline })
        const fiber = yield* Effect.fork(watch.pipe(Effect.withClock(clock), Effect.provide(queue.layer)))
        yield* TestClock.adjust("2700 millis")
        assert.deepStrictEqual(queue.polls(), [0, 2_500])
        hasEnded = true
        clock.leap(8_000)
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(yield* Fiber.join(fiber), { answer: 42 })
        assert.deepStrictEqual(queue.polls(), [0, 2_500, 4_000])
      }))
  }
})

describe("the service's clock differs by an hour", () => {
  const workers: Worker.Pool = { script: Worker.always(Worker.finish("3 seconds")) }
  const cadences = {
    "LearnedCadence": LearnedCadence.make({ minSamples: 3 }).pipe(
      Effect.tap((learned) =>
        Effect.replicateEffect(
          learned.observe(Job.Done({
            job,
            createdAt: Option.some(DateTime.unsafeMake(0)),
            claimedAt: Option.some(DateTime.unsafeMake(100)),
            doneAt: Option.some(DateTime.unsafeMake(3_100))
          })),
          3
        )
      ),
      Effect.map(({ cadence }) => cadence)
    ),
    "Cadence.byAge": Effect.succeed(Cadence.byAge({ upTo: [["1 minute", "1 second"]], otherwise: "1 minute" }))
  }
  for (const [name, make] of Object.entries(cadences)) {
    for (
      const [direction, fault, ahead] of [
        ["ahead", Fault.clockAhead("1 hour"), hour],
        ["behind", Fault.clockBehind("1 hour"), -hour]
      ] as const
    ) {
      it.effect(`${direction}: ${name} has the age of a job by that clock, from the first response`, () =>
        Effect.gen(function*() {
          let clockAhead = 0
          const queue = yield* JobQueue.JobQueue
          const dated: JobQueue.Service = {
            ...queue,
            status: (job) => Effect.tap(queue.status(job), () => clockAhead = ahead),
            clockAhead: () => clockAhead
          }
          const cadence = yield* make
          const start = yield* Clock.currentTimeMillis
          const submitted = yield* JobQueue.submit({ model, payload: {} })
          yield* JobStream.result(submitted, { cadence }).pipe(
            Effect.provide(Layer.provide(JobWatcher.layer(), Layer.succeed(JobQueue.JobQueue, dated)))
          )
          assert.isAtMost((yield* Clock.currentTimeMillis) - start, 5_000)
        }).pipe(VirtualTime.run, Effect.provide(TestJobQueue.layer({ workers, faults: [fault] }))))
    }
  }
})

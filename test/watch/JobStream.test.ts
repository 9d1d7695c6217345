import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import {
  Cause,
  Chunk,
  Clock,
  Context,
  DateTime,
  Deferred,
  Duration,
  Effect,
  Either,
  Exit,
  Fiber,
  Layer,
  Metric,
  Option,
  Redacted,
  Ref,
  Schedule,
  Schema,
  Stream,
  Supervisor,
  TestClock
} from "effect"
import { Deadline, Job, JobQueue, JobStream, JobWatcher, QueueError, Transition } from "effect-queue-status"
import type { WatchPolicy } from "effect-queue-status"
import { Emulator } from "effect-queue-status/emulator"
import { Arbitraries, Fault, TestJobQueue, Worker } from "effect-queue-status/testing"
import * as Arbitrary from "effect/Arbitrary"
import * as FastCheck from "effect/FastCheck"
import { retryAfterOf } from "../../src/policy/internal/pauses.js"
import * as Metrics from "../../src/watch/internal/metrics.js"
import * as CollectingTracer from "../fixtures/collectingTracer.js"
import { inQueue } from "../fixtures/inQueue.js"
import { job } from "../fixtures/job.js"
import { passingFaults } from "../fixtures/passingFaults.js"
import { runs } from "../fixtures/runs.js"
import { tally } from "../fixtures/tally.js"
import { watched } from "../fixtures/watched.js"
import { everySecond, inTime, pollTimes, submit } from "../fixtures/watching.js"

const brief = (transition: Transition.Transition) =>
  `${transition._tag} ${transition.attempt}${transition.evidence === "inferred" ? " inferred" : ""}`

const briefly = (job: Job.JobRef, options: JobStream.TransitionsOptions = everySecond) =>
  Stream.runCollect(Stream.map(JobStream.transitions(job, options), brief)).pipe(Effect.map(Chunk.toReadonlyArray))

/** A queue that responds to each status call with the next snapshot, and repeats the last one. */
const answering = (...snapshots: ReadonlyArray<Job.JobStatus>) =>
  Layer.unwrapEffect(Effect.gen(function*() {
    const asked = yield* Ref.make(0)
    return Layer.merge(
      watched(Layer.mock(JobQueue.JobQueue, {
        status: () =>
          Effect.map(Ref.getAndUpdate(asked, (n) => n + 1), (n) => snapshots[Math.min(n, snapshots.length - 1)]!)
      })),
      Layer.succeed(Asked, Ref.get(asked))
    )
  }))

class Asked extends Context.Tag("test/Asked")<Asked, Effect.Effect<number>>() {}

describe("transitions", () => {
  it.effect("emits the transitions of a job as they happen, and ends with the last one", () =>
    Effect.gen(function*() {
      const job = yield* submit
      assert.deepStrictEqual(yield* inTime(briefly(job)), [
        "Queued 0",
        "Claimed 1",
        "Progressed 1",
        "Progressed 1",
        "Completed 1"
      ])
      // the first poll is immediate, and after the terminal state there is none
      assert.deepStrictEqual(yield* pollTimes, [0, 1_000, 2_000, 3_000, 4_000, 5_000])
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: {
        pickup: "500 millis",
        script: Worker.always(
          Worker.progress("1 second", 0.3),
          Worker.progress("1 second", 0.6),
          Worker.finish("2 seconds")
        )
      }
    }))))

  it.effect("infers the transitions that polls missed", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const transitions = yield* inTime(
        Stream.runCollect(JobStream.transitions(job, { cadence: Schedule.spaced("10 minutes") }))
      )
      assert.deepStrictEqual(Chunk.toReadonlyArray(transitions).map(brief), [
        "Queued 0",
        "Claimed 1 inferred",
        "Requeued 1 inferred",
        "Claimed 2 inferred",
        "Completed 2"
      ])
      assert.deepStrictEqual(
        Chunk.toReadonlyArray(transitions).map(({ at }) => Option.getOrNull(Option.map(at, DateTime.toEpochMillis))),
        [0, null, null, 96_000, 97_000]
      )
      assert.deepStrictEqual(yield* pollTimes, [0, 600_000])
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: { pickup: "3 seconds", script: Worker.attempts([], [Worker.finish("1 second")]) }
    }))))

  it.effect("reports a cancellation", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const [, seen] = yield* inTime(
        Effect.all([Effect.delay(JobQueue.cancel(job), "1500 millis"), briefly(job)], { concurrency: 2 })
      )
      assert.deepStrictEqual(seen, ["Queued 0", "Canceled 0"])
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("distinguishes a failure of the model from exhausted retries", () =>
    Effect.gen(function*() {
      const failed = yield* submit
      const lost = yield* JobQueue.submit({ model: "lossy", payload: {} })
      assert.deepStrictEqual((yield* inTime(briefly(failed))).slice(-1), ["FailedByModel 1"])
      assert.deepStrictEqual((yield* inTime(Effect.delay(briefly(lost), "30 minutes"))).slice(-3), [
        "Requeued 3 inferred",
        "Claimed 4 inferred",
        "RetriesExhausted 4"
      ])
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: { script: ({ job }) => job.model === "lossy" ? [] : [Worker.fail("2 seconds", "out of memory")] }
    }))))

  it.effect("resumes from a cursor, without repeat or gap", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const whole = yield* inTime(Stream.runCollect(JobStream.transitions(job, everySecond)))
      for (const { cursor } of whole) {
        const rest = yield* inTime(Stream.runCollect(JobStream.transitions(job, { from: cursor })))
        const seen = Chunk.toReadonlyArray(whole).findIndex((transition) => transition.cursor === cursor) + 1
        const tags = (transitions: Chunk.Chunk<Transition.Transition>) =>
          Chunk.toReadonlyArray(transitions).map(({ _tag }) => _tag)
        // progress of a job that has ended is not reported any more
        assert.deepStrictEqual(tags(rest), tags(whole).slice(seen).filter((tag) => tag !== "Progressed"))
      }
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: {
        pickup: "1500 millis",
        script: Worker.always(Worker.progress("1 second", 0.5), Worker.finish("1 second"))
      }
    }))))

  it.effect("sends no request if the cursor is at the end, and rejects a cursor of another job", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const last = yield* inTime(Stream.runLast(JobStream.transitions(job)))
      const polls = (yield* pollTimes).length
      const from = Option.getOrThrow(last).cursor
      assert.deepStrictEqual(yield* briefly(job, { from }), [])
      const other = yield* submit
      const error = yield* Effect.flip(briefly(other, { from }))
      assert(error._tag === "JobMismatch")
      assert.strictEqual(error.job.requestId, other.requestId)
      assert.strictEqual((yield* pollTimes).length, polls)
    }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("1 second")) } }))))

  it.effect("stops polling with the last element that is taken", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* inTime(Stream.runDrain(Stream.take(JobStream.transitions(job, everySecond), 1)))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* pollTimes, [0])
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("gives a slow consumer only the latest snapshot, and continues to poll", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const seen: Array<number> = []
      const slow = Stream.runForEach(JobStream.statuses(job, everySecond), ({ info }) => {
        seen.push(Number(info["progress"] ?? 0))
        return Effect.sleep("9500 millis")
      })
      yield* inTime(slow)
      // each snapshot is a second old at most
      assert.deepStrictEqual(seen, [0, 0.09, 0.18, 0.28, 0.37, 0.47, 0.56, 0.66, 0.75, 0.85, 0.94, 1])
      assert.isAbove((yield* pollTimes).length, 100)
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: { script: Worker.always(...Worker.progressInSteps(100, "1 second"), Worker.finish(0)) }
    }))))

  it.effect("continues with the default cadence when its own cadence ends", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const tags = yield* inTime(briefly(job, { cadence: Schedule.recurs(0) }))
      assert.deepStrictEqual(tags.slice(-1), ["Completed 1"])
      const times = yield* pollTimes
      // capped at 5 seconds, a fifth more at most
      for (const [i, at] of times.slice(1).entries()) assert(at - times[i]! <= 6_000, `${times}`)
      assert(times.length > 10 && times.length < 30, `${times.length} polls`)
    }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("80 seconds")) } }))))

  it.effect("passes the snapshot of the last poll to the cadence", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const cadence: WatchPolicy.WatchPolicy["cadence"] = Schedule.identity<Job.JobStatus>().pipe(
        Schedule.addDelay((status) => status._tag === "Pending" ? "5 seconds" : "1 second")
      )
      yield* inTime(briefly(job, { cadence }))
      assert.deepStrictEqual(yield* pollTimes, [0, 5_000, 10_000, 11_000, 12_000, 13_000])
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: { pickup: "6 seconds", script: Worker.always(Worker.finish("7 seconds")) }
    }))))

  it.effect("reads progress by the rule of the app", () =>
    Effect.gen(function*() {
      const progress = yield* JobStream.transitions(job).pipe(
        Stream.filterMap((transition) => transition._tag === "Progressed" ? transition.progress : Option.none()),
        Stream.take(1),
        Stream.runCollect,
        Effect.provideService(Job.ProgressRule, ({ step }) => Option.some(Number(step) / 10))
      )
      assert.deepStrictEqual(Chunk.toReadonlyArray(progress), [0.3])
    }).pipe(Effect.provide(answering(Job.Running({ job, info: { step: 3 } })))))

  it.effect("reads the reason of a failure by the rule of the app, as watchAll and result do", () =>
    Effect.gen(function*() {
      const reasonOf = Effect.map(
        Effect.all([
          Stream.runLast(JobStream.transitions(job, everySecond)),
          Stream.runLast(JobStream.watchAll(Stream.make(job), everySecond)),
          Effect.flip(JobStream.result(job, everySecond))
        ], { concurrency: "unbounded" }),
        ([...lasts]) =>
          lasts.map((last) => {
            const end = Option.isOption(last) ? Option.getOrThrow(last) : last
            if (end._tag === "FailedByModel") return Option.getOrNull(end.reason)
            return end._tag === "JobFailed" ? end.reason : end._tag
          })
      )
      // `{ "detail": … }` is a reason too, so the job did not fail for lack of retries
      assert.deepStrictEqual(yield* inTime(reasonOf), Array.from({ length: 3 }, () => "no prompt"))
      const exitCodes: (status: Job.Failed) => Option.Option<string> = ({ info }) =>
        Option.some(`exit code ${info["exit_code"]}`)
      assert.deepStrictEqual(
        yield* inTime(Effect.provideService(reasonOf, Job.ReasonRule, exitCodes)),
        Array.from({ length: 3 }, () => "exit code 7")
      )
      assert.deepStrictEqual(
        yield* inTime(Effect.provideService(reasonOf, Job.ReasonRule, () => Option.none())),
        ["RetriesExhausted", "RetriesExhausted", "JobRetriesExhausted"]
      )
    }).pipe(
      Effect.provide(answering(Job.Failed({
        job,
        retries: Option.some(3),
        info: { error: { detail: "no prompt" }, exit_code: 7 }
      })))
    ))

  it.effect("makes one span for any number of polls, as every stream of a job does", () =>
    Effect.gen(function*() {
      for (const name of ["transitions", "events", "statuses", "result"] as const) {
        const { spans, tracer } = CollectingTracer.make()
        const job = yield* submit
        const before = (yield* pollTimes).length
        const watch: Stream.Stream<unknown, QueueError.WatchError | QueueError.OutcomeError, JobWatcher.JobWatcher> =
          JobStream[name](job, everySecond)
        yield* inTime(Stream.runDrain(watch)).pipe(Effect.withTracer(tracer))
        assert.deepStrictEqual(spans.map(({ name }) => name), [`JobStream.${name}`])
        assert.deepStrictEqual(Object.fromEntries(spans[0]!.attributes), {
          "queue.model": job.model,
          "queue.request_id": job.requestId
        })
        assert.isAbove((yield* pollTimes).length - before, 5)
      }
    }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("8 seconds")) } }))))
})

describe("an interruption", () => {
  const watches: {
    readonly [name: string]: (job: Job.JobRef) => Effect.Effect<unknown, unknown, JobWatcher.JobWatcher>
  } = {
    transitions: (job: Job.JobRef) => Stream.runDrain(JobStream.transitions(job, everySecond)),
    events: (job: Job.JobRef) => Stream.runDrain(JobStream.events(job, everySecond)),
    statuses: (job: Job.JobRef) => Stream.runDrain(JobStream.statuses(job, everySecond)),
    result: (job: Job.JobRef) => JobStream.result(job, everySecond)
  }

  /** Interrupts a watch after some time. Returns the number of its live fibers, and its last call. */
  const interrupt = <A, E, R>(watch: Effect.Effect<A, E, R>, after: Duration.DurationInput) =>
    Effect.gen(function*() {
      const { calls } = yield* TestJobQueue.TestJobQueue
      const supervisor = yield* Supervisor.track
      const fiber = yield* Effect.fork(watch).pipe(Effect.supervised(supervisor))
      yield* TestClock.adjust(after)
      assert.isAbove((yield* supervisor.value).length, 0)
      assert(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      const last = (yield* calls).at(-1)
      return { fibers: (yield* supervisor.value).length, nth: last?.nth, at: last?.at, end: last?.end }
    })

  for (const [name, watch] of Object.entries(watches)) {
    it.effect(`stops the timer at once, and sends no request afterwards: ${name}`, () =>
      Effect.gen(function*() {
        const job = yield* submit
        const left = yield* interrupt(watch(job), "2500 millis")
        assert.deepStrictEqual(left, { fibers: 0, nth: 3, at: 2_000, end: { at: 2_000, outcome: "answered" } })
        yield* TestClock.adjust("1 hour")
        yield* TestJobQueue.expectNoCallsAfter("2 seconds")
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect(`interrupts the request in flight at once: ${name}`, () =>
      Effect.gen(function*() {
        const job = yield* submit
        const left = yield* interrupt(watch(job), "2500 millis")
        assert.deepStrictEqual(left, { fibers: 0, nth: 3, at: 2_000, end: { at: 2_500, outcome: "interrupted" } })
        yield* TestClock.adjust("1 hour")
        yield* TestJobQueue.expectNoCallsAfter("2500 millis")
      }).pipe(
        Effect.provide(TestJobQueue.layer({ faults: [Fault.noResponse.pipe(Fault.on("status"), Fault.nth(3))] }))
      ))

    it.effect(`does not wait for an uninterruptible request: ${name}`, () =>
      Effect.gen(function*() {
        const job = yield* submit
        const left = yield* interrupt(watch(job), "2500 millis")
        // the interruption has not waited
        assert.strictEqual(yield* Clock.currentTimeMillis, 2_500)
        assert.deepInclude(left, { nth: 3, at: 2_000, end: undefined })
        yield* TestClock.adjust("1 hour")
        assert.deepStrictEqual(yield* pollTimes, [0, 1_000, 2_000])
      }).pipe(Effect.provide(TestJobQueue.layer({
        faults: [
          Fault.blockedUntil(Effect.uninterruptible(Effect.sleep("10 seconds"))).pipe(Fault.on("status"), Fault.nth(3))
        ]
      }))))
  }

  it.effect("does not end an uninterruptible watch; its request that hangs is interrupted and sent again", () =>
    Effect.gen(function*() {
      const { calls } = yield* TestJobQueue.TestJobQueue
      const job = yield* submit
      const supervisor = yield* Supervisor.track
      const options = { ...everySecond, deadline: Deadline.request("3 seconds") }
      const result = yield* Deferred.make<Job.JsonObject, unknown>()
      const watch = Effect.uninterruptible(Effect.intoDeferred(JobStream.result(job, options), result))
      const fiber = yield* Effect.fork(watch).pipe(Effect.supervised(supervisor))
      yield* TestClock.adjust("1 second")
      yield* Effect.fork(Fiber.interrupt(fiber))
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(yield* Deferred.await(result), { answer: 42 })
      const hung = (yield* calls).find(({ nth, operation }) => operation === "status" && nth === 2)
      assert.deepStrictEqual(hung?.end, { at: 2_000, outcome: "interrupted" })
      assert.strictEqual((yield* supervisor.value).length, 0)
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: { script: Worker.always(Worker.finish("8 seconds", { answer: 42 })) },
      faults: [Fault.noResponse.pipe(Fault.on("status"), Fault.nth(2))]
    }))))
})

describe("trouble", () => {
  const troubled = (fault: Fault.Fault, time: Duration.DurationInput = "10 seconds") =>
    TestJobQueue.layer({
      workers: { script: Worker.always(Worker.finish(time, { answer: 42 })) },
      faults: [fault]
    })

  const polls = Fault.on("status")

  it.effect("that passes is retried, and a success resets the count", () =>
    Effect.gen(function*() {
      const job = yield* submit
      // five failures before each success; nine in a row would be final
      assert.deepStrictEqual(yield* inTime(briefly(job)), ["Queued 0 inferred", "Claimed 1", "Completed 1"])
      assert.isAbove((yield* pollTimes).length, 2 * 9)
    }).pipe(
      Effect.provide(troubled(Fault.unavailable().pipe(polls, Fault.where(({ nth }) => nth % 6 !== 0)), "1 minute"))
    ))

  it.effect("that does not pass ends the watch after nine requests", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const error = yield* Effect.flip(inTime(briefly(job)))
      assert(error._tag === "Unavailable")
      assert.isUndefined(error.lastSeen)
      assert.include(error.previousError, "the service is not available")
      const times = yield* pollTimes
      assert.strictEqual(times.length, 9)
      const pauses = times.slice(1).map((at, i) => at - times[i]!)
      for (const [i, pause] of [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000].entries()) {
        assert(pauses[i]! >= pause * 0.8 - 1 && pauses[i]! <= pause * 1.2 + 1, `${pauses}`)
      }
    }).pipe(Effect.provide(troubled(Fault.unavailable().pipe(polls)))))

  it.effect("that can't pass ends the watch at once", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const error = yield* Effect.flip(briefly(job))
      assert.strictEqual(error._tag, "AccessDenied")
      assert.deepStrictEqual(yield* pollTimes, [0])
    }).pipe(Effect.provide(troubled(Fault.unauthorized.pipe(polls)))))

  it.effect("waits for Retry-After to the millisecond, in spite of jitter", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* inTime(briefly(job), "3 hours")
      const times = yield* pollTimes
      assert.deepStrictEqual(times.slice(0, 5), [0, 45_000, 90_000, 135_000, 180_000])
    }).pipe(
      Effect.provide(troubled(Fault.unavailable({ retryAfter: "45 seconds" }).pipe(polls, Fault.nth(1, 4))))
    ))

  it.effect("of a request that hangs ends with its timeout, and the request is sent again", () =>
    Effect.gen(function*() {
      const { calls, startedAt } = yield* TestJobQueue.TestJobQueue
      const job = yield* submit
      const tags = yield* inTime(briefly(job, { ...everySecond, deadline: Deadline.request("7 seconds") }))
      assert.deepStrictEqual(tags.slice(-1), ["Completed 1"])
      const hung = (yield* calls).find(({ nth, operation }) => operation === "status" && nth === 2)
      assert.strictEqual(hung?.at, startedAt + 1_000)
      assert.deepStrictEqual(hung?.end, { at: startedAt + 8_000, outcome: "interrupted" })
      const again = (yield* pollTimes).find((at) => at > 8_000) ?? 0
      assert(again >= 8_000 + 400 && again <= 8_000 + 600, String(again))
    }).pipe(Effect.provide(troubled(Fault.noResponse.pipe(polls, Fault.during("500 millis", "8 seconds"))))))

  it.effect("is an error with the job and the timeout", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const error = yield* Effect.flip(
        inTime(briefly(job, { retry: Schedule.recurs(0), deadline: Deadline.request("2 seconds") }))
      )
      assert(error._tag === "ResponseTimeout")
      assert.deepStrictEqual(error.job, job)
      assert.deepStrictEqual(error.after, Duration.seconds(2))
      assert.isUndefined(error.lastSeen)
      assert.include(error.message, job.requestId)
    }).pipe(Effect.provide(troubled(Fault.noResponse.pipe(polls)))))

  it.effect("that ends a watch is the last error of the queue, with the last snapshot and the previous error", () =>
    Effect.gen(function*() {
      const kinds = new Set<string>()
      const status = Job.Running({ job, info: { progress: 0.4 }, retries: Option.some(2) })
      const troubles = FastCheck.tuple(Arbitrary.make(QueueError.QueueError), FastCheck.nat(2), FastCheck.nat(2))
      for (const [error, sightings, retries] of FastCheck.sample(troubles, { seed: 1, numRuns: 300 })) {
        const kind = `${error._tag} ${sightings > 0} ${retries > 0}`
        if (kinds.has(kind)) continue
        kinds.add(kind)
        const met = { ...error }
        let asked = 0
        const queue = Layer.mock(JobQueue.JobQueue, {
          status: () => Effect.suspend(() => asked++ < sightings ? Effect.succeed(status) : Effect.fail(error))
        })
        const policy = {
          ...everySecond,
          retry: Schedule.intersect(Schedule.recurs(retries), Schedule.spaced("2 seconds")),
          deadline: Deadline.none
        }
        const watch = Stream.runDrain(JobStream.statuses(job, policy))
        const last = yield* Effect.flip(inTime(watch, "40 days")).pipe(Effect.provide(watched(queue)))
        assert(QueueError.isQueueError(last))
        assert.strictEqual<unknown>(last.constructor, QueueError[error._tag])

        const pause = Duration.max("2 seconds", retryAfterOf(error))
        const age = Duration.sum("1 second", Duration.times(pause, retries))
        assert.deepStrictEqual({ ...last }, {
          ...met,
          ...(sightings > 0 && { lastSeen: { status, age, attempt: 3 } }),
          ...(retries > 0 && { previousError: error.message })
        })
        if (sightings > 0) assert.include(last.message, `last seen running ${Duration.format(age)} ago`)
        // the error of the queue is not modified
        assert.deepStrictEqual({ ...error }, met)
      }
      assert.strictEqual(kinds.size, QueueError.QueueError.members.length * 2 * 2)
    }))

  it.effect("is an unknown state, which is not polled again", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(inTime(briefly(job)))
      assert(error._tag === "UnrecognizedStatus")
      assert.strictEqual(error.status, "paused")
      assert.deepStrictEqual(error.snapshot.job, job)
      assert.strictEqual(yield* Effect.flatten(Asked), 2)
    }).pipe(Effect.provide(answering(Job.Pending({ job }), Job.Unrecognized({ job, status: "paused" })))))
})

describe("statuses", () => {
  it.effect("emits a snapshot for each poll, and ends with the terminal one", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const tags = yield* inTime(
        Stream.runCollect(Stream.map(JobStream.statuses(job, everySecond), ({ _tag }) => _tag))
      )
      assert.deepStrictEqual(Chunk.toReadonlyArray(tags), [
        "Pending",
        "Pending",
        "Running",
        "Running",
        "Running",
        "Failed"
      ])
      assert.deepStrictEqual(yield* pollTimes, [0, 1_000, 2_000, 3_000, 4_000, 5_000])
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: { pickup: "1500 millis", script: Worker.always(Worker.fail("3 seconds", "no")) }
    }))))

  it.effect("ends after one poll of a job that has ended", () =>
    Effect.gen(function*() {
      const tags = yield* Stream.runCollect(JobStream.statuses(job))
      assert.strictEqual(Chunk.size(tags), 1)
      assert.strictEqual(yield* Effect.flatten(Asked), 1)
    }).pipe(Effect.provide(answering(Job.Canceled({ job })))))
})

describe("result", () => {
  const Answer = Schema.Struct({ answer: Schema.NumberFromString })
  const ending = (snapshot: Job.JobStatus) => answering(Job.Running({ job }), snapshot)

  it.effect("is the outputs", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* inTime(JobStream.result(job, everySecond)), { answer: "42" })
    }).pipe(Effect.provide(ending(Job.Done({ job, outputs: { answer: "42" } })))))

  it.effect("is the outputs, decoded by the schema", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* inTime(JobStream.result(job, Answer, everySecond)), { answer: 42 })
      assert.deepStrictEqual(yield* JobStream.result(job, Answer), { answer: 42 })
    }).pipe(Effect.provide(ending(Job.Done({ job, outputs: { answer: "42" } })))))

  const fails = <Tag extends QueueError.OutcomeError["_tag"]>(snapshot: Job.JobStatus, tag: Tag, says: string) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(inTime(JobStream.result(job, Answer)))
      assert(error._tag === tag, error._tag)
      assert.deepStrictEqual(error.job, job)
      deepStrictEqual(error.snapshot, snapshot)
      assert.include(error.message, says)
      assert.include(error.message, job.requestId)
    }).pipe(Effect.provide(ending(snapshot)))

  it.effect("is an error with the outputs, if they do not match the schema", () =>
    fails(Job.Done({ job, outputs: { answer: "many" } }), "InvalidOutputs", "answer"))

  it.effect("is an error with the reason, if the model failed the job", () =>
    fails(Job.Failed({ job, info: { error: "out of memory" } }), "JobFailed", "out of memory"))

  it.effect("is an error of its own, if no retry was left", () =>
    fails(Job.Failed({ job, retries: Option.some(3) }), "JobRetriesExhausted", "4 lost attempts"))

  it.effect("is an error, if the job was canceled", () => fails(Job.Canceled({ job }), "JobCanceled", "canceled"))
})

describe("an unknown state", () => {
  const paused = Job.Unrecognized({ job, status: "paused" })

  it.effect("is skipped at the pace of the cadence, if it is to be ignored", () =>
    Effect.gen(function*() {
      const options = { cadence: Schedule.spaced("1 second"), unrecognized: "ignore" as const }
      const started = yield* Clock.currentTimeMillis
      assert.deepStrictEqual(
        yield* inTime(Effect.zip(
          briefly(job, options),
          Effect.map(Clock.currentTimeMillis, (now) => now - started)
        )),
        [["Queued 0", "Claimed 1 inferred", "Completed 1"], 3_000]
      )
      assert.strictEqual(yield* Effect.flatten(Asked), 4)
    }).pipe(Effect.provide(answering(paused, Job.Pending({ job }), paused, Job.Done({ job })))))

  it.effect("is the end of the job, if the option says so", () =>
    Effect.gen(function*() {
      const options = { ...everySecond, unrecognized: "end" as const }
      assert.deepStrictEqual(yield* inTime(briefly(job, options)), ["Queued 0 inferred", "Claimed 1", "Unrecognized 1"])
      assert.strictEqual(yield* Effect.flatten(Asked), 2)
    }).pipe(Effect.provide(answering(Job.Running({ job }), paused))))

  it.effect("is never a result", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(inTime(JobStream.result(job, { unrecognized: "end" })))
      assert(error._tag === "UnrecognizedStatus")
      assert.strictEqual(error.status, "paused")
    }).pipe(Effect.provide(answering(Job.Running({ job }), paused))))
})

describe("a stale snapshot", () => {
  it.effect("adds no transition, and is counted", () =>
    Effect.gen(function*() {
      const counter = Metric.tagged(Metrics.stale, "model", job.model)
      const before = (yield* Metric.value(counter)).count
      assert.deepStrictEqual(yield* inTime(briefly(job)), ["Queued 0 inferred", "Claimed 1", "Completed 1"])
      assert.strictEqual((yield* Metric.value(counter)).count - before, 2)
    }).pipe(Effect.provide(answering(
      Job.Running({ job, retries: Option.some(0) }),
      Job.Pending({ job, retries: Option.some(0) }),
      Job.Pending({ job, retries: Option.some(0) }),
      Job.Done({ job })
    ))))

  it.effect("is counted by fromStatuses; a snapshot without news is not", () =>
    Effect.gen(function*() {
      const counter = Metric.tagged(Metrics.stale, "model", job.model)
      const before = (yield* Metric.value(counter)).count
      const running = Job.Running({ job, retries: Option.some(0) })
      const pending = Job.Pending({ job, retries: Option.some(0) })
      const reported = yield* Stream.runCollect(
        Stream.map(JobStream.fromStatuses(Stream.make(running, running, pending, running, Job.Done({ job }))), brief)
      )
      assert.deepStrictEqual(Chunk.toReadonlyArray(reported), ["Queued 0 inferred", "Claimed 1", "Completed 1"])
      assert.strictEqual((yield* Metric.value(counter)).count - before, 1)
    }))
})

describe("fromStatuses", () => {
  it.effect("loses no transition if a consumer drops snapshots", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const life = yield* inTime(
        JobStream.statuses(job, everySecond).pipe(
          Stream.buffer({ capacity: 2, strategy: "sliding" }),
          JobStream.fromStatuses,
          Stream.mapEffect((transition) => Effect.delay(Effect.succeed(brief(transition)), "40 seconds")),
          Stream.runCollect
        )
      )
      assert.deepStrictEqual(
        Chunk.toReadonlyArray(life).map((step) => step.replace(" inferred", "")).filter((step) =>
          !step.startsWith("Progressed")
        ),
        ["Queued 0", "Claimed 1", "Requeued 1", "Claimed 2", "Requeued 2", "Claimed 3", "Completed 3"]
      )
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: {
        claimTimeout: "10 seconds",
        script: Worker.attempts([Worker.progress("1 second", 0.1)], [], [Worker.finish("1 second")])
      }
    }))))
})

describe("watchAll", () => {
  /** The jobs, each with the cursor of its last transition, as a program reads it after a restart. */
  const known = (jobs: ReadonlyArray<Job.JobRef>, seen: ReadonlyArray<Transition.Transition>) =>
    jobs.map((job): JobStream.Known | Job.JobRef => {
      const last = seen.filter((transition) => transition.job.requestId === job.requestId).at(-1)
      return last === undefined
        ? job
        : { job, from: Either.getOrThrow(Transition.parseCursor(Transition.formatCursor(last.cursor))) }
    })

  it("law: cut at any points and continued from the last cursors, it has no gap and no repeat", async () => {
    const { met, note } = tally()
    const part = FastCheck.record({
      elements: FastCheck.nat({ max: 8 }),
      pause: FastCheck.nat({ max: 20_000 }),
      isRestart: FastCheck.boolean()
    })
    await FastCheck.assert(
      FastCheck.asyncProperty(
        Arbitraries.pool,
        passingFaults,
        FastCheck.array(part, { maxLength: 4 }),
        async (workers, faults, parts) => {
          const program = Effect.gen(function*() {
            const jobs = yield* Effect.replicateEffect(submit, 3)
            const seen: Array<Transition.Transition> = []
            const watch = (elements: number) =>
              JobStream.watchAll(Stream.fromIterable(known(jobs, seen)), everySecond).pipe(
                Stream.take(elements),
                Stream.runForEach((step) =>
                  Effect.sync(() => {
                    assert(step._tag !== "WatchFailed")
                    seen.push(step)
                  })
                )
              )
            for (const { elements, isRestart, pause } of parts) {
              yield* isRestart ? Effect.provide(watch(elements), JobWatcher.layer()) : watch(elements)
              yield* Effect.sleep(pause)
            }
            const isEnded = known(jobs, seen).map((job) => "job" in job && job.from?.phase === "Ended")
            note(isEnded.every((ended) => ended) ? "all ended" : isEnded.includes(true) ? "some ended" : "none ended")
            if (seen.length > 0) note("cut")
            yield* watch(Number.MAX_SAFE_INTEGER)
            for (const job of jobs) {
              const own = seen.filter((transition) => transition.job.requestId === job.requestId)
              yield* TestJobQueue.expectMatchesHistory(job, own)
              const cursors = own.map(({ cursor }) => Transition.formatCursor(cursor))
              assert.isFalse(cursors.some((cursor, i) => cursor === cursors[i - 1]), cursors.join("\n"))
            }
          })
          await program.pipe(inQueue({ workers, faults }), Effect.runPromise)
        }
      ),
      { numRuns: runs(40, 80) }
    )
    met("cut", "none ended", "some ended", "all ended")
  })

  it.effect("reports a cursor of another job as WatchFailed, and continues with the other jobs", () =>
    Effect.gen(function*() {
      const [first, second] = yield* Effect.all([submit, submit])
      const queued = Option.getOrThrow(yield* inTime(Stream.runHead(JobStream.transitions(first))))
      const steps = yield* inTime(Stream.runCollect(JobStream.watchAll(
        Stream.make({ job: second, from: queued.cursor }, { job: first, from: queued.cursor }),
        everySecond
      )))
      const [failed, ...rest] = Array.from(steps)
      assert(failed?._tag === "WatchFailed" && failed.error._tag === "JobMismatch")
      assert.deepStrictEqual([failed.job, failed.error.job], [second, second])
      assert.deepStrictEqual(rest.map(({ _tag, job }) => [_tag, job]), [["Claimed", first], ["Completed", first]])
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: { workers: 2, pickup: "2 seconds", script: Worker.always(Worker.finish("5 seconds")) }
    }))))

  it.effect("ends in a finalizer as well, by its jobs or by its consumer", () =>
    Effect.gen(function*() {
      const job = yield* submit
      for (const jobs of [Stream.make(job), Stream.concat(Stream.make(job), Stream.never)]) {
        const steps = Stream.runDrain(Stream.takeUntil(JobStream.watchAll(jobs), ({ _tag }) => _tag === "Completed"))
        yield* Effect.scoped(Effect.addFinalizer(() => steps))
      }
    }).pipe(
      inTime,
      Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("1 second")) } }))
    ))

  it.effect("leaves the jobs the scope of the program, which outlasts the stream", () =>
    Effect.gen(function*() {
      const open = yield* Ref.make(0)
      const owned = Effect.acquireRelease(submit, () => Ref.update(open, (n) => n - 1))
      const jobs = Stream.repeatEffect(Effect.zipLeft(owned, Ref.update(open, (n) => n + 1)))
      yield* Stream.runDrain(Stream.take(JobStream.watchAll(Stream.take(jobs, 3)), 3))
      assert.strictEqual(yield* Ref.get(open), 3)
    }).pipe(Effect.scoped, inTime, Effect.provide(TestJobQueue.layer())))

  it.effect("sends no request for a cursor at the end, and takes a job that is watched already once", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const last = Option.getOrThrow(yield* inTime(Stream.runLast(JobStream.transitions(job))))
      const polls = (yield* pollTimes).length
      const ended = { job, from: last.cursor }
      assert.deepStrictEqual(Array.from(yield* Stream.runCollect(JobStream.watchAll(Stream.make(ended, ended)))), [])
      assert.strictEqual((yield* pollTimes).length, polls)
      const next = yield* submit
      const steps = yield* inTime(Stream.runCollect(JobStream.watchAll(Stream.make(next, { job: next }))))
      assert.deepStrictEqual(Array.from(steps, ({ _tag }) => _tag), ["Queued", "Claimed", "Completed"])
    }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("1 second")) } }))))
})

describe("over HTTP", () => {
  const OnEmulator = watched(Layer.effect(
    JobQueue.JobQueue,
    Effect.flatMap(Emulator.Emulator, ({ baseUrl }) => JobQueue.make({ baseUrl, apiKey: Redacted.make("test") }))
  )).pipe(
    Layer.provideMerge(
      Emulator.layer({ workers: { script: Worker.always(Worker.finish("300 millis", { answer: 42 })) } })
    ),
    Layer.provide(NodeHttpClient.layerUndici)
  )

  it.live("returns the result", () =>
    Effect.gen(function*() {
      const job = yield* submit
      assert.deepStrictEqual(yield* JobStream.result(job, { cadence: Schedule.spaced("50 millis") }), { answer: 42 })
    }).pipe(Effect.provide(OnEmulator)))

  it.live("sends no request after an interruption", () =>
    Effect.gen(function*() {
      const { requests } = yield* Emulator.Emulator
      const job = yield* submit
      const seen = yield* Deferred.make<void>()
      const fiber = yield* Effect.fork(
        Stream.runForEach(
          JobStream.statuses(job, { cadence: Schedule.spaced("10 millis") }),
          () => Deferred.succeed(seen, undefined)
        )
      )
      yield* Deferred.await(seen)
      const exit = yield* Fiber.interrupt(fiber)
      assert(Exit.isFailure(exit) && Cause.isInterruptedOnly(exit.cause))
      const before = (yield* requests).length
      yield* Effect.sleep("200 millis")
      assert.strictEqual((yield* requests).length, before)
      assert(Either.isRight(yield* Effect.either(JobQueue.status(job))))
    }).pipe(Effect.provide(OnEmulator)))
})

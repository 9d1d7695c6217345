import { assert, describe, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestContext from "effect/TestContext"
import type { QueueError } from "../../src/index.js"
import { Deadline, Job, JobStream, Transition } from "../../src/index.js"
import * as Metrics from "../../src/watch/internal/metrics.js"
import type { Answer } from "../fixtures/answeringQueue.js"
import { endWithin, makeQueue } from "../fixtures/answeringQueue.js"
import { job } from "../fixtures/job.js"
import { tally } from "../fixtures/tally.js"

const pending = (retries: Option.Option<number>, info: Job.JsonObject = {}) => Job.Pending({ job, retries, info })
const running = (retries: Option.Option<number>, fields: { info?: Job.JsonObject; claimedAt?: number } = {}) =>
  Job.Running({
    job,
    retries,
    info: fields.info ?? {},
    claimedAt: Option.map(Option.fromNullable(fields.claimedAt), (millis) => DateTime.unsafeMake(millis))
  })
const paused = Job.Unrecognized({ job, status: "paused" })
const none = Option.none()
const some = Option.some

const everySecond = { cadence: Schedule.spaced("1 second") }
const options = {
  ...everySecond,
  deadline: Deadline.min(Deadline.stalled("9500 millis"), Deadline.pending("9500 millis"))
}

/** How a watch ends, and when, if each second has one response. */
const ending = (answers: (second: number) => Job.JobStatus, more: JobStream.TransitionsOptions = {}) =>
  Effect.gen(function*() {
    const queue = yield* makeQueue({ status: ({ at }) => Effect.sync(() => answers(at / 1_000)) })
    const drained = Stream.runDrain(JobStream.transitions(job, { ...options, ...more }))
    return yield* Effect.provide(endWithin(drained, "60 seconds"), queue.layer)
  })

const expires = (
  tag: QueueError.DeadlineError["_tag"],
  seconds: number,
  answers: (second: number) => Job.JobStatus,
  more: JobStream.TransitionsOptions = {}
) =>
  Effect.gen(function*() {
    const { at, end } = yield* ending(answers, more)
    assert(Either.isLeft(end) && end.left._tag === tag, String(end))
    assert.strictEqual(at, seconds * 1_000)
    return end.left as QueueError.DeadlineError
  })

describe("a deadline restarts only with a transition", () => {
  it.effect("a pending snapshot of a lagging replica in each third response does not restart it", () =>
    expires("Stalled", 9.5, (second) => second % 3 === 2 ? pending(some(0)) : running(some(0))))

  it.effect("a running snapshot of a lost attempt, or old progress of a lost claim, does not restart it", () =>
    Effect.gen(function*() {
      yield* expires("PendingTooLong", 9.5, (second) => second % 3 === 2 ? running(some(0)) : pending(some(1)))
      yield* expires("Stalled", 9.5, (second) =>
        second % 3 === 2
          ? running(none, { claimedAt: 1_000, info: { progress: second } })
          : running(none, { claimedAt: 2_000 }))
    }))

  it.effect("an unknown state that is ignored does not restart it", () =>
    Effect.gen(function*() {
      const ignore = { unrecognized: "ignore" } as const
      yield* expires("Stalled", 9.5, (second) => second % 3 === 2 ? paused : running(some(0)), ignore)
      yield* expires("PendingTooLong", 9.5, (second) => second % 3 === 2 ? paused : pending(some(0)), ignore)
      // nothing is known of the job before its first known state
      yield* expires("PendingTooLong", 15.5, (second) => second < 6 ? paused : pending(some(0)), ignore)
    }))

  it.effect("retries that only some responses have do not restart it, and the known attempt is kept", () =>
    Effect.gen(function*() {
      const stalled = yield* expires("Stalled", 9.5, (second) => running(second % 2 === 0 ? some(2) : none))
      assert.strictEqual(stalled.lastSeen?.attempt, 3)
      const tooLong = yield* expires("PendingTooLong", 9.5, (second) => pending(second % 2 === 0 ? some(2) : none))
      assert.strictEqual(tooLong.lastSeen?.attempt, 2)
    }))

  it.effect("info that changes in the queue does not restart it", () =>
    expires("PendingTooLong", 9.5, (second) => pending(some(0), { position: second })))

  it.effect("a new attempt, a new claim that only its time shows, and progress restart it", () =>
    Effect.gen(function*() {
      yield* expires("Stalled", 14.5, (second) => running(some(second < 5 ? 0 : 1)))
      const claimed = yield* expires(
        "Stalled",
        14.5,
        (second) => running(none, { claimedAt: second < 5 ? 1_000 : 6_000 })
      )
      assert.strictEqual(claimed.lastSeen?.attempt, 2)
      yield* expires("Stalled", 14.5, (second) => running(some(0), { info: { progress: second < 5 ? 0.1 : 0.2 } }))
      yield* expires("PendingTooLong", 14.5, (second) => pending(some(second < 5 ? 0 : 1)))
      yield* expires("PendingTooLong", 14.5, (second) => second < 5 ? running(some(0)) : pending(some(1)))
    }))

  it.effect("a watch that resumes from a cursor has the state of the cursor", () =>
    Effect.gen(function*() {
      const from = Either.getOrThrow(
        Transition.derive(Option.none(), running(some(0)), { observedAt: DateTime.unsafeMake(0) })
      ).cursor
      // this replica always lags
      const error = yield* expires("Stalled", 9.5, () => pending(some(0)), { from })
      assert.isUndefined(error.lastSeen)
      yield* expires("Stalled", 12.5, (second) => second < 3 ? pending(some(0)) : running(some(1)), { from })
    }))

  it.effect("of two deadlines that pass together the total one is reported", () =>
    Effect.gen(function*() {
      const both = (pending: number) => ({
        deadline: Deadline.min(Deadline.pending(pending), Deadline.total("8500 millis"))
      })
      yield* expires("WatchTimeout", 8.5, () => pending(some(0)), both(8_500))
      yield* expires("PendingTooLong", 8.499, () => pending(some(0)), both(8_499))
    }))

  it("law: for any responses, a deadline passes its duration after the last transition", async () => {
    const { met, note } = tally()
    const snapshot = FastCheck.oneof(
      { weight: 3, arbitrary: FastCheck.constant<Job.JobStatus>(pending(some(0))) },
      FastCheck.record({
        isPending: FastCheck.boolean(),
        retries: FastCheck.constantFrom(none, some(0), some(1), some(2)),
        claimedAt: FastCheck.constantFrom(undefined, 1_000, 2_000),
        progress: FastCheck.constantFrom(undefined, 0.1)
      }).map(({ claimedAt, isPending, progress, retries }) => {
        const info = progress === undefined ? {} : { progress }
        return isPending
          ? pending(retries, info)
          : running(retries, { info, ...(claimedAt !== undefined && { claimedAt }) })
      }),
      FastCheck.constant<Job.JobStatus>(paused)
    )
    const millis = FastCheck.integer({ min: 1, max: 12 }).map((seconds) => seconds * 1_000 + 500)
    await FastCheck.assert(
      FastCheck.asyncProperty(
        FastCheck.array(snapshot, { minLength: 1, maxLength: 30 }),
        millis,
        millis,
        (answers, pendingFor, stalledFor) =>
          Effect.gen(function*() {
            const queue = yield* makeQueue({
              status: ({ nth }) => Effect.succeed(answers[Math.min(nth, answers.length) - 1]!)
            })
            const clock = yield* Effect.clock
            const start = clock.unsafeCurrentTimeMillis()
            let last: Transition.Transition | undefined
            const deadline = Deadline.min(Deadline.pending(pendingFor), Deadline.stalled(stalledFor))
            const watching = Stream.runForEach(
              JobStream.transitions(job, { ...everySecond, deadline, unrecognized: "ignore" }),
              (transition) => Effect.sync(() => last = transition)
            )
            const { at, end } = yield* Effect.provide(
              endWithin(Effect.timeout(watching, "50 seconds"), "60 seconds"),
              queue.layer
            )
            assert(Either.isLeft(end))
            note(last === undefined ? "never seen" : end.left._tag)
            if (last === undefined) return
            const isPending = last.cursor.phase === "Queued"
            assert.strictEqual(end.left._tag, isPending ? "PendingTooLong" : "Stalled")
            assert.strictEqual(at, last.observedAt.epochMillis - start + (isPending ? pendingFor : stalledFor))
          }).pipe(Effect.provide(TestContext.TestContext), Effect.runPromise)
      ),
      { numRuns: 25, examples: [[[paused], 1_500, 1_500]] }
    )
    met("PendingTooLong", "Stalled", "never seen")
  }, 300_000)
})

describe("an unknown state that ends the job", () => {
  const end = { unrecognized: "end" } as const
  const last = (retries: Option.Option<number>) => Job.Unrecognized({ job, status: "paused", retries })

  for (const retries of [none, some(0), some(1), some(2)]) {
    const name = Option.match(retries, { onNone: () => "no retries", onSome: (n) => `${n} retries` })

    it.effect(`is reported, and is no result, with ${name} where 1 was known`, () =>
      Effect.gen(function*() {
        for (const known of [pending(some(1)), running(some(1))]) {
          const answers = yield* makeQueue({ status: ({ nth }) => Effect.succeed(nth === 1 ? known : last(retries)) })
          const reported = Stream.runLast(JobStream.transitions(job, { ...options, ...end }))
          const { end: transition } = yield* Effect.provide(endWithin(reported, "60 seconds"), answers.layer)
          assert(Either.isRight(transition) && Option.isSome(transition.right))
          assert.strictEqual(transition.right.value._tag, "Unrecognized")

          const again = yield* makeQueue({ status: ({ nth }) => Effect.succeed(nth === 1 ? known : last(retries)) })
          const result = JobStream.result(job, { ...options, ...end })
          const { end: error } = yield* Effect.provide(endWithin(result, "60 seconds"), again.layer)
          assert(Either.isLeft(error) && error.left._tag === "UnrecognizedStatus")
        }
      }))
  }
})

describe("a response about another job", () => {
  const others = {
    "another id": Job.Done({ job: Job.ref(job.model, "other") }),
    "another model": Job.Done({ job: Job.ref("my-org/other", job.requestId) })
  }
  const done = Job.Done({ job, outputs: { answer: 42 } })

  for (const [name, other] of Object.entries(others)) {
    it.effect(`${name} is retried`, () =>
      Effect.gen(function*() {
        const queue = yield* makeQueue({ status: ({ at }) => Effect.succeed(at < 60_000 ? other : done) })
        const { end } = yield* Effect.provide(endWithin(JobStream.result(job), "10 minutes"), queue.layer)
        assert(Either.isRight(end), String(end))
        assert.deepStrictEqual(end.right, { answer: 42 })
      }))

    it.effect(`${name} ends the watch as an outage would`, () =>
      Effect.gen(function*() {
        const queue = yield* makeQueue({
          status: ({ nth }): Answer => Effect.succeed(nth === 1 ? running(some(2)) : other)
        })
        const { end } = yield* Effect.provide(endWithin(JobStream.result(job), "10 minutes"), queue.layer)
        assert(Either.isLeft(end) && end.left._tag === "UnexpectedResponse", String(end))
        assert.deepStrictEqual(end.left.job, job)
        assert.include(end.left.message, Job.format(other.job))
        assert.strictEqual(end.left.lastSeen?.attempt, 3)
        assert.strictEqual(queue.polls().length, 1 + 9)
      }))
  }
})

describe("stale snapshots", () => {
  it.effect("are counted; quiet polls are not", () =>
    Effect.gen(function*() {
      const counter = Metric.tagged(Metrics.stale, "model", job.model)
      const before = (yield* Metric.value(counter)).count
      const { end } = yield* ending((second) => second === 4 ? pending(some(0)) : running(some(0)))
      assert(Either.isLeft(end))
      assert.strictEqual((yield* Metric.value(counter)).count - before, 1)
    }))

  it.effect("are counted; snapshots that differ, and show no transition, are not", () =>
    Effect.gen(function*() {
      const counter = Metric.tagged(Metrics.stale, "model", job.model)
      const before = (yield* Metric.value(counter)).count
      const { end } = yield* ending((second) =>
        second === 4 ? running(some(0)) : pending(some(1), { position: second })
      )
      assert(Either.isLeft(end))
      assert.strictEqual((yield* Metric.value(counter)).count - before, 1)
    }))
})

describe("lastSeen", () => {
  it.effect("has the age of the last snapshot that was not stale", () =>
    Effect.gen(function*() {
      const queue = yield* makeQueue({
        status: ({ nth }) => Effect.succeed(nth <= 3 ? running(some(1)) : pending(some(0)))
      })
      const { end } = yield* Effect.provide(endWithin(JobStream.result(job, options), "60 seconds"), queue.layer)
      assert(Either.isLeft(end) && end.left._tag === "Stalled", String(end))
      assert.strictEqual(end.left.lastSeen?.status._tag, "Running")
      assert.strictEqual(Duration.toMillis(end.left.lastSeen?.age ?? 0), 7_500)
    }))
})

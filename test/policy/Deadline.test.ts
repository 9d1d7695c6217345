import { assert, describe, it } from "@effect/vitest"
import { assertSome } from "@effect/vitest/utils"
import {
  Chunk,
  Clock,
  DateTime,
  Duration,
  Effect,
  Either,
  Exit,
  Fiber,
  Layer,
  Option,
  pipe,
  Ref,
  Schedule,
  Schema,
  Stream,
  TestClock
} from "effect"
import { Cadence, Deadline, Job, JobQueue, JobStream, QueueError, WatchPolicy } from "effect-queue-status"
import { Fault, TestJobQueue, Worker } from "effect-queue-status/testing"
import * as FastCheck from "effect/FastCheck"
import { minPause } from "../../src/policy/internal/pauses.js"
import { endWithin, makeQueue } from "../fixtures/answeringQueue.js"
import { job, model } from "../fixtures/job.js"
import { watched } from "../fixtures/watched.js"
import { everySecond, inTime, pollTimes, submit } from "../fixtures/watching.js"

const unavailable = new QueueError.Unavailable({ operation: "status", model, job, httpStatus: 503 })

/** How a watch ended, and when, in virtual time from its beginning. */
const ending = <A, E, R>(watch: Stream.Stream<A, E, R>, time: Duration.DurationInput = "40 days") =>
  Effect.gen(function*() {
    const start = yield* Clock.currentTimeMillis
    const end = Effect.either(Stream.runLast(watch))
    return yield* inTime(Effect.zip(end, Effect.map(Clock.currentTimeMillis, (now) => now - start)), time)
  })

const expires = <E extends { readonly _tag: string }, Tag extends E["_tag"], A, R>(
  watch: Stream.Stream<A, E, R>,
  tag: Tag,
  at: number
) =>
  Effect.gen(function*() {
    const [end, when] = yield* ending(watch)
    assert(Either.isLeft(end), "ended well")
    const error: E = end.left
    assert.strictEqual(error._tag, tag)
    assert.strictEqual(when, at)
    return error as Extract<E, { readonly _tag: Tag }>
  })

const calls = Effect.flatMap(TestJobQueue.TestJobQueue, ({ calls }) => calls)

describe("the clocks of a watch", () => {
  it.effect("request: a request that hangs times out, with the last snapshot in the error", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const error = yield* expires(
        JobStream.transitions(job, {
          ...everySecond,
          retry: Schedule.recurs(1),
          deadline: Deadline.request("3 seconds")
        }),
        "ResponseTimeout",
        2_000 + 3_000 + 50 + 3_000
      )
      assert.deepStrictEqual(error.job, job)
      assert.strictEqual(error.lastSeen?.status._tag, "Running")
      assert.deepStrictEqual(error.lastSeen?.age, Duration.millis(1_000 + 3_000 + 50 + 3_000))
      assert.strictEqual(error.lastSeen?.attempt, 1)
      assert.include(error.message, "no whole answer within 3s (last seen running 7s 50ms ago)")
      assert.strictEqual(error.previousError, `status ${Job.format(job)}: no whole answer within 3s`)
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        workers: { script: Worker.always(Worker.finish("1 hour")) },
        faults: [Fault.noResponse.pipe(Fault.on("status"), Fault.nth(3, Infinity))]
      }))
    ))

  it.effect("pending: a job that no worker claims", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const deadline = Deadline.pending("90500 millis")
      const error = yield* expires(
        JobStream.transitions(job, { ...everySecond, deadline }),
        "PendingTooLong",
        90_500
      )
      assert.deepStrictEqual(error.job, job)
      assert.strictEqual(error.lastSeen?.status._tag, "Pending")
      assert.deepStrictEqual(error.lastSeen?.age, Duration.millis(500))
      assert.strictEqual(error.lastSeen?.attempt, 0)
      assert.isUndefined(error.lastError)
      assert.include(error.message, "no worker has claimed the job for 1m 30s 500ms")
      assert.include(error.message, job.requestId)
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("pending: restarts each time the job returns to the queue", () =>
    Effect.gen(function*() {
      const job = yield* submit
      // claimed after 8 s, lost after 18 s, claimed after 26 s, and so on
      const deadline = Deadline.pending("10 seconds")
      const [end] = yield* ending(JobStream.transitions(job, { ...everySecond, deadline }))
      assert(Either.isRight(end))
      assert.strictEqual(Option.getOrThrow(end.right)._tag, "RetriesExhausted")
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        workers: { pickup: "8 seconds", claimTimeout: "10 seconds", script: Worker.always() }
      }))
    ))

  it.effect("stalled: a running job without changes", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const deadline = Deadline.stalled("30 seconds")
      const error = yield* expires(JobStream.transitions(job, { ...everySecond, deadline }), "Stalled", 50_000)
      assert.strictEqual(error.lastSeen?.status._tag, "Running")
      assert.deepStrictEqual(error.lastSeen?.status.info, { progress: 0.2 })
      assert.strictEqual(error.lastSeen?.attempt, 1)
      assert.include(error.message, "nothing has changed for 30s")
    }).pipe(Effect.provide(TestJobQueue.layer({
      workers: {
        script: Worker.always(
          Worker.progress("10 seconds", 0.1),
          Worker.progress("10 seconds", 0.2),
          Worker.heartbeat("20 seconds"),
          Worker.heartbeat("1 minute")
        )
      }
    }))))

  it.effect("total: a job that progresses", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const error = yield* expires(
        JobStream.statuses(job, { ...everySecond, deadline: Deadline.total("10500 millis") }),
        "WatchTimeout",
        10_500
      )
      assert.include(error.message, "has not ended within 10s 500ms")
      assert.isTrue((yield* calls).every(({ at }) => at <= 10_500))
    }).pipe(
      Effect.provide(TestJobQueue.layer({ workers: { script: () => Array.from({ length: 100 }, () => tick) } }))
    ))

  const tick = Worker.progress("1 second", 0.5)

  it.effect("total: ends a watch and its polls after 24 hours by default", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const cadence = Schedule.spaced("1 hour")
      const day = Duration.toMillis("24 hours")
      yield* expires(JobStream.transitions(job, { cadence }), "WatchTimeout", day)
      const before = (yield* calls).length
      yield* TestClock.adjust("2 days")
      assert.strictEqual((yield* calls).length, before)
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("passes while uninterruptible requests hang, after one more request timeout", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const error = yield* expires(
        JobStream.transitions(job, { deadline: Deadline.total("7 seconds") }),
        "WatchTimeout",
        7_000 + 30_000
      )
      assert.isUndefined(error.lastSeen)
      assert.strictEqual(error.lastError?._tag, "ResponseTimeout")
      assert.include(error.message, "never seen")
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        faults: [Fault.blockedUntil(Effect.uninterruptible(Effect.sleep("1 hour"))).pipe(Fault.on("status"))]
      }))
    ))

  it.effect("at the time of a poll passes before the poll", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* expires(
        JobStream.transitions(job, { ...everySecond, deadline: Deadline.total("3 seconds") }),
        "WatchTimeout",
        3_000
      )
      yield* TestJobQueue.expectPolls(job, ["0 millis", "1 second", "2 seconds"])
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("in trouble is reported after one more poll, which does not wait for the retry", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const error = yield* expires(
        JobStream.transitions(job, {
          ...everySecond,
          retry: Schedule.spaced("10 seconds"),
          deadline: Deadline.total("3 seconds")
        }),
        "WatchTimeout",
        3_000
      )
      assert.strictEqual(error.lastError?._tag, "Unavailable")
      assert.deepStrictEqual(error.lastSeen?.age, Duration.seconds(3))
      yield* TestJobQueue.expectPolls(job, ["0 millis", "1 second", "3 seconds"])
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        faults: [Fault.unavailable().pipe(Fault.on("status"), Fault.nth(2, Infinity))]
      }))
    ))

  it.effect("passes on time during a Retry-After, and has the error of the service", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const error = yield* expires(
        JobStream.transitions(job, { ...everySecond, deadline: Deadline.total("20 seconds") }),
        "WatchTimeout",
        20_000
      )
      assert.strictEqual(error.lastError?._tag, "RateLimited")
      assert.deepStrictEqual(error.lastSeen?.age, Duration.seconds(18))
      assert.include(error.message, "last trouble: status my-org/video-generator")
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        faults: [Fault.rateLimited("1 hour").pipe(Fault.on("status"), Fault.nth(4, Infinity))]
      }))
    ))

  it.effect("may be shorter than one request, and is followed by no more than one", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const deadline = Deadline.min(Deadline.request("10 seconds"), Deadline.total("3 seconds"))
      yield* expires(JobStream.transitions(job, { deadline }), "WatchTimeout", 3_000 + 10_000)
    }).pipe(
      Effect.provide(watched(Layer.mock(JobQueue.JobQueue, {
        submit: () => Effect.succeed(Job.ref("m", "1")),
        status: () => Effect.never
      })))
    ))

  it.effect("of zero or invalid time passes at once; an infinite one never", () =>
    Effect.gen(function*() {
      const job = yield* submit
      for (const none of [0, -1, Number.NaN]) {
        yield* expires(JobStream.transitions(job, { deadline: Deadline.total(none) }), "WatchTimeout", 0)
      }
      const fiber = yield* Effect.fork(
        Stream.runDrain(JobStream.transitions(job, { deadline: Deadline.none, cadence: Schedule.spaced("20 hours") }))
      )
      yield* TestClock.adjust("100 days")
      assert(Option.isNone(yield* Fiber.poll(fiber)))
      assert(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("longer than the maximum of a timer passes on time", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const thirty = Duration.toMillis("30 days")
      yield* expires(
        JobStream.transitions(job, { deadline: Deadline.total("30 days"), cadence: Schedule.spaced("20 hours") }),
        "WatchTimeout",
        thirty
      )
    }).pipe(Effect.provide(TestJobQueue.layer())))
})

describe("on expiry", () => {
  const watchOf = (job: Job.JobRef, deadline: Deadline.Deadline) =>
    JobStream.transitions(job, { ...everySecond, deadline })

  it.effect("the job is not canceled", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const error = yield* expires(watchOf(job, Deadline.pending("5 seconds")), "PendingTooLong", 5_000)
      assert.isUndefined(error.cancel)
      assert.strictEqual((yield* JobQueue.status(job))._tag, "Pending")
      assert.isFalse((yield* calls).some(({ operation }) => operation === "cancel"))
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("a pending job is canceled with `cancelPending`", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const deadline = Deadline.cancelPending(Deadline.pending("5 seconds"))
      const error = yield* expires(watchOf(job, deadline), "PendingTooLong", 5_000)
      assert.strictEqual(error.cancel?._tag, "Canceled")
      assert.include(error.message, "cancel: canceled")
      assert.strictEqual((yield* JobQueue.status(job))._tag, "Canceled")
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.effect("a job that was never seen may be pending, and is canceled with `cancelPending`", () =>
    Effect.gen(function*() {
      const queue = yield* makeQueue({
        status: () => Effect.fail(unavailable),
        cancel: () => Effect.succeed(JobQueue.CancelResult.Canceled())
      })
      const { end } = yield* endWithin(
        JobStream.result(job, {
          ...everySecond,
          retry: Schedule.spaced("1 second"),
          deadline: Deadline.cancelPending(Deadline.total("5 seconds"))
        }),
        "10 seconds"
      ).pipe(Effect.provide(queue.layer))
      assert(Either.isLeft(end) && end.left._tag === "WatchTimeout", String(end))
      assert.isUndefined(end.left.lastSeen)
      assert.strictEqual(end.left.cancel?._tag, "Canceled")
      assert.deepStrictEqual(queue.requests().slice(-2).map(({ operation }) => operation), ["status", "cancel"])
    }))

  it.effect("no cancel is sent for a running job", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const deadline = Deadline.cancelPending(Deadline.total("5 seconds"))
      const error = yield* expires(watchOf(job, deadline), "WatchTimeout", 5_000)
      assert.isUndefined(error.cancel)
      assert.isFalse((yield* calls).some(({ operation }) => operation === "cancel"))
    }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("1 hour")) } }))))

  it.effect("a job that was claimed in the meantime continues, and the error reports that", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const deadline = Deadline.cancelPending(Deadline.pending("5500 millis"))
      const error = yield* expires(watchOf(job, deadline), "PendingTooLong", 5_500)
      assert.deepStrictEqual(error.cancel, { _tag: "NotCanceled", status: "running" })
      assert.include(error.message, "cancel: not canceled, it is running")
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        workers: { pickup: "5200 millis", script: Worker.always(Worker.finish("1 hour")) }
      }))
    ))

  it.effect("a cancel that fails, or has no response, does not hide the deadline", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const deadline = Deadline.cancelPending(
        Deadline.min(Deadline.pending("5 seconds"), Deadline.request("2 seconds"))
      )
      const refused = yield* expires(watchOf(job, deadline), "PendingTooLong", 5_000)
      assert.strictEqual(refused.cancel?._tag, "Unavailable")
      const unanswered = yield* expires(watchOf(job, deadline), "PendingTooLong", 7_000)
      assert.strictEqual(unanswered.cancel?._tag, "ResponseTimeout")
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        faults: [
          Fault.unavailable().pipe(Fault.on("cancel"), Fault.nth(1)),
          Fault.noResponse.pipe(Fault.on("cancel"), Fault.nth(2, Infinity))
        ]
      }))
    ))
})

describe("giving up on a request", () => {
  const deadline = Deadline.cancelPending(
    Deadline.min(Deadline.pending("3500 millis"), Deadline.request("2 seconds"))
  )

  it.effect("interrupts it as soon as the poll is sent again and has a response, and the job is canceled", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const error = yield* expires(JobStream.transitions(job, { ...everySecond, deadline }), "PendingTooLong", 4_500)
      assert.strictEqual(error.cancel?._tag, "Canceled")
      assert.deepStrictEqual((yield* calls).slice(-3).map(({ at, end, operation }) => ({ at, end, operation })), [
        { operation: "status", at: 2_000, end: { at: 3_000, outcome: "interrupted" } },
        { operation: "status", at: 3_000, end: { at: 3_000, outcome: "answered" } },
        { operation: "cancel", at: 3_500, end: { at: 4_500, outcome: "answered" } }
      ])
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        faults: [
          Fault.noResponse.pipe(Fault.on("status"), Fault.nth(3)),
          Fault.delay("1 second").pipe(Fault.on("cancel"))
        ]
      }))
    ))

  it.effect("does not wait for an uninterruptible cancel", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const error = yield* expires(JobStream.transitions(job, { ...everySecond, deadline }), "PendingTooLong", 5_500)
      assert.strictEqual(error.cancel?._tag, "ResponseTimeout")
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        faults: [Fault.blockedUntil(Effect.uninterruptible(Effect.sleep("1 hour"))).pipe(Fault.on("cancel"))]
      }))
    ))
})

describe("a deadline that passes during a request", () => {
  // the second request hangs, and the deadline passes 20 milliseconds after it was sent
  const expiry = (request: Duration.DurationInput) =>
    Effect.gen(function*() {
      const queue = yield* makeQueue({ status: ({ nth }) => nth === 1 ? Effect.fail(unavailable) : Effect.never })
      const deadline = Deadline.min(Deadline.request(request), Deadline.total("1020 millis"))
      const { at, end } = yield* endWithin(
        JobStream.result(job, { retry: Schedule.spaced("1 second"), deadline }),
        "1 minute"
      ).pipe(Effect.provide(queue.layer))
      assert(Either.isLeft(end) && end.left._tag === "WatchTimeout", String(end))
      return { at, lastError: end.left.lastError?._tag }
    })

  it.effect("has the error of that request, whether it ends or is given up", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* expiry("40 millis"), { at: 1_040, lastError: "ResponseTimeout" })
      // the response is awaited for 30 seconds after the deadline at most
      assert.deepStrictEqual(yield* expiry("2 minutes"), { at: 31_020, lastError: "ResponseTimeout" })
    }))
})

describe("a deadline that passes during a Retry-After", () => {
  const refusals = {
    "429": QueueError.RateLimited,
    "503": QueueError.Unavailable
  }
  for (const [httpStatus, Refusal] of Object.entries(refusals)) {
    /** The times of the polls, and of the expiry. */
    const times = (retryAfter: Duration.DurationInput) =>
      Effect.gen(function*() {
        const error = new Refusal({
          operation: "status",
          model,
          job,
          httpStatus: Number(httpStatus),
          retryAfter: Duration.decode(retryAfter)
        })
        const queue = yield* makeQueue({ status: () => Effect.fail(error) })
        const { at, end } = yield* endWithin(
          JobStream.result(job, { deadline: Deadline.total("3 seconds") }),
          "1 hour"
        ).pipe(Effect.provide(queue.layer))
        assert(Either.isLeft(end) && end.left._tag === "WatchTimeout", String(end))
        return { polls: queue.polls(), at }
      })

    it.effect(`is reported after one more poll, at once if none is allowed in time: ${httpStatus}`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual(yield* times("10 seconds"), { polls: [0, 10_000], at: 10_000 })
        // the last poll is awaited for 30 seconds at most
        assert.deepStrictEqual(yield* times("1 minute"), { polls: [0], at: 3_000 })
      }))
  }
})

describe("min", () => {
  const durations = FastCheck.oneof(FastCheck.integer({ min: 0, max: 1e9 }), FastCheck.constant(Infinity)).map(
    Duration.millis
  )
  const deadlines: FastCheck.Arbitrary<Deadline.Deadline> = FastCheck.record({
    request: durations,
    pending: durations,
    stalled: durations,
    total: durations,
    onExpiry: FastCheck.constantFrom("leave" as const, "cancel-pending" as const)
  }).map((parts) => ({ ...Deadline.none, ...parts }))

  it("takes the minimum of each clock, is commutative and associative, and has `none` as its identity", () => {
    FastCheck.assert(
      FastCheck.property(deadlines, deadlines, deadlines, (a, b, c) => {
        const both = Deadline.min(a, b)
        for (const clock of ["request", "pending", "stalled", "total"] as const) {
          assert.strictEqual(
            Duration.toMillis(both[clock]),
            Math.min(Duration.toMillis(a[clock]), Duration.toMillis(b[clock]))
          )
        }
        const plain = ({ onExpiry, pending, request, stalled, total }: Deadline.Deadline) => [
          onExpiry,
          ...[pending, request, stalled, total].map(Duration.toMillis)
        ]
        assert.deepStrictEqual(plain(both), plain(Deadline.min(b, a)))
        assert.deepStrictEqual(plain(Deadline.min(both, c)), plain(Deadline.min(a, Deadline.min(b, c))))
        assert.deepStrictEqual(plain(Deadline.min(a, Deadline.none)), plain(a))
      })
    )
  })
})

describe("the errors", () => {
  it.effect("survive a round trip through JSON", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const deadline = Deadline.pending("5 seconds")
      const error = yield* expires(JobStream.transitions(job, { ...everySecond, deadline }), "PendingTooLong", 5_000)
      const json: unknown = JSON.parse(JSON.stringify(yield* Schema.encode(QueueError.PendingTooLong)(error)))
      const decoded = yield* Schema.decodeUnknown(QueueError.PendingTooLong)(json)
      assert.instanceOf(decoded, QueueError.PendingTooLong)
      assert.strictEqual(decoded.message, error.message)
    }).pipe(Effect.provide(TestJobQueue.layer())))
})

describe("WatchPolicy", () => {
  it.effect("of an app is the default of every watch", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* expires(JobStream.transitions(job), "PendingTooLong", 3_000)
      yield* expires(JobStream.transitions(job, { deadline: Deadline.total("1 second") }), "WatchTimeout", 1_000)
    }).pipe(
      Effect.provide(TestJobQueue.layer()),
      Effect.provideService(
        WatchPolicy.Default,
        pipe(
          WatchPolicy.defaultPolicy,
          WatchPolicy.withCadence(Cadence.fixed("1 second")),
          WatchPolicy.withDeadline(Deadline.pending("3 seconds"))
        )
      )
    ))

  it("is changed part by part", () => {
    const retry = Schedule.recurs(1)
    const cadence = Cadence.fixed("1 second")
    const policy = pipe(
      WatchPolicy.defaultPolicy,
      WatchPolicy.withRetry(retry),
      WatchPolicy.withCadence(cadence),
      WatchPolicy.withDeadline(Deadline.total("1 hour"))
    )
    assert.strictEqual(policy.retry, retry)
    assert.strictEqual(policy.cadence, cadence)
    assert.deepStrictEqual(policy.deadline.total, Duration.hours(1))
    assert.deepStrictEqual(policy.deadline.request, WatchPolicy.defaultPolicy.deadline.request)
    assert.deepStrictEqual(WatchPolicy.withDeadline(policy, Deadline.total("1 day")).deadline.total, Duration.hours(1))
  })
})

describe("events", () => {
  it.effect("report trouble and recovery between the transitions; `transitions` does not", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const seen = yield* Ref.make<ReadonlyArray<string>>([])
      const start = yield* DateTime.now
      const since = (time: DateTime.Utc) => Duration.toSeconds(DateTime.distanceDuration(start, time))
      const [end] = yield* ending(
        JobStream.events(job, { ...everySecond, retry: Schedule.spaced("4 seconds") }).pipe(
          Stream.tap((event) =>
            Ref.update(seen, (all) => [
              ...all,
              event._tag === "Trouble"
                ? `Trouble ${event.error._tag} since ${since(event.since)} next ${since(event.nextTryAt)}`
                : event._tag === "Recovered"
                ? `Recovered since ${since(event.since)}`
                : event._tag
            ])
          )
        )
      )
      assert(Either.isRight(end))
      assert.deepStrictEqual(yield* Ref.get(seen), [
        "Queued",
        "Trouble Unavailable since 2 next 6",
        "Trouble Unavailable since 2 next 10",
        "Recovered since 2",
        "Claimed",
        "Completed"
      ])
      const transitions = yield* Stream.runCollect(JobStream.transitions(job))
      assert.deepStrictEqual(Chunk.toReadonlyArray(transitions).map(({ _tag }) => _tag), [
        "Queued",
        "Claimed",
        "Completed"
      ])
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        workers: { pickup: "5 seconds", script: Worker.always(Worker.finish("10 seconds")) },
        faults: [Fault.unavailable().pipe(Fault.on("status"), Fault.nth(3, 4))]
      }))
    ))
})

describe("a job that is not found", () => {
  it.effect("is retried for some seconds, before it was seen and after", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const error = yield* expires(JobStream.transitions(job, everySecond), "JobNotFound", 8_000)
      assert.deepStrictEqual(error.job, job)
      assert.strictEqual(error.lastSeen?.status._tag, "Pending")
      assert.deepStrictEqual(error.lastSeen?.age, Duration.seconds(6))
      yield* TestJobQueue.expectPolls(job, [
        ...["0 millis", "500 millis"] as const,
        // seen
        ...["1 second", "2 seconds"] as const,
        ...Array.from({ length: 11 }, (_, i) => 3_000 + 500 * i)
      ])
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        faults: [
          Fault.notFound.pipe(Fault.on("status"), Fault.nth(1, 2)),
          Fault.notFound.pipe(Fault.on("status"), Fault.nth(5, Infinity))
        ]
      }))
    ))

  it.effect("loses no transition when it is found again, and is retried for as long the next time", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const [seen, at] = yield* ending(Stream.mapAccum(JobStream.events(job, everySecond), "", (all, { _tag }) => {
        const next = `${all} ${_tag}`.trim()
        return [next, next]
      }))
      assert(Either.isRight(seen))
      const troubles = " Trouble".repeat(10)
      assertSome(seen.right, `Queued${troubles} Recovered Claimed${troubles} Recovered Completed`)
      // one second to the first trouble, which lasts five seconds, and the same again after the claim
      assert.strictEqual(at, 1_000 + 5_000 + 1_000 + 5_000)
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        workers: { pickup: "500 millis", script: Worker.always(Worker.finish("11 seconds")) },
        faults: [
          Fault.notFound.pipe(Fault.on("status"), Fault.nth(2, 11)),
          Fault.notFound.pipe(Fault.on("status"), Fault.nth(13, 22))
        ]
      }))
    ))
})

describe("every composed policy", () => {
  it.effect("keeps a minimum pause between two requests of a watch", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* ending(
        JobStream.transitions(job, {
          cadence: Schedule.forever,
          retry: Schedule.forever,
          deadline: Deadline.total("3 seconds")
        }),
        "10 seconds"
      )
      const times = yield* pollTimes
      assert.isAbove(times.length, 30)
      times.slice(1).forEach((at, i) => assert.isAtLeast(at - times[i]!, Duration.toMillis(minPause)))
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        faults: [Fault.unavailable().pipe(Fault.on("status"), Fault.where(({ nth }) => nth % 3 === 0))]
      }))
    ))

  it.effect("waits for Retry-After, and for a day at most", () =>
    Effect.gen(function*() {
      const job = yield* submit
      yield* ending(
        JobStream.transitions(job, {
          cadence: Schedule.spaced("1 second"),
          retry: Schedule.forever,
          deadline: Deadline.none
        })
      )
      const times = yield* pollTimes
      assert.deepStrictEqual(times.slice(0, 3), [0, 86_400_000, 86_401_000])
    }).pipe(
      Effect.provide(TestJobQueue.layer({
        workers: { pickup: "1 day", script: Worker.always(Worker.finish("5 seconds")) },
        faults: [Fault.rateLimited("365 days").pipe(Fault.on("status"), Fault.nth(1))]
      }))
    ))

  it.effect("makes no pause longer than a day, for any schedule and Retry-After", () =>
    Effect.gen(function*() {
      const rateLimited = new QueueError.RateLimited({
        operation: "status",
        model,
        job,
        httpStatus: 429,
        retryAfter: Duration.days(30)
      })
      const answers = [
        Effect.succeed(Job.Running({ job })),
        Effect.fail(unavailable),
        Effect.fail(rateLimited),
        Effect.succeed(Job.Done({ job }))
      ]
      const queue = yield* makeQueue({ status: ({ nth }) => answers[nth - 1]! })
      const monthly = Schedule.spaced("30 days")
      yield* endWithin(
        JobStream.result(job, { cadence: monthly, retry: monthly, deadline: Deadline.none }),
        "4 days"
      ).pipe(Effect.provide(queue.layer))
      assert.deepStrictEqual(queue.polls(), [0, 1, 2, 3].map((day) => day * Duration.toMillis("1 day")))
    }))
})

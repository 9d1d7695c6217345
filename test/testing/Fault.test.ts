import { assert, describe, it } from "@effect/vitest"
import { assertLeft, assertNone, assertRight, assertSome, deepStrictEqual } from "@effect/vitest/utils"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Supervisor from "effect/Supervisor"
import * as TestClock from "effect/TestClock"
import { Job, JobQueue, QueueError } from "../../src/index.js"
import { Fault, TestJobQueue, VirtualTime, Worker } from "../../src/testing/index.js"
import { TypeId } from "../../src/testing/internal/fault.js"
import { runs } from "../fixtures/runs.js"

/** Injects a fault permanently. */
const afflict = (fault: Fault.Fault) => Effect.asVoid(TestJobQueue.inject(fault))

const model = "my-org/video-generator"

const submit = (name: string = model) => JobQueue.submit({ model: name, payload: {} })

type AnyCall = Effect.Effect<unknown, QueueError.QueueError, JobQueue.JobQueue>

/** Every operation of the queue, on an existing job. */
const operations: { readonly [operation in QueueError.Operation]: (job: Job.JobRef) => AnyCall } = {
  status: JobQueue.status,
  submit: (_: Job.JobRef) => submit(),
  cancel: JobQueue.cancel,
  clear: (job: Job.JobRef) => JobQueue.clear(job.model),
  metrics: (job: Job.JobRef) => JobQueue.metrics(job.model)
}

const all = Object.keys(operations) as ReadonlyArray<QueueError.Operation>

const isAboutOneJob = (operation: QueueError.Operation) => operation === "status" || operation === "cancel"

const changesSomething = (operation: QueueError.Operation) => operation !== "status" && operation !== "metrics"

interface Ended {
  readonly job: Job.JobRef
  readonly answer: Either.Either<unknown, QueueError.QueueError>
  readonly call: TestJobQueue.Call
  /** In milliseconds. */
  readonly took: number
  /** Whether the service has processed the request. */
  readonly arrived: boolean
}

const endOf = (call: TestJobQueue.Call) => {
  assert(call.end !== undefined, "the call is still on its way")
  return call.end
}

/** Makes a call that meets a fault, on a queue with one pending job. */
const meet = (
  operation: QueueError.Operation,
  fault: Fault.Fault
): Effect.Effect<Ended, QueueError.QueueError, JobQueue.JobQueue | TestJobQueue.TestJobQueue> =>
  Effect.gen(function*() {
    const { calls, jobs, transitions } = TestJobQueue
    const job = yield* submit()
    yield* afflict(fault)
    const before = yield* TestClock.currentTimeMillis
    const answer = yield* VirtualTime.run(Effect.either(operations[operation](job)))
    const call = (yield* calls).at(-1)!
    const took = (yield* TestClock.currentTimeMillis) - before
    assert.strictEqual(call.operation, operation)
    assert.strictEqual(endOf(call).at - call.at, took)
    const arrived = (yield* jobs).length === 2 || (yield* transitions(job)).length === 2
    return { job, answer, call, took, arrived }
  })

const encode = Schema.encodeSync(QueueError.QueueError)

/** The error as JSON, without the fields that come from the caller. */
const toJson = (error: QueueError.QueueError) => {
  const { job: _, model, operation: __, ...rest } = encode(error)
  return { ...rest, ...(model !== "my-org/video-generator" && { model }) }
}

interface ErrorJson {
  readonly _tag: QueueError.QueueError["_tag"]
  readonly [field: string]: unknown
}

const rateLimited: ErrorJson = {
  _tag: "RateLimited",
  httpStatus: 429,
  code: "rate_limit_exceeded",
  type: "rate_limit_error",
  detail: "too many requests"
}

const unavailable: ErrorJson = { _tag: "Unavailable", httpStatus: 503, detail: "503 Service unavailable" }

const disconnected: ErrorJson = { _tag: "Unreachable", reason: "read ECONNRESET" }

const requestTimeout: ErrorJson = { _tag: "ResponseTimeout", after: 30_000 }

/** The result of a fault: the error, the duration, and whether the request was processed nevertheless. */
const failures: ReadonlyArray<
  readonly [name: string, fault: Fault.Fault, error: ErrorJson, took: number, arrives: boolean]
> = [
  [
    "a custom response",
    Fault.answer(418, { message: "I am a teapot", code: 7 }, { "x-request-id": "req-1" }),
    {
      _tag: "UnexpectedResponse",
      httpStatus: 418,
      code: "7",
      detail: "I am a teapot",
      httpRequestId: "req-1",
      issue: "the API has no such status code",
      body: `{"message":"I am a teapot","code":7}`
    },
    0,
    false
  ],
  [
    "a custom response, wrapped as by some gateways",
    Fault.answer(400, { error: { code: "bad", type: "invalid_request_error", param: "model", message: "no" } }),
    {
      _tag: "InvalidRequest",
      httpStatus: 400,
      code: "bad",
      type: "invalid_request_error",
      param: "model",
      detail: "no"
    },
    0,
    false
  ],
  ["an answer without a body", Fault.answer(403), { _tag: "AccessDenied", httpStatus: 403 }, 0, false],
  [
    "a response with a text body",
    Fault.answer(503, "come back later"),
    {
      ...unavailable,
      detail: "come back later"
    },
    0,
    false
  ],
  ["rateLimited", Fault.rateLimited(), rateLimited, 0, false],
  [
    "rateLimited for ever, which is a day",
    Fault.rateLimited(Duration.infinity),
    { ...rateLimited, retryAfter: 86_400_000 },
    0,
    false
  ],
  [
    "rateLimited, with a Retry-After in seconds",
    Fault.rateLimited("10 seconds"),
    { ...rateLimited, retryAfter: 10_000 },
    0,
    false
  ],
  [
    "rateLimited, with a Retry-After in milliseconds",
    Fault.rateLimited("1500 millis"),
    { ...rateLimited, retryAfter: 1_500 },
    0,
    false
  ],
  ["unavailable", Fault.unavailable(), unavailable, 0, false],
  [
    "unavailable, with a status",
    Fault.unavailable({ status: 502 }),
    { ...unavailable, httpStatus: 502, detail: "502 Service unavailable" },
    0,
    false
  ],
  [
    "unavailable, with an internal error",
    Fault.unavailable({ status: 500 }),
    {
      ...unavailable,
      httpStatus: 500,
      code: "internal_error",
      type: "server_error",
      detail: "internal error"
    },
    0,
    false
  ],
  [
    "unavailable, with a Retry-After",
    Fault.unavailable({ retryAfter: "2 minutes" }),
    { ...unavailable, retryAfter: 120_000 },
    0,
    false
  ],
  [
    "unauthorized",
    Fault.unauthorized,
    {
      _tag: "AccessDenied",
      httpStatus: 401,
      code: "invalid_api_key",
      type: "authentication_error",
      detail: "a bearer token that is good is needed"
    },
    0,
    false
  ],
  [
    "vanished",
    Fault.notFound,
    {
      _tag: "JobNotFound",
      httpStatus: 404,
      code: "job_not_found",
      type: "not_found_error",
      detail: "there is no such job"
    },
    0,
    false
  ],
  ["disconnected", Fault.disconnected, disconnected, 0, false],
  ["refused", Fault.refused, { ...disconnected, reason: "connect ECONNREFUSED 127.0.0.1:8484", sent: false }, 0, false],
  ["hang", Fault.noResponse, requestTimeout, 30_000, false],
  ["held for ever", Fault.blockedUntil(Effect.never), requestTimeout, 30_000, false],
  ["a delay that is too long", Fault.delay("31 seconds"), requestTimeout, 30_000, false],
  ["answerLost", Fault.answerLost(), disconnected, 0, true],
  ["answerLost, for an error", Fault.answerLost(Fault.unavailable()), unavailable, 0, true],
  ["answerLost, for silence", Fault.answerLost(Fault.noResponse), requestTimeout, 30_000, true],
  ["truncated", Fault.truncated, { _tag: "Unreachable", reason: "the connection broke" }, 0, true],
  ["stalled", Fault.stalled, requestTimeout, 30_000, true]
]

describe("Fault", () => {
  describe.each(failures)("%s", (_, fault, error, took, arrives) => {
    it.effect.each(all)("%s", (operation) =>
      Effect.gen(function*() {
        const met = yield* meet(operation, fault)
        assert(Either.isLeft(met.answer), "the call was answered")
        const { left } = met.answer
        deepStrictEqual<unknown>(toJson(left), error)
        assert.strictEqual(left.operation, operation)
        deepStrictEqual(left.job, isAboutOneJob(operation) ? met.job : undefined)
        assert.strictEqual(met.took, took)
        assert.strictEqual(met.arrived, arrives && changesSomething(operation))
        assert.strictEqual(endOf(met.call).outcome, error._tag)
      }).pipe(Effect.provide(TestJobQueue.layer())))
  })

  describe("malformed", () => {
    const bodies: ReadonlyArray<readonly [string, Fault.Fault, string]> = [
      ["half a document", Fault.malformed(), "{\"request_id\":"],
      ["a page", Fault.malformed("<html>hello</html>"), "<html>hello</html>"],
      ["nothing", Fault.malformed(""), ""],
      ["JSON of another kind", Fault.malformed({ answer: [42] }), "{\"answer\":[42]}"]
    ]

    describe.each(bodies)("%s", (_, fault, body) => {
      it.effect.each(all)("%s", (operation) =>
        Effect.gen(function*() {
          const { answer, arrived, took } = yield* meet(operation, fault)
          assert(Either.isLeft(answer) && answer.left._tag === "UnexpectedResponse", "the answer made sense")
          assert.strictEqual(answer.left.httpStatus, 200)
          assert.strictEqual(answer.left.body, body)
          // the text of a parser error is not specified
          assert.isNotEmpty(answer.left.issue)
          assert.deepStrictEqual([took, arrived], [0, false])
        }).pipe(Effect.provide(TestJobQueue.layer())))
    })

    it.effect("an error body with HTTP 200, for a submit: the error has the service's code and message", () =>
      Effect.gen(function*() {
        const { answer } = yield* meet("submit", Fault.malformed({ code: "full", message: "the queue is full" }))
        assert(Either.isLeft(answer) && answer.left._tag === "UnexpectedResponse")
        assert.strictEqual(answer.left.code, "full")
        assert.strictEqual(answer.left.detail, "the queue is full")
      }).pipe(Effect.provide(TestJobQueue.layer())))
  })

  describe("faults that cause no error", () => {
    it.effect("HTTP 409 for a cancel returns NotCanceled", () =>
      Effect.gen(function*() {
        const { answer, arrived } = yield* meet("cancel", Fault.answer(409, { status: "running" }))
        assertRight<unknown, unknown>(answer, JobQueue.CancelResult.NotCanceled({ status: "running" }))
        assert.isFalse(arrived)
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect.each(all)("a delay: %s takes the delay, and then succeeds", (operation) =>
      Effect.gen(function*() {
        const { answer, arrived, call, took } = yield* meet(operation, Fault.delay("10 seconds"))
        assert.isTrue(Either.isRight(answer))
        assert.strictEqual(took, 10_000)
        assert.strictEqual(arrived, changesSomething(operation))
        assert.strictEqual(endOf(call).outcome, "answered")
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect("a delay precedes the arrival of the request: the response shows the state after the delay", () =>
      Effect.gen(function*() {
        const job = yield* submit()
        yield* afflict(Fault.delay("10 seconds"))
        const status = yield* VirtualTime.run(JobQueue.status(job))
        assert.strictEqual(status._tag, "Done")
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("10 seconds")) } }))))

    it.effect("a random delay differs for each call, and is the same for the same seed", () => {
      const delays = (seed: string) =>
        Effect.gen(function*() {
          const job = yield* submit()
          yield* VirtualTime.run(Effect.replicateEffect(JobQueue.status(job), 20))
          return (yield* TestJobQueue.calls).filter(({ operation }) => operation === "status").map((call) =>
            endOf(call).at - call.at
          )
        }).pipe(Effect.provide(TestJobQueue.layer({
          seed,
          faults: [Fault.delay(Worker.uniform("1 second", "2 seconds")).pipe(Fault.on("status"))]
        })))
      return Effect.gen(function*() {
        const times = yield* delays("a")
        assert.lengthOf(times, 20)
        assert.strictEqual(new Set(times).size, 20)
        for (const time of times) assert.isTrue(1_000 <= time && time <= 2_000 && Number.isInteger(time), String(time))
        deepStrictEqual(yield* delays("a"), times)
        assert.notDeepEqual(yield* delays("b"), times)
      })
    })

    it.effect("a latch: the request does not arrive before the latch opens", () =>
      Effect.gen(function*() {
        const { calls, jobs } = TestJobQueue
        const latch = yield* Deferred.make<void>()
        yield* afflict(Fault.blockedUntil(Deferred.await(latch)))
        const call = yield* Effect.fork(submit())
        yield* TestClock.adjust("29 seconds")
        assert.isEmpty(yield* jobs)
        deepStrictEqual((yield* calls).map(({ end }) => end), [undefined])
        yield* Deferred.succeed(latch, undefined)
        const job = yield* Fiber.join(call)
        deepStrictEqual(yield* jobs, [job])
        deepStrictEqual((yield* calls).map(({ end }) => end), [{ at: 29_000, outcome: "answered" }])
      }).pipe(Effect.provide(TestJobQueue.layer())))
  })

  describe("requestTimeout", () => {
    it.effect("limits the duration of a call", () =>
      Effect.gen(function*() {
        const { answer, took } = yield* meet("status", Fault.noResponse)
        assert(Either.isLeft(answer) && answer.left._tag === "ResponseTimeout")
        deepStrictEqual(answer.left.after, Duration.seconds(3))
        assert.strictEqual(took, 3_000)
      }).pipe(Effect.provide(TestJobQueue.layer({ requestTimeout: "3 seconds" }))))

    it.effect("covers the response body", () =>
      Effect.gen(function*() {
        const { took } = yield* meet("status", Fault.stalled)
        assert.strictEqual(took, 3_000)
      }).pipe(Effect.provide(TestJobQueue.layer({ requestTimeout: "3 seconds" }))))
  })

  describe("lost responses", () => {
    const losses = [
      Fault.answerLost(),
      Fault.answerLost(Fault.unavailable({ status: 502 })),
      Fault.answerLost(Fault.noResponse),
      Fault.answerLost(Fault.malformed()),
      Fault.answerLost(Fault.rateLimited("1 second")),
      Fault.answerLost(Fault.delay("1 hour")),
      Fault.answerLost(Fault.answerLost()),
      Fault.truncated,
      Fault.stalled
    ]

    it.effect.each(losses)(
      "%s: a submit creates one job, but its caller receives an error",
      (fault) =>
        Effect.gen(function*() {
          const { jobs, transitions } = TestJobQueue
          assert.isTrue(Either.isLeft(yield* VirtualTime.run(Effect.either(submit()))))
          const [job, ...others] = yield* jobs
          assert.isEmpty(others)
          assert.strictEqual(job?.model, model)
          assert.deepStrictEqual((yield* transitions(job!)).map(({ _tag }) => _tag), ["Queued"])
          deepStrictEqual(yield* JobQueue.metrics(model), { running: 0, waiting: 1, total: 1 })
        }).pipe(Effect.provide(TestJobQueue.layer({ faults: [fault.pipe(Fault.on("submit"))] })))
    )

    it.effect("keep the conditions of the replacing fault", () =>
      Effect.gen(function*() {
        assert.isTrue(Either.isRight(yield* Effect.either(submit())))
        assert.isTrue(Either.isLeft(yield* Effect.either(submit())))
        assert.isTrue(Either.isRight(yield* Effect.either(submit())))
        assert.lengthOf(yield* TestJobQueue.jobs, 3)
      }).pipe(
        Effect.provide(TestJobQueue.layer({ faults: [Fault.answerLost(Fault.unauthorized.pipe(Fault.nth(2)))] }))
      ))
  })

  describe("snapshots", () => {
    const millis = (time: Option.Option<DateTime.Utc>) => Option.getOrNull(Option.map(time, DateTime.toEpochMillis))

    // queued at 0, claimed at 1 s, half done at 2 s, done at 3 s
    const workers: Worker.Pool = {
      pickup: "1 second",
      script: Worker.always(Worker.progress("1 second", 0.5), Worker.finish("1 second", { answer: 42 }))
    }

    const look = (fault: Fault.Fault, at: Duration.DurationInput) =>
      Effect.gen(function*() {
        const job = yield* submit()
        yield* afflict(fault)
        yield* TestClock.adjust(at)
        return yield* Effect.either(JobQueue.status(job))
      }).pipe(Effect.provide(TestJobQueue.layer({ workers })))

    const see = (fault: Fault.Fault, at: Duration.DurationInput) => Effect.flatten(look(fault, at))

    describe("stale", () => {
      const moments = [
        // a change is visible from its own millisecond on
        ["0 seconds", "Pending"],
        ["999 millis", "Pending"],
        ["1 second", "Running"],
        ["1999 millis", "Running"],
        ["2 seconds", "Running 0.5"],
        ["2999 millis", "Running 0.5"],
        ["3 seconds", "Done"],
        ["1 hour", "Done"]
      ] as const

      it.effect.each(moments)(
        "ten seconds behind, ten seconds after %s: %s",
        ([at, expected]) =>
          Effect.gen(function*() {
            const status = yield* see(Fault.stale("10 seconds"), Duration.sum("10 seconds", at))
            const progress = status._tag === "Running" ? Job.readProgress(status.info) : Option.none()
            assert.strictEqual([status._tag, ...Option.toArray(progress)].join(" "), expected)
          })
      )

      it.effect("shows all fields as of the earlier time", () =>
        Effect.gen(function*() {
          const then = yield* see(Fault.stale("1 second"), "3 seconds")
          assert.strictEqual(then._tag, "Running")
          assert.deepStrictEqual(then.outputs, {})
          assert.deepStrictEqual(then.info, { progress: 0.5 })
          assert.strictEqual(millis(then.claimedAt), 1_000)
          assertNone(then.doneAt)
        }))

      it.effect("a lag of zero changes nothing", () =>
        Effect.gen(function*() {
          const now = yield* see(Fault.stale(0), "3 seconds")
          assert.strictEqual(now._tag, "Done")
          assert.deepStrictEqual(now.outputs, { answer: 42 })
          assert.strictEqual(millis(now.doneAt), 3_000)
        }))

      it.effect("does not find the job before its submission, and finds it from that millisecond on", () =>
        Effect.gen(function*() {
          const before = yield* look(Fault.stale("10 seconds"), "9999 millis")
          assert(Either.isLeft(before))
          assert.strictEqual(before.left._tag, "JobNotFound")
          assert.isTrue(Either.isRight(yield* look(Fault.stale("10 seconds"), "10 seconds")))
        }))

      it.effect("shows the last of several changes in one millisecond", () =>
        Effect.gen(function*() {
          const job = yield* submit()
          yield* TestClock.adjust("10 seconds")
          assert.strictEqual((yield* JobQueue.status(job))._tag, "Done")
        }).pipe(Effect.provide(TestJobQueue.layer({
          workers: { script: Worker.always(Worker.progress(0, 0.5), Worker.finish(0)) },
          faults: [Fault.stale("10 seconds")]
        }))))

      it.effect("shows requeued and reclaimed jobs", () =>
        Effect.gen(function*() {
          const job = yield* submit()
          const tags: Array<string> = []
          for (const at of [0, 1_000, 10_000, 11_000]) {
            yield* TestClock.setTime(60_000 + at)
            const { _tag, retries } = yield* JobQueue.status(job)
            tags.push(`${_tag} ${Option.getOrNull(retries)}`)
          }
          assert.deepStrictEqual(tags, ["Pending 0", "Running 0", "Pending 1", "Running 1"])
        }).pipe(Effect.provide(TestJobQueue.layer({
          workers: { script: Worker.always(Worker.stopResponding), pickup: "1 second", claimTimeout: "9 seconds" },
          faults: [Fault.stale("1 minute")]
        }))))

      it.effect.each(all.filter((operation) => operation !== "status"))(
        "does not change %s",
        (operation) =>
          Effect.gen(function*() {
            const { answer, arrived } = yield* meet(operation, Fault.stale("1 hour"))
            assert.isTrue(Either.isRight(answer))
            assert.strictEqual(arrived, changesSomething(operation))
          }).pipe(Effect.provide(TestJobQueue.layer()))
      )
    })

    it.effect("a clock that is ahead shifts every time in the snapshot", () =>
      Effect.gen(function*() {
        const { claimedAt, createdAt, doneAt } = yield* see(Fault.clockAhead("1 hour"), "5 seconds")
        assert.deepStrictEqual([createdAt, claimedAt, doneAt].map(millis), [3_600_000, 3_601_000, 3_603_000])
      }))

    it.effect("a clock that is behind shifts every time, and adds no missing time", () =>
      Effect.gen(function*() {
        const { claimedAt, createdAt, doneAt } = yield* see(Fault.clockBehind("1 hour"), "1 second")
        assert.deepStrictEqual([createdAt, claimedAt].map(millis), [-3_600_000, -3_599_000])
        assertNone(doneAt)
      }))

    it.effect("a clock may be 1,000 years off", () =>
      Effect.gen(function*() {
        const [ahead, behind] = [Fault.clockAhead("365250 days"), Fault.clockBehind("365250 days")]
        const { createdAt: after } = yield* see(ahead, 0)
        const { createdAt: before } = yield* see(behind, 0)
        assertSome(Option.map(after, DateTime.toEpochMillis), 31_557_600_000_000)
        assertSome(Option.map(before, DateTime.toEpochMillis), -31_557_600_000_000)
      }))

    it.effect("an unknown status is kept verbatim, with all other fields", () =>
      Effect.gen(function*() {
        const job = yield* submit()
        yield* TestClock.adjust("2 seconds")
        const truth = yield* JobQueue.status(job)
        yield* afflict(Fault.unknownStatus("warming up"))
        const status = yield* JobQueue.status(job)
        assert.strictEqual(truth._tag, "Running")
        deepStrictEqual<unknown>(status, { ...truth, _tag: "Unrecognized", status: "warming up" })
      }).pipe(Effect.provide(TestJobQueue.layer({ workers }))))

    it.effect("mapStatus changes the snapshot before it is encoded", () =>
      Effect.gen(function*() {
        const fault = Fault.mapStatus((status) => ({
          ...status,
          retries: Option.none(),
          warnings: ["the moon is full"],
          info: { ...status.info, gone: undefined, at: new Date(0) }
        }))
        const status = yield* see(fault, "2 seconds")
        assertNone(status.retries)
        deepStrictEqual(status.warnings, ["the moon is full"])
        deepStrictEqual(status.info, { progress: 0.5, at: "1970-01-01T00:00:00.000Z" })
      }))

    it.effect("a job that is not found remains JobNotFound, despite faults that change snapshots", () =>
      Effect.gen(function*() {
        const job = Job.ref(model, "no such job")
        const answer = yield* Effect.either(JobQueue.status(job))
        assert(Either.isLeft(answer))
        assert.strictEqual(answer.left._tag, "JobNotFound")
      }).pipe(Effect.provide(TestJobQueue.layer({ faults: [Fault.unknownStatus("paused")] }))))
  })

  describe("conditions", () => {
    /** The numbers of the polls, of the first `count`, that meet the fault. */
    const pollsThatMeet = (
      count: number,
      fault: Fault.Fault,
      { pause = "1 second", seed }: { readonly pause?: Duration.DurationInput; readonly seed?: string } = {}
    ) =>
      Effect.gen(function*() {
        const job = yield* submit()
        const met: Array<number> = []
        const poll = Effect.zipLeft(Effect.either(JobQueue.status(job)), Effect.sleep(pause))
        yield* VirtualTime.run(
          Effect.forEach(Chunk.range(1, count), (nth) =>
            Effect.map(poll, (answer) => {
              if (Either.isLeft(answer)) met.push(nth)
            }))
        )
        return met
      }).pipe(Effect.provide(TestJobQueue.layer({ faults: [fault], seed })))

    it.effect.each(all)("on %s: applies to calls of this operation only", (operation) =>
      Effect.gen(function*() {
        const job = yield* submit()
        yield* afflict(Fault.unauthorized.pipe(Fault.on(operation)))
        for (const other of all) {
          const answer = yield* Effect.either(operations[other](job))
          assert.strictEqual(Either.isLeft(answer), other === operation, other)
        }
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect("ofJob: applies to calls for this job, by its model and its id", () =>
      Effect.gen(function*() {
        const one = yield* submit()
        const other = yield* submit()
        yield* afflict(Fault.unauthorized.pipe(Fault.ofJob(one)))
        const tagOf = (call: AnyCall) =>
          Effect.map(Effect.either(call), Either.match({ onLeft: ({ _tag }) => _tag, onRight: () => "answered" }))
        assert.deepStrictEqual(
          yield* Effect.all([
            tagOf(JobQueue.status({ ...one })),
            tagOf(JobQueue.status(other)),
            tagOf(JobQueue.status(Job.ref("another model", one.requestId))),
            tagOf(JobQueue.cancel(other)),
            tagOf(JobQueue.cancel(one)),
            // these calls concern no particular job
            tagOf(JobQueue.metrics(model)),
            tagOf(JobQueue.clear(model)),
            tagOf(submit())
          ]),
          ["AccessDenied", "answered", "JobNotFound", "answered", "AccessDenied", "answered", "answered", "answered"]
        )
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect("ofModel: applies to calls for this model", () =>
      Effect.gen(function*() {
        yield* afflict(Fault.unauthorized.pipe(Fault.ofModel("one")))
        for (const operation of all) {
          for (const name of ["one", "two"]) {
            const call: AnyCall = operation === "submit"
              ? submit(name)
              : operations[operation](Job.ref(name, "no such job"))
            const answer = yield* Effect.either(call)
            assert.strictEqual(
              Either.isLeft(answer) && answer.left._tag === "AccessDenied",
              name === "one",
              `${operation} ${name}`
            )
          }
        }
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect("nth: applies to one call, or to a range of calls, which may be infinite", () =>
      Effect.gen(function*() {
        const status = Fault.unavailable().pipe(Fault.on("status"))
        assert.deepStrictEqual(yield* pollsThatMeet(6, status.pipe(Fault.nth(1))), [1])
        assert.deepStrictEqual(yield* pollsThatMeet(6, status.pipe(Fault.nth(3))), [3])
        assert.deepStrictEqual(yield* pollsThatMeet(6, status.pipe(Fault.nth(2, 4))), [2, 3, 4])
        assert.deepStrictEqual(yield* pollsThatMeet(6, status.pipe(Fault.nth(5, Infinity))), [5, 6])
        assert.deepStrictEqual(yield* pollsThatMeet(6, Fault.nth(status, 2, 3)), [2, 3])
      }))

    it.effect("during: applies from the start time, until before the end time", () =>
      Effect.gen(function*() {
        // polls 1, 2, 3, … are at 0, 1, 2, … seconds
        const status = Fault.unavailable().pipe(Fault.on("status"))
        assert.deepStrictEqual(yield* pollsThatMeet(6, status.pipe(Fault.during("2 seconds", "4 seconds"))), [3, 4])
        assert.deepStrictEqual(yield* pollsThatMeet(6, status.pipe(Fault.during("2001 millis", "4001 millis"))), [4, 5])
        assert.deepStrictEqual(yield* pollsThatMeet(6, status.pipe(Fault.during("4 seconds"))), [5, 6])
        assert.deepStrictEqual(yield* pollsThatMeet(6, Fault.during(status, 0, 1)), [1])
      }))

    it.effect("during: counts from the creation of the queue", () =>
      Effect.gen(function*() {
        yield* TestClock.setTime(1_000_000_000)
        const status = Fault.unavailable().pipe(Fault.on("status"))
        assert.deepStrictEqual(yield* pollsThatMeet(4, status.pipe(Fault.during("1 second", "3 seconds"))), [2, 3])
      }))

    it.effect("withProbability: applies to this share of the calls, the same ones for the same seed", () =>
      Effect.gen(function*() {
        const status = Fault.unavailable().pipe(Fault.on("status"))
        const polls = runs(200, 800)
        for (const fraction of [0.05, 0.3, 0.9]) {
          const met = yield* pollsThatMeet(polls, status.pipe(Fault.withProbability(fraction)))
          // four standard deviations: one seed of 15,000 would not do
          const deviation = 4 * Math.sqrt(polls * fraction * (1 - fraction))
          assert.isBelow(Math.abs(met.length - polls * fraction), deviation, `${fraction}: ${met.length}`)
        }
        assert.lengthOf(yield* pollsThatMeet(50, status.pipe(Fault.withProbability(0))), 0)
        assert.lengthOf(yield* pollsThatMeet(50, status.pipe(Fault.withProbability(1))), 50)
        const half = status.pipe(Fault.withProbability(0.5))
        const met = yield* pollsThatMeet(50, half, { seed: "a" })
        assert.deepStrictEqual(yield* pollsThatMeet(50, half, { seed: "a" }), met)
        assert.notDeepEqual(yield* pollsThatMeet(50, half, { seed: "b" }), met)
      }))

    it.effect("withProbability: two faults of one queue choose independently", () =>
      Effect.gen(function*() {
        const job = yield* submit()
        const { calls } = TestJobQueue
        yield* Effect.replicateEffect(Effect.either(JobQueue.status(job)), 400)
        const outcomes = (yield* calls).slice(1).map((call) => endOf(call).outcome)
        const share = (outcome: NonNullable<TestJobQueue.Call["end"]>["outcome"]) =>
          outcomes.filter((other) => other === outcome).length / 400
        // the first fault is outermost: the second one shows only where the first does not apply
        assert.closeTo(share("RateLimited"), 0.5, 0.1)
        assert.closeTo(share("AccessDenied"), 0.25, 0.1)
        assert.closeTo(share("answered"), 0.25, 0.1)
      }).pipe(Effect.provide(TestJobQueue.layer({
        faults: [
          Fault.rateLimited().pipe(Fault.on("status"), Fault.withProbability(0.5)),
          Fault.unauthorized.pipe(Fault.on("status"), Fault.withProbability(0.5))
        ]
      }))))

    it.effect("where: applies to calls that satisfy the predicate, which runs once per call", () => {
      const asked: Array<TestJobQueue.Call> = []
      return Effect.gen(function*() {
        yield* TestClock.setTime(5_000)
        const job = yield* submit()
        const answers = yield* Effect.replicateEffect(Effect.either(JobQueue.status(job)), 3)
        assert.deepStrictEqual(answers.map(Either.isLeft), [false, true, false])
        yield* JobQueue.metrics("another model")
        const call = { at: 5_000, end: undefined }
        const poll = { ...call, operation: "status" as const, model, requestId: job.requestId }
        deepStrictEqual<ReadonlyArray<TestJobQueue.Call>>(asked, [
          { ...call, operation: "submit", nth: 1, model, requestId: undefined },
          { ...poll, nth: 1 },
          { ...poll, nth: 2 },
          { ...poll, nth: 3 },
          { ...call, operation: "metrics", nth: 1, model: "another model", requestId: undefined }
        ])
      }).pipe(Effect.provide(TestJobQueue.layer({
        faults: [Fault.unauthorized.pipe(Fault.where((call) => {
          asked.push(call)
          return call.operation === "status" && call.nth === 2
        }))]
      })))
    })

    it.effect("order: each condition counts the calls that the conditions before it accept", () =>
      Effect.gen(function*() {
        const status = Fault.unavailable().pipe(Fault.on("status"))
        const isOdd = Fault.where(({ nth }) => nth % 2 === 1)
        // the second of the polls 1, 3, 5, 7; the second poll, if it is one of those
        assert.deepStrictEqual(yield* pollsThatMeet(8, status.pipe(isOdd, Fault.nth(2))), [3])
        assert.deepStrictEqual(yield* pollsThatMeet(8, status.pipe(Fault.nth(2), isOdd)), [])
        // the first submit is call 1 of all, and lets poll 1 be call 2
        const any = Fault.unavailable()
        assert.deepStrictEqual(yield* pollsThatMeet(8, any.pipe(Fault.nth(2), Fault.on("status"))), [1])
        assert.deepStrictEqual(yield* pollsThatMeet(8, any.pipe(Fault.on("status"), Fault.nth(2))), [2])
        // the third of those from 4 seconds on; the third of all, if it is from 4 seconds on
        assert.deepStrictEqual(yield* pollsThatMeet(8, status.pipe(Fault.during("4 seconds"), Fault.nth(3))), [7])
        assert.deepStrictEqual(yield* pollsThatMeet(8, status.pipe(Fault.nth(3), Fault.during("4 seconds"))), [])
        // the first five of the randomly chosen calls; the randomly chosen calls among the first five
        const half = Fault.withProbability(0.5)
        const picked = yield* pollsThatMeet(40, status.pipe(half))
        assert.deepStrictEqual(yield* pollsThatMeet(40, status.pipe(half, Fault.nth(1, 5))), picked.slice(0, 5))
        assert.deepStrictEqual(
          yield* pollsThatMeet(40, status.pipe(Fault.nth(1, 5), half)),
          picked.filter((nth) => nth <= 5)
        )
      }))
  })

  describe("aboveRate", () => {
    const times = [
      "0 millis",
      "100 millis",
      "200 millis",
      "900 millis",
      "1 second",
      "1100 millis",
      "1101 millis"
    ] as const

    const outcomes = (fault: Fault.Fault) =>
      Effect.gen(function*() {
        yield* Effect.forEach(times, (time) => Effect.delay(Effect.ignore(JobQueue.metrics(model)), time), {
          concurrency: "unbounded"
        })
        return (yield* TestJobQueue.calls).map((call) => endOf(call).outcome)
      }).pipe(VirtualTime.run, Effect.provide(TestJobQueue.layer({ faults: [fault] })))

    it.effect("applies to calls above the rate; those calls do not count towards the rate", () =>
      Effect.gen(function*() {
        const fault = Fault.rateLimited("1 second")
        assert.deepStrictEqual(yield* outcomes(fault.pipe(Fault.aboveRate(2, "1 second"))), [
          "answered",
          "answered",
          "RateLimited",
          "RateLimited",
          // the call accepted at 0 was one second ago
          "answered",
          "answered",
          "RateLimited"
        ])
        assert.deepStrictEqual(
          new Set(yield* outcomes(fault.pipe(Fault.aboveRate(0, "1 second")))),
          new Set(["RateLimited"])
        )
        assert.deepStrictEqual(
          new Set(yield* outcomes(Fault.aboveRate(fault, 7, "1 hour"))),
          new Set(["answered"])
        )
      }))
  })

  it("an answer that HTTP does not have, and a lost answer that is not lost, throw when they are created", () => {
    for (const status of [-1, 0, 100, 199, 200.5, 600, Infinity, NaN]) {
      assert.throws(() => Fault.answer(status), RangeError, `Fault.answer: ${status} is not a status`)
    }
    for (const status of [0, 404, 499, 503.5, 600]) {
      assert.throws(() => Fault.unavailable({ status }), RangeError, `Fault.unavailable: ${status} is not a status`)
    }
    for (const headers of [{ "bad name": "x" }, { "x-text": "a\nb" }, { "x-text": "→" }]) {
      assert.throws(() => Fault.answer(200, "", headers), TypeError)
    }
    assert.throws(
      () => Fault.answerLost(Fault.stale("1 minute")),
      RangeError,
      "Fault.answerLost: \"1m behind\" loses no answer"
    )
  })

  it("a clock that no date could show throws when it is created", () => {
    for (const by of [8.64e15, 1e14, Infinity]) {
      assert.throws(() => Fault.clockAhead(by), RangeError, "ahead is off by more than 1,000 years")
      assert.throws(() => Fault.clockBehind(by), RangeError, "behind is off by more than 1,000 years")
    }
  })

  it("conditions that can never hold throw when they are created", () => {
    assert.throws(() => Fault.nth(Fault.noResponse, 0), "Fault.nth: there are no calls 0 to 0")
    assert.throws(() => Fault.nth(Fault.noResponse, 1.5), "Fault.nth: there are no calls 1.5 to 1.5")
    assert.throws(() => Fault.nth(Fault.noResponse, 1, 2.5), "Fault.nth: there are no calls 1 to 2.5")
    for (const calls of [-1, 1.5, NaN]) {
      assert.throws(
        () => Fault.aboveRate(Fault.noResponse, calls, 1),
        `Fault.aboveRate: no rate is over ${calls} calls`
      )
    }
    assert.throws(() => Fault.aboveRate(Fault.noResponse, 1, 0), "Fault.aboveRate: no rate is over 1 calls in 0")
    assert.throws(() => Fault.nth(Fault.noResponse, 5, 3), "Fault.nth: there are no calls 5 to 3")
    assert.throws(() => Fault.nth(Fault.noResponse, Number.NaN), "Fault.nth: there are no calls NaN to NaN")
    assert.throws(
      () => Fault.unknownStatus("done"),
      "Fault.unknownStatus: \"done\" is a known status"
    )
    assert.throws(
      () => Fault.withProbability(Fault.noResponse, 1.5),
      "Fault.withProbability: 1.5 is not between 0 and 1"
    )
    assert.throws(
      () => Fault.during(Fault.noResponse, "2 hours", "2 hours"),
      "Fault.during: there is no time from 2h to 2h"
    )
  })

  it.effect("a defect in a fault is a defect of the call, and is recorded as such", () =>
    Effect.gen(function*() {
      const exit = yield* Effect.exit(Effect.flatMap(submit(), JobQueue.status))
      assert.isTrue(Exit.isFailure(exit) && Cause.isDie(exit.cause))
      assert.deepStrictEqual((yield* TestJobQueue.calls).map((call) => endOf(call).outcome), ["answered", "died"])
    }).pipe(Effect.provide(TestJobQueue.layer({
      faults: [Fault.mapStatus(() => {
        throw new Error("a bug in a test")
      })]
    }))))

  describe("several faults", () => {
    const first = (...faults: ReadonlyArray<Fault.Fault>) =>
      Effect.gen(function*() {
        const job = yield* submit()
        yield* TestClock.adjust("1 minute")
        yield* Effect.forEach(faults, (fault) => TestJobQueue.inject(fault))
        const before = yield* TestClock.currentTimeMillis
        const answer = yield* VirtualTime.run(Effect.either(JobQueue.status(job)))
        const took = (yield* TestClock.currentTimeMillis) - before
        return Either.match(answer, {
          onLeft: ({ _tag }) => `${_tag} after ${took}`,
          onRight: (status) => `${status._tag === "Unrecognized" ? status.status : status._tag} after ${took}`
        })
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("30 seconds")) } })))

    it.effect("the first fault is outermost: a response hides later faults, a delay does not", () =>
      Effect.gen(function*() {
        assert.strictEqual(yield* first(Fault.unauthorized, Fault.rateLimited()), "AccessDenied after 0")
        assert.strictEqual(yield* first(Fault.rateLimited(), Fault.unauthorized), "RateLimited after 0")
        assert.strictEqual(yield* first(Fault.unauthorized, Fault.delay("5 seconds")), "AccessDenied after 0")
        assert.strictEqual(yield* first(Fault.delay("5 seconds"), Fault.unauthorized), "AccessDenied after 5000")
        assert.strictEqual(yield* first(Fault.delay("5 seconds"), Fault.delay("6 seconds")), "Done after 11000")
        assert.strictEqual(yield* first(Fault.delay("5 seconds"), Fault.noResponse), "ResponseTimeout after 30000")
        assert.strictEqual(yield* first(Fault.delay("5 seconds"), Fault.disconnected), "Unreachable after 5000")
      }))

    it.effect("changes of a snapshot add up", () =>
      Effect.gen(function*() {
        // the job ran for the first 30 of 60 seconds
        assert.strictEqual(yield* first(Fault.stale("30 seconds")), "Done after 0")
        assert.strictEqual(yield* first(Fault.stale("30 seconds"), Fault.stale("1 millis")), "Running after 0")
        assert.strictEqual(yield* first(Fault.stale("40 seconds"), Fault.unknownStatus("odd")), "odd after 0")
        assert.strictEqual(yield* first(Fault.unknownStatus("odd"), Fault.stale("90 seconds")), "JobNotFound after 0")
        // the first fault is applied last
        assert.strictEqual(yield* first(Fault.unknownStatus("odd"), Fault.unknownStatus("even")), "odd after 0")
      }))

    it.effect("a truncated or stalled body applies to the response of the later faults", () =>
      Effect.gen(function*() {
        // an error response with a truncated body still has its status code
        assert.strictEqual(yield* first(Fault.truncated, Fault.unauthorized), "AccessDenied after 0")
        assert.strictEqual(yield* first(Fault.stalled, Fault.delay("5 seconds")), "ResponseTimeout after 30000")
        assert.strictEqual(yield* first(Fault.truncated, Fault.delay("5 seconds")), "Unreachable after 5000")
        assert.strictEqual(yield* first(Fault.truncated, Fault.disconnected), "Unreachable after 0")
      }))

    it.effect("a lost response applies to the response of an inner fault", () =>
      Effect.gen(function*() {
        const { jobs } = TestJobQueue
        yield* afflict(Fault.answerLost())
        yield* afflict(Fault.unavailable())
        // the lost response is that of the inner fault, which creates no job
        const answer = yield* Effect.either(submit())
        assert(Either.isLeft(answer))
        assert.strictEqual(answer.left._tag, "Unreachable")
        assert.isEmpty(yield* jobs)
      }).pipe(Effect.provide(TestJobQueue.layer())))
  })

  describe("inject", () => {
    it.effect("applies until it is removed; removal is idempotent", () =>
      Effect.gen(function*() {
        const { inject } = TestJobQueue
        const tag = Effect.map(
          Effect.either(JobQueue.metrics(model)),
          Either.match({ onLeft: ({ _tag }) => _tag, onRight: () => "answered" })
        )
        assert.strictEqual(yield* tag, "answered")
        const limited = yield* inject(Fault.rateLimited())
        const denied = yield* inject(Fault.unauthorized)
        assert.strictEqual(yield* tag, "RateLimited")
        yield* limited.remove
        assert.strictEqual(yield* tag, "AccessDenied")
        yield* limited.remove
        assert.strictEqual(yield* tag, "AccessDenied")
        yield* denied.remove
        assert.strictEqual(yield* tag, "answered")
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.effect("applies after the faults of the layer, with its own call count", () =>
      Effect.gen(function*() {
        const { calls } = TestJobQueue
        yield* JobQueue.metrics(model)
        const second = Fault.unauthorized.pipe(Fault.nth(2))
        yield* afflict(second)
        yield* afflict(second)
        yield* Effect.replicateEffect(Effect.either(JobQueue.metrics(model)), 4)
        const outcomes = (yield* calls).map((call) => endOf(call).outcome)
        assert.deepStrictEqual(outcomes, ["answered", "answered", "RateLimited", "answered", "answered"])
      }).pipe(Effect.provide(TestJobQueue.layer({ faults: [Fault.rateLimited().pipe(Fault.nth(3))] }))))

    it.effect("removal does not affect a call in flight", () =>
      Effect.gen(function*() {
        const { calls, inject } = TestJobQueue
        const recover = yield* inject(Fault.noResponse)
        const call = yield* Effect.fork(Effect.exit(JobQueue.metrics(model)))
        yield* TestClock.adjust("1 second")
        yield* recover.remove
        yield* JobQueue.metrics(model)
        yield* TestClock.adjust("29 seconds")
        assert.isTrue(Exit.isFailure(yield* Fiber.join(call)))
        assert.deepStrictEqual((yield* calls).map(({ end }) => end), [
          { at: 30_000, outcome: "ResponseTimeout" },
          { at: 1_000, outcome: "answered" }
        ])
      }).pipe(Effect.provide(TestJobQueue.layer())))
  })

  describe("interrupted", () => {
    const endless: ReadonlyArray<readonly [string, Fault.Fault]> = [
      ["gets no response", Fault.noResponse],
      ["is blocked", Fault.blockedUntil(Effect.never)],
      ["is delayed", Fault.delay("1 day")],
      ["has a body that stalls", Fault.stalled],
      ["has lost its response", Fault.answerLost(Fault.noResponse)]
    ]

    describe.each(endless)("a call that %s", (_, fault) => {
      it.effect.each(all)("%s: ends at once, and leaves no fiber behind", (operation) =>
        Effect.gen(function*() {
          const { calls } = TestJobQueue
          const job = yield* submit()
          yield* afflict(fault)
          const supervisor = yield* Supervisor.track
          const call = yield* Effect.fork(Effect.supervised(operations[operation](job), supervisor))
          yield* TestClock.adjust("10 seconds")
          assert.isUndefined((yield* calls).at(-1)?.end)
          yield* Fiber.interrupt(call)
          deepStrictEqual((yield* calls).at(-1)?.end, { at: 10_000, outcome: "interrupted" })
          assert.isEmpty(yield* supervisor.value)
        }).pipe(Effect.provide(TestJobQueue.layer())))
    })
  })

  describe("toString", () => {
    const job = Job.ref(model, "1")

    it("rounds the percentage of a probability", () => {
      const labels = [0.07, 0.29, 1 / 3, 1e-7].map((fraction) =>
        String(Fault.notFound.pipe(Fault.withProbability(fraction)))
      )
      assert.deepStrictEqual(labels, [
        "HTTP 404, 7 % of the calls",
        "HTTP 404, 29 % of the calls",
        "HTTP 404, 33.3333333333 % of the calls",
        "HTTP 404, 0.00001 % of the calls"
      ])
    })

    it("reads the names of headers in any case", () => {
      assert.strictEqual(String(Fault.answer(429, "", { "Retry-After": "10" })), "HTTP 429 (Retry-After: 10)")
      const problem = Fault.answer(502, {}, { "Content-Type": "application/problem+json" })
      deepStrictEqual(problem[TypeId].effect, {
        _tag: "Answer",
        status: 502,
        headers: { "content-type": "application/problem+json" },
        body: "{}"
      })
    })

    it("describes the effect and the conditions", () => {
      assert.strictEqual(String(Fault.noResponse), "hang")
      assert.strictEqual(
        String(Fault.rateLimited("10 seconds").pipe(Fault.on("status"), Fault.nth(3), Fault.ofModel("m"))),
        "HTTP 429 (Retry-After: 10), status, call 3, m"
      )
      assert.strictEqual(
        `${
          Fault.answerLost(Fault.unavailable({ status: 502 })).pipe(
            Fault.on("submit"),
            Fault.nth(2, 4),
            Fault.withProbability(0.25),
            Fault.during("1 minute", "2 hours"),
            Fault.ofJob(job),
            Fault.where(() => true),
            Fault.where(() => true, "those on Sundays"),
            Fault.aboveRate(10, "1 second")
          )
        }`,
        `answer lost: HTTP 502, submit, calls 2 to 4, 25 % of the calls, from 1m to 2h, ${model}/1, some calls, ` +
          "those on Sundays, over 10 calls in 1s"
      )
    })

    it("describes every kind of fault", () => {
      const labels = [
        Fault.answer(418),
        Fault.rateLimited(),
        Fault.unavailable(),
        Fault.unauthorized,
        Fault.notFound,
        Fault.malformed(),
        Fault.disconnected,
        Fault.noResponse,
        Fault.answerLost(),
        Fault.truncated,
        Fault.stalled,
        Fault.delay("1 second"),
        Fault.blockedUntil(Effect.never),
        Fault.mapStatus((status) => status),
        Fault.unknownStatus("paused"),
        Fault.stale("10 seconds"),
        Fault.clockAhead("1 hour"),
        Fault.clockBehind("90 seconds")
      ].map(String)
      assert.deepStrictEqual(labels, [
        "HTTP 418",
        "HTTP 429",
        "HTTP 503",
        "HTTP 401",
        "HTTP 404",
        "malformed answer {\"request_id\":",
        "disconnected",
        "hang",
        "answer lost: disconnected",
        "truncated body",
        "stalled body",
        "delay of 1s",
        "held",
        "changed snapshot",
        "status \"paused\"",
        "10s behind",
        "clock 1h ahead",
        "clock 1m 30s behind"
      ])
    })

    it("a fault is immutable: a condition returns a new fault", () => {
      const fault = Fault.noResponse.pipe(Fault.on("status"))
      const narrower = fault.pipe(Fault.nth(1))
      assert.strictEqual(String(fault), "hang, status")
      assert.strictEqual(String(narrower), "hang, status, call 1")
      assert.strictEqual(fault.label, "hang")
    })
  })

  it.effect("applies to sent calls only: a call rejected by validation is not counted", () =>
    Effect.gen(function*() {
      const { calls, counts } = TestJobQueue
      const answer = yield* Effect.either(JobQueue.metrics(" "))
      assertLeft(answer.pipe(Either.mapLeft(({ _tag }) => _tag)), "InvalidRequest")
      assert.isEmpty(yield* calls)
      assert.strictEqual((yield* counts).metrics, 0)
    }).pipe(Effect.provide(TestJobQueue.layer({ faults: [Fault.unauthorized] }))))
})

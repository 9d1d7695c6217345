/**
 * What every implementation of `JobQueue` does, said once. It runs unchanged on the queue in memory and on the client
 * over HTTP, so that a test that passes on the one says something about the other.
 */
import { assert, describe } from "@effect/vitest"
import { assertNone, assertSome } from "@effect/vitest/utils"
import * as DateTime from "effect/DateTime"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Order from "effect/Order"
import * as Schema from "effect/Schema"
import { Job, JobQueue, QueueError } from "../../src/index.js"
import { Worker } from "../../src/testing/index.js"

/**
 * - `layer`: a queue of its own for each test, with workers at it where they are given.
 * - `pass`: lets time pass, for the queue and for the test.
 * - `test`: runs a test under the clock that `pass` moves.
 */
export interface Subject {
  readonly layer: (workers?: Worker.Pool) => Layer.Layer<JobQueue.JobQueue, unknown>
  readonly pass: (duration: Duration.DurationInput) => Effect.Effect<void>
  readonly test: (name: string, self: () => Effect.Effect<void, unknown>) => void
}

const model = "my-org/video-generator"

const uuidv7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

const unknownId = "019ba379-92da-71e4-ac40-d98059fd67c7"

const millis = (time: Option.Option<DateTime.Utc>): number | null =>
  Option.getOrNull(Option.map(time, DateTime.toEpochMillis))

/** All that a snapshot tells, as plain values; `null` for what it does not tell. */
const view = (status: Job.JobStatus) => ({
  tag: status._tag,
  model: status.job.model,
  requestId: status.job.requestId,
  createdAt: millis(status.createdAt),
  claimedAt: millis(status.claimedAt),
  doneAt: millis(status.doneAt),
  info: status.info,
  inputs: status.inputs,
  outputs: status.outputs,
  priority: Option.getOrNull(status.priority),
  retries: Option.getOrNull(status.retries),
  warnings: status.warnings
})

const encodeError = Schema.encodeSync(QueueError.QueueError)

/** An error as it would travel: every field that it has. */
const plain = (error: QueueError.QueueError): { readonly [field: string]: unknown } =>
  JSON.parse(JSON.stringify(encodeError(error)))

/** Workers that do what the payload says. */
const obedient: Worker.Script = ({ payload }) => {
  switch (payload["do"]) {
    case "finish":
      return [Worker.finish("5 millis", { answer: 42 })]
    case "fail":
      return [Worker.fail("5 millis", "CUDA out of memory")]
    default:
      // for longer than any test lasts
      return [Worker.finish("1 hour")]
  }
}

const pool = (script: Worker.Script, options: Omit<Worker.Pool, "script"> = {}): Worker.Pool => ({
  claimTimeout: "2 hours",
  ...options,
  script
})

export const behavesAsTheQueue = (name: string, { layer, pass, test }: Subject): void => {
  /** Asks until the job is as it shall be. */
  const until = (
    job: Job.JobRef,
    what: string,
    isSo: (status: Job.JobStatus) => boolean
  ): Effect.Effect<Job.JobStatus, QueueError.QueueError, JobQueue.JobQueue> =>
    Effect.gen(function*() {
      let status = yield* JobQueue.status(job)
      for (let asked = 1; !isSo(status); asked++) {
        if (asked === 1000) return assert.fail(`never ${what}, but ${JSON.stringify(view(status))}`)
        yield* pass("10 millis")
        status = yield* JobQueue.status(job)
      }
      return status
    })

  const untilOver = (job: Job.JobRef) => until(job, "over", Job.isTerminal)

  /** The error of a call that fails; that it succeeds is a failure of the test. */
  const errorOf = <A, R>(call: Effect.Effect<A, QueueError.QueueError, R>) =>
    Effect.map(
      Effect.either(call),
      Either.match({
        onLeft: plain,
        onRight: (value) => assert.fail(`succeeded with ${JSON.stringify(value)}`)
      })
    )

  describe(name, () => {
    describe("submit", () => {
      test("gives a reference with a UUIDv7 that begins with the time of the submission", () =>
        Effect.gen(function*() {
          const job = yield* JobQueue.submit({ model, payload: {} })
          assert.match(job.requestId, uuidv7)
          assert.isTrue(Equal.equals(job, Job.ref(model, job.requestId)))
          const { createdAt } = view(yield* JobQueue.status(job))
          assert.strictEqual(Number.parseInt(job.requestId.replace("-", "").slice(0, 12), 16), createdAt)
        }).pipe(Effect.provide(layer())))

      test("gives every job a reference of its own", () =>
        Effect.gen(function*() {
          const jobs = yield* Effect.all(Array.from({ length: 20 }, () => JobQueue.submit({ model, payload: {} })), {
            concurrency: "unbounded"
          })
          assert.strictEqual(new Set(jobs.map((job) => job.requestId)).size, 20)
          assert.deepStrictEqual(yield* JobQueue.metrics(model), { running: 0, waiting: 20, total: 20 })
        }).pipe(Effect.provide(layer())))

      test("keeps what was submitted, and begins with nothing else", () =>
        Effect.gen(function*() {
          const payload = { prompt: "a cat at the piano", frames: [1, 2.5, null, { deep: true }], text: "größe 🦊\n" }
          const job = yield* JobQueue.submit({ model, payload, info: { user_id: "user_123" } })
          const status = view(yield* JobQueue.status(job))
          assert.isNumber(status.createdAt)
          assert.deepStrictEqual(status, {
            tag: "Pending",
            model,
            requestId: job.requestId,
            createdAt: status.createdAt,
            claimedAt: null,
            doneAt: null,
            info: { user_id: "user_123" },
            inputs: payload,
            outputs: {},
            priority: 0,
            retries: 0,
            warnings: []
          })
        }).pipe(Effect.provide(layer())))

      test("keeps the priority, and has no info unless some is given", () =>
        Effect.gen(function*() {
          for (const priority of [7, -3, 0, Number.MAX_SAFE_INTEGER]) {
            const status = view(
              yield* Effect.flatMap(JobQueue.submit({ model, payload: {}, priority }), JobQueue.status)
            )
            assert.strictEqual(status.priority, priority)
            assert.deepStrictEqual(status.info, {})
          }
        }).pipe(Effect.provide(layer())))

      test("takes the payload as it is at that moment", () =>
        Effect.gen(function*() {
          const payload = { scenes: ["rain"] }
          const info = { tags: ["first"] }
          const job = yield* JobQueue.submit({ model, payload, info })
          payload.scenes.push("snow")
          info.tags.push("second")
          const status = view(yield* JobQueue.status(job))
          assert.deepStrictEqual(status.inputs, { scenes: ["rain"] })
          assert.deepStrictEqual(status.info, { tags: ["first"] })
        }).pipe(Effect.provide(layer())))

      test("keeps of a payload what JSON can say", () =>
        Effect.gen(function*() {
          const payload = {
            at: DateTime.toDate(DateTime.unsafeMake(0)),
            none: undefined,
            list: [undefined],
            ratio: Number.NaN
          }
          const status = view(yield* Effect.flatMap(JobQueue.submit({ model, payload }), JobQueue.status))
          assert.strictEqual(
            JSON.stringify(status.inputs),
            "{\"at\":\"1970-01-01T00:00:00.000Z\",\"list\":[null],\"ratio\":null}"
          )
          assert.deepStrictEqual(Object.keys(status.inputs), ["at", "list", "ratio"])
        }).pipe(Effect.provide(layer())))

      test("refuses a payload that JSON can't say", () =>
        Effect.gen(function*() {
          const cyclic: { self?: unknown } = {}
          cyclic.self = cyclic
          for (const payload of [cyclic, { big: 1n }]) {
            const error = yield* errorOf(JobQueue.submit({ model, payload }))
            assert.include(error, { _tag: "InvalidRequest", operation: "submit", model })
            assert.notProperty(error, "httpStatus")
          }
          assert.strictEqual((yield* JobQueue.metrics(model)).total, 0)
        }).pipe(Effect.provide(layer())))

      test("keeps the key __proto__ as a key, also when a worker adds to the info", () =>
        Effect.gen(function*() {
          const json = "{\"__proto__\":{\"polluted\":true},\"user\":\"u\"}"
          const job = yield* JobQueue.submit({ model, payload: JSON.parse(json), info: JSON.parse(json) })
          const status = view(yield* until(job, "at work", ({ info }) => "progress" in info))
          assert.strictEqual(JSON.stringify(status.inputs), json)
          assert.strictEqual(
            JSON.stringify(status.info),
            "{\"__proto__\":{\"polluted\":true},\"user\":\"u\",\"progress\":0.5}"
          )
          assert.notProperty({}, "polluted")
        }).pipe(
          Effect.provide(layer(pool(Worker.always(Worker.progress("5 millis", 0.5), Worker.finish("1 hour")))))
        ))
    })

    describe("models", () => {
      const models = [
        model,
        "a model with spaces",
        " blanks around it ",
        "größe/模型 🦊",
        "?a=1&b=%2F+#;\"'\\",
        "two\nlines",
        "../../v1/queue/clear",
        "__proto__",
        "constructor"
      ]
      test("any name that is not blank is good for every call", () =>
        Effect.gen(function*() {
          for (const model of models) {
            const job = yield* JobQueue.submit({ model, payload: { model } })
            const status = view(yield* JobQueue.status(job))
            assert.strictEqual(status.model, model)
            assert.deepStrictEqual(status.inputs, { model })
            assert.deepStrictEqual(yield* JobQueue.metrics(model), { running: 0, waiting: 1, total: 1 })
            assert.deepStrictEqual(yield* JobQueue.cancel(job), JobQueue.CancelResult.Canceled())
            yield* JobQueue.submit({ model, payload: {} })
            assert.strictEqual(yield* JobQueue.clear(model), 1)
          }
        }).pipe(Effect.provide(layer())))
    })

    describe("jobs that are not there", () => {
      const notFound = (operation: "status" | "cancel", job: Job.JobRef) => ({
        _tag: "NotFound",
        operation,
        model: job.model,
        job: { model: job.model, requestId: job.requestId },
        httpStatus: 404,
        code: "job_not_found",
        type: "not_found_error",
        detail: `no job ${job.requestId} of model ${job.model}`
      })
      test("are not found, be it the id or the model that is wrong", () =>
        Effect.gen(function*() {
          const job = yield* JobQueue.submit({ model, payload: {} })
          const strangers = [
            Job.ref(model, unknownId),
            Job.ref("another-org/video-generator", job.requestId),
            Job.ref(model, "__proto__"),
            Job.ref(model, "no UUID & nothing like it")
          ]
          for (const stranger of strangers) {
            assert.deepStrictEqual(yield* errorOf(JobQueue.status(stranger)), notFound("status", stranger))
            assert.deepStrictEqual(yield* errorOf(JobQueue.cancel(stranger)), notFound("cancel", stranger))
          }
          assert.strictEqual((yield* JobQueue.status(job))._tag, "Pending")
        }).pipe(Effect.provide(layer())))
    })

    describe("cancel", () => {
      test("ends a job that is pending, once", () =>
        Effect.gen(function*() {
          const job = yield* JobQueue.submit({
            model,
            payload: { prompt: "a cat" },
            info: { note: "mine" },
            priority: 2
          })
          const before = view(yield* JobQueue.status(job))
          assert.deepStrictEqual(yield* JobQueue.cancel(job), JobQueue.CancelResult.Canceled())
          assert.deepStrictEqual(view(yield* JobQueue.status(job)), { ...before, tag: "Canceled" })
          assert.deepStrictEqual(
            yield* JobQueue.cancel(job),
            JobQueue.CancelResult.NotCanceled({ status: "canceled" })
          )
          assert.deepStrictEqual(yield* JobQueue.metrics(model), { running: 0, waiting: 0, total: 0 })
        }).pipe(Effect.provide(layer())))

      test("leaves a job alone that runs", () =>
        Effect.gen(function*() {
          const job = yield* JobQueue.submit({ model, payload: {} })
          const before = view(yield* until(job, "running", ({ _tag }) => _tag === "Running"))
          assert.deepStrictEqual(
            yield* JobQueue.cancel(job),
            JobQueue.CancelResult.NotCanceled({ status: "running" })
          )
          assert.deepStrictEqual(view(yield* JobQueue.status(job)), before)
        }).pipe(Effect.provide(layer(pool(obedient)))))

      test("leaves a job alone that is over", () =>
        Effect.gen(function*() {
          for (const [what, status] of [["finish", "done"], ["fail", "failed"]] as const) {
            const job = yield* JobQueue.submit({ model, payload: { do: what } })
            const before = view(yield* untilOver(job))
            assert.deepStrictEqual(yield* JobQueue.cancel(job), JobQueue.CancelResult.NotCanceled({ status }))
            assert.deepStrictEqual(view(yield* JobQueue.status(job)), before)
          }
        }).pipe(Effect.provide(layer(pool(obedient)))))

      test("takes a canceled job out of the line", () =>
        Effect.gen(function*() {
          const first = yield* JobQueue.submit({ model, payload: { do: "hold" } })
          const second = yield* JobQueue.submit({ model, payload: { do: "finish" } })
          yield* until(first, "running", ({ _tag }) => _tag === "Running")
          assert.deepStrictEqual(yield* JobQueue.cancel(second), JobQueue.CancelResult.Canceled())
          const third = yield* JobQueue.submit({ model: "another model", payload: { do: "finish" } })
          assert.strictEqual((yield* untilOver(third))._tag, "Done")
          assert.strictEqual((yield* JobQueue.status(second))._tag, "Canceled")
        }).pipe(Effect.provide(layer(pool(obedient)))))
    })

    describe("clear", () => {
      test("cancels what is pending, tells how many, and leaves alone what runs and what is another model's", () =>
        Effect.gen(function*() {
          const running = yield* JobQueue.submit({ model, payload: {} })
          yield* until(running, "running", ({ _tag }) => _tag === "Running")
          const waiting = [
            yield* JobQueue.submit({ model, payload: {} }),
            yield* JobQueue.submit({ model, payload: {}, priority: 5 }),
            yield* JobQueue.submit({ model, payload: {} })
          ]
          const others = [
            yield* JobQueue.submit({ model: "another model", payload: {} }),
            yield* JobQueue.submit({ model: "another model", payload: {} })
          ]
          assert.deepStrictEqual(yield* JobQueue.cancel(waiting[2]!), JobQueue.CancelResult.Canceled())
          assert.deepStrictEqual(yield* JobQueue.metrics(model), { running: 1, waiting: 2, total: 3 })

          assert.strictEqual(yield* JobQueue.clear(model), 2)

          assert.strictEqual((yield* JobQueue.status(running))._tag, "Running")
          for (const job of waiting) assert.strictEqual((yield* JobQueue.status(job))._tag, "Canceled")
          assert.deepStrictEqual(yield* JobQueue.metrics(model), { running: 1, waiting: 0, total: 1 })
          assert.deepStrictEqual(yield* JobQueue.metrics("another model"), { running: 1, waiting: 1, total: 2 })
          assert.strictEqual((yield* JobQueue.status(others[1]!))._tag, "Pending")
          assert.strictEqual(yield* JobQueue.clear(model), 0)
          assert.strictEqual(yield* JobQueue.clear("a model never seen"), 0)
        }).pipe(Effect.provide(layer(pool(obedient)))))
    })

    describe("metrics", () => {
      test("are zeros for a model never seen", () =>
        Effect.gen(function*() {
          yield* JobQueue.submit({ model, payload: {} })
          assert.deepStrictEqual(yield* JobQueue.metrics("a model never seen"), { running: 0, waiting: 0, total: 0 })
        }).pipe(Effect.provide(layer())))

      test("count who waits and who runs, not who is over", () =>
        Effect.gen(function*() {
          const over = yield* JobQueue.submit({ model, payload: { do: "finish" } })
          yield* untilOver(over)
          const running = yield* JobQueue.submit({ model, payload: {} })
          yield* until(running, "running", ({ _tag }) => _tag === "Running")
          yield* JobQueue.submit({ model, payload: {} })
          yield* JobQueue.submit({ model, payload: {} })
          assert.deepStrictEqual(yield* JobQueue.metrics(model), { running: 1, waiting: 2, total: 3 })
        }).pipe(Effect.provide(layer(pool(obedient)))))
    })

    describe("workers", () => {
      // The first job keeps the only worker busy while the others are submitted, for as long as that takes.
      test("take the highest priority first, and of equals the oldest", () =>
        Effect.gen(function*() {
          const priorities = [0, 5, -1, 5, 0, Number.MIN_SAFE_INTEGER, 5, 1]
          const submit = (name: string, priority: number, hold: number) =>
            Effect.map(
              JobQueue.submit({ model, payload: { hold }, info: { name }, priority }),
              (job) => ({ name, job })
            )
          for (let hold = 100;; hold *= 2) {
            const first = yield* submit("first", 9, hold)
            yield* until(first.job, "running", ({ _tag }) => _tag === "Running")
            const jobs = yield* Effect.forEach(priorities, (priority, i) => submit(`${priority} #${i}`, priority, 1))
            const { tag } = view(yield* JobQueue.status(first.job))
            const claimed: Array<readonly [string, number]> = []
            for (const { job, name } of jobs) claimed.push([name, view(yield* untilOver(job)).claimedAt ?? Number.NaN])
            if (tag !== "Running") continue // too slow: they did not all wait together
            assert.deepStrictEqual(
              claimed.sort(Order.mapInput(Order.number, ([, at]) => at)).map(([name]) => name),
              ["5 #1", "5 #3", "5 #6", "1 #7", "0 #0", "0 #4", "-1 #2", `${Number.MIN_SAFE_INTEGER} #5`]
            )
            return
          }
        }).pipe(
          Effect.provide(layer(pool(({ payload }) => [Worker.finish(Number(payload["hold"]))])))
        ))

      const reporting = pool(({ payload }) => [
        Worker.heartbeat("5 millis", { note: "the worker's" }),
        Worker.progress("5 millis", 0.5),
        ...(payload["do"] === "hold" ? [] : [Worker.progress("5 millis", 1)]),
        Worker.finish(payload["do"] === "hold" ? "1 hour" : 0, {
          video_url: "https://example.com/cat.mp4",
          frames: [1, 2]
        })
      ])

      test("report progress, which adds to the info", () =>
        Effect.gen(function*() {
          const job = yield* JobQueue.submit({ model, payload: { do: "hold" }, info: { user_id: "u", note: "mine" } })
          const halfway = view(yield* until(job, "halfway", ({ info }) => info["progress"] === 0.5))
          assert.isAtLeast(halfway.claimedAt!, halfway.createdAt!)
          assert.deepStrictEqual({ ...halfway, createdAt: 0, claimedAt: 0 }, {
            tag: "Running",
            model,
            requestId: job.requestId,
            createdAt: 0,
            claimedAt: 0,
            doneAt: null,
            info: { user_id: "u", note: "the worker's", progress: 0.5 },
            inputs: { do: "hold" },
            outputs: {},
            priority: 0,
            retries: 0,
            warnings: []
          })
        }).pipe(Effect.provide(layer(reporting))))

      test("finish with outputs", () =>
        Effect.gen(function*() {
          const job = yield* JobQueue.submit({
            model,
            payload: { prompt: "a cat" },
            info: { user_id: "u", note: "mine" }
          })
          const done = view(yield* untilOver(job))
          assert.isAtLeast(done.claimedAt!, done.createdAt!)
          assert.isAtLeast(done.doneAt!, done.claimedAt!)
          assert.deepStrictEqual({ ...done, createdAt: 0, claimedAt: 0, doneAt: 0 }, {
            tag: "Done",
            model,
            requestId: job.requestId,
            createdAt: 0,
            claimedAt: 0,
            doneAt: 0,
            info: { user_id: "u", note: "the worker's", progress: 1 },
            inputs: { prompt: "a cat" },
            outputs: { video_url: "https://example.com/cat.mp4", frames: [1, 2] },
            priority: 0,
            retries: 0,
            warnings: []
          })
        }).pipe(Effect.provide(layer(reporting))))

      test("fail with a reason, which is in the info, and are not tried again", () =>
        Effect.gen(function*() {
          const job = yield* JobQueue.submit({ model, payload: { do: "fail" }, info: { user_id: "u" } })
          const status = yield* untilOver(job)
          const failed = view(status)
          assert.isAtLeast(failed.doneAt!, failed.claimedAt!)
          assert.deepStrictEqual(
            { ...failed, createdAt: 0, claimedAt: 0, doneAt: 0 },
            {
              tag: "Failed",
              model,
              requestId: job.requestId,
              createdAt: 0,
              claimedAt: 0,
              doneAt: 0,
              info: { user_id: "u", error: "CUDA out of memory" },
              inputs: { do: "fail" },
              outputs: {},
              priority: 0,
              retries: 0,
              warnings: []
            }
          )
          assertSome(Job.failureReason(status), "CUDA out of memory")
        }).pipe(Effect.provide(layer(pool(obedient)))))

      test("that die lose the job to another one, and what they noted stays", () =>
        Effect.gen(function*() {
          const job = yield* JobQueue.submit({ model, payload: {}, info: { user_id: "u" } })
          const done = view(yield* untilOver(job))
          assert.strictEqual(done.tag, "Done")
          assert.strictEqual(done.retries, 2)
          assert.isAtLeast(done.claimedAt! - done.createdAt!, 40)
          assert.deepStrictEqual(done.info, { user_id: "u", attempt1: true, attempt2: true, attempt3: true })
          assert.deepStrictEqual(done.outputs, { by: 3 })
        }).pipe(
          Effect.provide(layer(pool(({ attempt }) => [
            Worker.heartbeat(0, { [`attempt${attempt}`]: true }),
            ...(attempt === 3 ? [Worker.finish(0, { by: attempt })] : [])
          ], { claimTimeout: "20 millis" })))
        ))

      test("that all die use up four attempts, and the job fails without a reason", () =>
        Effect.gen(function*() {
          const job = yield* JobQueue.submit({ model, payload: {} })
          let retries = 0
          const status = yield* until(job, "over", (status) => {
            const now = view(status)
            assert.isAtLeast(now.retries!, retries, "retries never go back")
            retries = now.retries!
            if (now.tag === "Pending") assert.isNull(now.claimedAt)
            return Job.isTerminal(status)
          })
          const failed = view(status)
          assert.strictEqual(failed.tag, "Failed")
          assert.strictEqual(failed.retries, 3)
          assert.deepStrictEqual(failed.info, { attempts: 4 })
          assert.deepStrictEqual(failed.outputs, {})
          // the claims ran out one after the other
          assert.isAtLeast(failed.claimedAt! - failed.createdAt!, 60)
          assert.strictEqual(failed.doneAt! - failed.claimedAt!, 20)
          assertNone(Job.failureReason(status))
          assert.deepStrictEqual(yield* JobQueue.cancel(job), JobQueue.CancelResult.NotCanceled({ status: "failed" }))
          assert.deepStrictEqual(yield* JobQueue.metrics(model), { running: 0, waiting: 0, total: 0 })
        }).pipe(
          Effect.provide(layer(pool(
            ({ attempt }) => [Worker.heartbeat(0, { attempts: attempt })],
            { claimTimeout: "20 millis" }
          )))
        ))

      test("that are slow but send signs of life keep the job", () =>
        Effect.gen(function*() {
          const job = yield* JobQueue.submit({ model, payload: {} })
          const done = view(yield* untilOver(job))
          assert.strictEqual(done.tag, "Done")
          assert.strictEqual(done.retries, 0)
          assert.strictEqual(done.doneAt! - done.claimedAt!, 90)
        }).pipe(
          Effect.provide(layer(pool(
            Worker.always(
              Worker.heartbeat("30 millis"),
              Worker.heartbeat("30 millis"),
              Worker.finish("30 millis")
            ),
            { claimTimeout: "40 millis" }
          )))
        ))
    })

    describe("bad input", () => {
      // as a program in JavaScript might
      const bad = (value: unknown): any => value

      test("is refused before anything is sent, with words that say what is wrong", () =>
        Effect.gen(function*() {
          const blank = (operation: string, model: string) => ({
            _tag: "InvalidRequest",
            operation,
            model,
            detail: "model: a model name must not be blank"
          })
          for (const model of ["", " ", "\t\n"]) {
            const job = Job.ref(model, unknownId)
            assert.deepStrictEqual(yield* errorOf(JobQueue.submit({ model, payload: {} })), blank("submit", model))
            assert.deepStrictEqual(yield* errorOf(JobQueue.status(job)), blank("status", model))
            assert.deepStrictEqual(yield* errorOf(JobQueue.cancel(job)), blank("cancel", model))
            assert.deepStrictEqual(yield* errorOf(JobQueue.clear(model)), blank("clear", model))
            assert.deepStrictEqual(yield* errorOf(JobQueue.metrics(model)), blank("metrics", model))
          }
          for (const operation of ["status", "cancel"] as const) {
            assert.deepStrictEqual(
              yield* errorOf<unknown, JobQueue.JobQueue>(JobQueue[operation](Job.ref(model, " "))),
              {
                _tag: "InvalidRequest",
                operation,
                model,
                detail: "requestId: a request id must not be blank"
              }
            )
          }
        }).pipe(Effect.provide(layer())))

      test("is refused whatever is wrong with a job to be", () =>
        Effect.gen(function*() {
          const wrong: ReadonlyArray<readonly [string, unknown, string]> = [
            ["priority", { payload: {}, priority: 1.5 }, "priority: Expected an integer, actual 1.5"],
            ["priority", { payload: {}, priority: Number.NaN }, "priority: Expected an integer, actual NaN"],
            ["priority", { payload: {}, priority: "1" }, "priority: Expected number, actual \"1\""],
            ["payload", { payload: [] }, "payload: Expected JsonObject, actual []"],
            ["payload", { payload: "text" }, "payload: Expected JsonObject, actual \"text\""],
            ["payload", { payload: null }, "payload: Expected JsonObject, actual null"],
            ["payload", {}, "payload: is missing"],
            ["info", { payload: {}, info: [] }, "info: Expected JsonObject, actual []"]
          ]
          for (const [field, request, detail] of wrong) {
            const error = yield* errorOf(JobQueue.submit(bad({ model, ...bad(request) })))
            assert.include(error, { _tag: "InvalidRequest", operation: "submit", model }, field)
            assert.notProperty(error, "httpStatus")
            assert.isTrue(String(error["detail"]).startsWith(detail), String(error["detail"]))
          }
          assert.strictEqual((yield* JobQueue.metrics(model)).total, 0)
        }).pipe(Effect.provide(layer())))

      test("is refused also where it is no reference, or no model at all", () =>
        Effect.gen(function*() {
          for (const input of [undefined, null, {}, "my-org/video-generator", 5]) {
            const errors = [
              yield* errorOf(JobQueue.status(bad(input))),
              yield* errorOf(JobQueue.cancel(bad(input))),
              yield* errorOf(JobQueue.submit(bad(input)))
            ]
            for (const error of errors) assert.strictEqual(error["_tag"], "InvalidRequest")
          }
          for (const input of [undefined, null, {}, 5]) {
            assert.strictEqual((yield* errorOf(JobQueue.clear(bad(input))))["_tag"], "InvalidRequest")
            assert.strictEqual((yield* errorOf(JobQueue.metrics(bad(input))))["_tag"], "InvalidRequest")
          }
        }).pipe(Effect.provide(layer())))
    })
  })
}

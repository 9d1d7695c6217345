/**
 * The vendor's own client, independent of this library, on the emulator.
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import Together from "together-ai"
import { Emulator } from "../../src/emulator/index.js"
import { JobQueue } from "../../src/index.js"
import { Fault, Worker } from "../../src/testing/index.js"
import * as OutsideWorker from "../fixtures/worker.js"

type Queue = Together["beta"]["jig"]["queue"]

const model = "my-org/video-generator"

const unknownId = "019ba379-92da-71e4-ac40-d98059fd67c7"

interface Running {
  readonly baseUrl: string
  readonly origin: string
  readonly queue: Queue
  readonly requests: Effect.Effect<ReadonlyArray<Emulator.LoggedRequest>>
}

const start = (
  options: Emulator.Options = {},
  client: ConstructorParameters<typeof Together>[0] = {}
): Effect.Effect<Running, unknown, Scope.Scope> =>
  Effect.map(Layer.build(Emulator.layer(options)), (context) => {
    const { baseUrl, origin, requests } = Context.get(context, Emulator.Emulator)
    const together = new Together({ baseURL: baseUrl, apiKey: "any", ...client })
    return { baseUrl, origin, requests, queue: together.beta.jig.queue }
  })

const call = <A>(promise: () => PromiseLike<A>): Effect.Effect<A> => Effect.promise(async () => await promise())

/** The error that the SDK throws. */
const thrown = <A>(promise: () => PromiseLike<A>): Effect.Effect<unknown> =>
  call(() => Promise.resolve(promise()).then(() => assert.fail("the SDK did not throw"), (error: unknown) => error))

const submit = ({ queue }: Running, body: Partial<Together.Beta.Jig.QueueSubmitParams> = {}) =>
  Effect.map(call(() => queue.submit({ model, payload: {}, ...body })), ({ requestId }) => requestId)

const retrieve = ({ queue }: Running, request_id: string) => call(() => queue.retrieve({ model, request_id }))

const until = (running: Running, id: string, isSo: (status: Together.Beta.Jig.QueueRetrieveResponse) => boolean) =>
  Effect.gen(function*() {
    for (;;) {
      const status = yield* retrieve(running, id)
      if (isSo(status)) return status
      yield* Effect.sleep("5 millis")
    }
  })

const finishing: Worker.Pool = {
  script: Worker.always(Worker.progress(0, 0.5), Worker.finish(0, { video_url: "https://example.com/cat.mp4" }))
}

describe("the vendor's SDK", () => {
  it.scopedLive("submits a job and retrieves it until it is done", () =>
    Effect.gen(function*() {
      const running = yield* start({ workers: finishing })
      const id = yield* submit(running, { payload: { prompt: "a cat" }, info: { user_id: "user_123" }, priority: 1 })
      const { claimed_at, created_at, done_at, ...rest } = yield* until(running, id, ({ status }) => status === "done")
      assert.deepStrictEqual(rest, {
        request_id: id,
        model,
        status: "done",
        info: { user_id: "user_123", progress: 0.5 },
        inputs: { prompt: "a cat" },
        outputs: { video_url: "https://example.com/cat.mp4" },
        priority: 1,
        retries: 0
      })
      for (const time of [created_at, claimed_at, done_at]) assert.isNotNaN(Date.parse(time ?? ""))
    }))

  it.scopedLive("cancels a pending job, clears the others, and returns metrics", () =>
    Effect.gen(function*() {
      const running = yield* start()
      const { queue } = running
      const [id = ""] = yield* Effect.all([submit(running), submit(running), submit(running)])
      assert.deepStrictEqual(yield* call(() => queue.metrics({ model })), {
        messages_running: 0,
        messages_waiting: 3,
        total_jobs: 3
      })
      assert.deepStrictEqual(yield* call(() => queue.cancel({ model, request_id: id })), { status: "canceled" })
      assert.deepStrictEqual(yield* call(() => queue.clear({ model })), { canceled_count: 2 })
      assert.strictEqual((yield* retrieve(running, id)).status, "canceled")
      assert.strictEqual((yield* call(() => queue.metrics({ model }))).total_jobs, 0)
    }))

  it.scopedLive("gets a 409 with the status for the cancel of a running job", () =>
    Effect.gen(function*() {
      const running = yield* start({ workers: { script: Worker.always(Worker.finish("1 hour")) } }, { maxRetries: 0 })
      const id = yield* submit(running)
      yield* until(running, id, ({ status }) => status === "running")
      const error = yield* thrown(() => running.queue.cancel({ model, request_id: id }))
      assert.instanceOf(error, Together.ConflictError)
      assert.deepStrictEqual([error.status, error.error], [409, { status: "running" }])
      assert.strictEqual((yield* retrieve(running, id)).status, "running")
    }))

  it.scopedLive("throws its own error classes with the service's messages", () =>
    Effect.gen(function*() {
      const good = yield* start({ apiKeys: [Redacted.make("any")] })
      const missing = yield* thrown(() => good.queue.retrieve({ model, request_id: unknownId }))
      assert.instanceOf(missing, Together.NotFoundError)
      assert.deepStrictEqual(missing.error, {
        code: "job_not_found",
        type: "not_found_error",
        message: `no job ${unknownId} of model ${model}`
      })
      const invalid = yield* thrown(() => good.queue.submit({ model: " ", payload: {} }))
      assert.instanceOf(invalid, Together.BadRequestError)
      assert.deepStrictEqual(invalid.error, {
        code: "invalid_request",
        type: "invalid_request_error",
        param: "model",
        message: "model: a model name must not be blank"
      })
      const { queue } = new Together({ baseURL: good.baseUrl, apiKey: "another" }).beta.jig
      const refused = yield* thrown(() => queue.metrics({ model }))
      assert.instanceOf(refused, Together.AuthenticationError)
      assert.propertyVal(refused.error, "type", "authentication_error")
    }))

  it.scopedLive("has its jobs run in order of priority by an external worker", () =>
    Effect.gen(function*() {
      const running = yield* start()
      const ids = yield* Effect.forEach([0, 2, 1, 2], (priority) => submit(running, { priority }))
      const settings = { origin: running.origin, model }
      for (const i of [1, 3, 2, 0]) {
        const task = yield* call(() => OutsideWorker.retrieve(settings))
        assert.strictEqual(task?.request_id, ids[i])
        yield* call(() => OutsideWorker.report(settings, task!, "done", { payload: { nth: i } }))
        assert.deepInclude(yield* retrieve(running, ids[i]!), { status: "done", outputs: { nth: i } })
      }
    }))

  it.scopedLive("sees a lost job return to the queue, and another worker finish it", () =>
    Effect.gen(function*() {
      const running = yield* start()
      const id = yield* submit(running)
      const settings = { origin: running.origin, model, claimTimeout: 2 }
      const first = yield* call(() => OutsideWorker.retrieve(settings))
      yield* call(() => OutsideWorker.report(settings, first!, "running", { info: { progress: 0.4 } }))
      assert.deepInclude(yield* retrieve(running, id), { status: "running", retries: 0, info: { progress: 0.4 } })
      const lost = yield* until(running, id, ({ status }) => status === "pending")
      assert.deepInclude(lost, { retries: 1, info: { progress: 0.4 } })
      assert.notProperty(lost, "claimed_at")
      const second = yield* call(() => OutsideWorker.retrieve(settings))
      assert.deepInclude(second, { request_id: id, retries: 1 })
      yield* call(() => OutsideWorker.report(settings, second!, "done", { payload: { by: "the second" } }))
      assert.deepInclude(yield* retrieve(running, id), { status: "done", retries: 1, outputs: { by: "the second" } })
    }))

  it.scopedLive("sees a job fail after four lost workers", () =>
    Effect.gen(function*() {
      const running = yield* start({
        workers: { script: Worker.always(Worker.stopResponding), claimTimeout: "20 millis" }
      })
      const id = yield* submit(running)
      assert.deepInclude(yield* until(running, id, ({ status }) => status === "failed"), { retries: 3 })
    }))

  it.scopedLive("waits for Retry-After, and retries", () =>
    Effect.gen(function*() {
      const running = yield* start({ faults: [Fault.rateLimited("1 second").pipe(Fault.on("metrics"), Fault.nth(1))] })
      assert.strictEqual((yield* call(() => running.queue.metrics({ model }))).total_jobs, 0)
      const [first, second, ...others] = (yield* running.requests).map(({ at }) => at)
      assert.isEmpty(others)
      assert.isAtLeast(second! - first!, 990)
    }))

  it.scopedLive("creates three jobs for one submit if the response is lost; ours creates one and returns an error", () =>
    Effect.gen(function*() {
      const lost = { faults: [Fault.answerLost(Fault.unavailable({ status: 502 })).pipe(Fault.on("submit"))] }
      const theirs = yield* start(lost)
      yield* thrown(() => theirs.queue.submit({ model, payload: {} }))
      assert.strictEqual((yield* call(() => theirs.queue.metrics({ model }))).total_jobs, 3)

      const { baseUrl, queue } = yield* start(lost)
      const ours = yield* JobQueue.make({ baseUrl, apiKey: Redacted.make("any") })
      const error = yield* Effect.flip(ours.submit({ model, payload: {} }))
      assert.strictEqual(error._tag, "Unavailable")
      assert.strictEqual((yield* call(() => queue.metrics({ model }))).total_jobs, 1)
    }).pipe(Effect.provide(FetchHttpClient.layer)))
})

import * as HttpApi from "@effect/platform/HttpApi"
import * as HttpApiEndpoint from "@effect/platform/HttpApiEndpoint"
import * as HttpApiGroup from "@effect/platform/HttpApiGroup"
import * as OpenApi from "@effect/platform/OpenApi"
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Http from "node:http"
import * as Os from "node:os"
import { QueueApi } from "../../src/api/index.js"
import { withoutDecodeError } from "../../src/api/internal/withoutDecodeError.js"
import { Emulator } from "../../src/emulator/index.js"
import * as WorkerApi from "../../src/emulator/internal/workerApi.js"
import { Worker } from "../../src/testing/index.js"
import {
  bearer,
  closed,
  connect,
  emulate,
  get,
  json,
  ManualClock,
  post,
  refused,
  send,
  statusOf,
  submitted,
  until
} from "../fixtures/emulator.js"
import type { Request } from "../fixtures/emulator.js"
import { job, model } from "../fixtures/job.js"
import { issuesOf, validate } from "../fixtures/openApi.js"

/** Passes the errors that the emulator logs. */
const withErrors = <A, E, R>(use: (errors: Array<string>) => Effect.Effect<A, E, R>) => {
  const errors: Array<string> = []
  const logger = Logger.make(({ cause, logLevel, message }) => {
    if (logLevel.ordinal >= 40_000) errors.push(`${message} ${Cause.pretty(cause)}`)
  })
  return Effect.provide(use(errors), Logger.replace(Logger.defaultLogger, logger))
}

const unknownId = job.requestId

const uuidv7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

const rfc3339 = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/

/** Workers whose script depends on the payload. */
const obedient: Worker.Pool = {
  claimTimeout: "2 hours",
  script: ({ payload }) => {
    switch (payload["do"]) {
      case "finish":
        return [Worker.progress(0, 0.5), Worker.finish(0, { video_url: "https://example.com/cat.mp4" })]
      case "fail":
        return [Worker.fail(0, "CUDA out of memory")]
      default:
        // longer than any test
        return [Worker.finish("1 hour")]
    }
  }
}

/** A valid request to each endpoint. */
const endpoints: ReadonlyArray<readonly [string, Request]> = [
  ["status", get("status", { model, request_id: unknownId })],
  ["submit", post("submit", { model, payload: {} })],
  ["cancel", post("cancel", { model, request_id: unknownId })],
  ["clear", post("clear", { model })],
  ["metrics", get("metrics", { model })],
  ["retrieve", { path: `/internal/v1/queue/retrieve?${new URLSearchParams({ model, timeout: "0s" })}` }],
  [
    "update",
    {
      method: "POST",
      path: "/internal/v1/videos/status",
      body: { model, request_id: unknownId, status: "running", payload: {} }
    }
  ]
]

describe("Emulator", () => {
  // ---------------------------------------------------------------------------
  // the address
  // ---------------------------------------------------------------------------

  describe("the address", () => {
    it.scopedLive("is the loopback address by default", () =>
      Effect.gen(function*() {
        const { baseUrl, port } = yield* emulate()
        assert.strictEqual(baseUrl, `http://127.0.0.1:${port}/v1`)
        assert.isAbove(port, 0)
        const others = [
          ...Object.values(Os.networkInterfaces()).flat().flatMap((address) =>
            // a link-local address is incomplete without its scope
            address === undefined || (address.family === "IPv6" && address.scopeid !== 0) ? [] : [address.address]
          ),
          // on Linux all of 127.0.0.0/8 is local, so a server on every interface listens there
          ...(Os.platform() === "linux" ? ["127.0.0.2"] : [])
        ].filter((address) => address !== "127.0.0.1")
        assert.isNotEmpty(others)
        for (const address of others) {
          const error = yield* Effect.flip(Effect.scoped(connect(port, address)))
          assert.strictEqual(error.code, "ECONNREFUSED", address)
        }
      }))

    it.scopedLive("is the configured host and port", () =>
      Effect.gen(function*() {
        const free = (yield* Effect.scoped(emulate())).port
        const { ask, baseUrl } = yield* emulate({ host: "localhost", port: free })
        assert.strictEqual(baseUrl, `http://localhost:${free}/v1`)
        assert.strictEqual((yield* ask(get("metrics", { model }))).status, 200)
      }))

    const hasIPv6 = Object.values(Os.networkInterfaces()).flat().some((address) => address?.address === "::1")
    it.scopedLive.skipIf(!hasIPv6)("is in brackets for IPv6", () =>
      Effect.gen(function*() {
        const { ask, baseUrl, port } = yield* emulate({ host: "::1" })
        assert.strictEqual(baseUrl, `http://[::1]:${port}/v1`)
        assert.strictEqual((yield* ask(get("metrics", { model }))).status, 200)
      }))

    it.scopedLive("is every interface for 0.0.0.0", () =>
      Effect.gen(function*() {
        const { baseUrl, port } = yield* emulate({ host: "0.0.0.0" })
        assert.strictEqual(baseUrl, `http://127.0.0.1:${port}/v1`)
        assert.strictEqual((yield* send(port, get("metrics", { model }))).status, 200)
      }))

    it.scopedLive("fails with ServeError if the port is in use", () =>
      Effect.gen(function*() {
        const first = yield* emulate()
        const error = yield* Effect.flip(Layer.build(Emulator.layer({ port: first.port })))
        assert.strictEqual(error._tag, "ServeError")
        assert.propertyVal(error.cause, "code", "EADDRINUSE")
        assert.strictEqual((yield* first.ask(get("metrics", { model }))).status, 200)
      }))

    it.scopedLive("fails with ServeError if the port is out of range, or the host empty", () =>
      Effect.gen(function*() {
        // an empty host would be every interface
        for (const options of [{ port: 65_536 }, { port: -1 }, { port: 0.5 }, { port: NaN }, { host: "" }]) {
          const error = yield* Effect.flip(Layer.build(Emulator.layer(options)))
          assert.strictEqual(error._tag, "ServeError")
        }
      }))
  })

  // ---------------------------------------------------------------------------
  // successful responses, exactly
  // ---------------------------------------------------------------------------

  describe("submit", () => {
    it.scopedLive("responds with the request id only", () =>
      Effect.gen(function*() {
        const { ask } = yield* emulate()
        const answer = yield* ask(post("submit", { model, payload: { prompt: "a cat" }, info: {}, priority: 3 }))
        const { requestId } = json(answer)
        assert.strictEqual(answer.status, 200)
        assert.strictEqual(answer.text, JSON.stringify({ requestId }))
        assert.match(requestId, uuidv7)
      }))

    it.scopedLive("accepts null for optional fields, and unknown fields", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const id = yield* submitted(running, { model, info: null, priority: null, webhook: "https://example.com" })
        const { created_at } = yield* statusOf(running, model, id)
        assert.deepStrictEqual(yield* statusOf(running, model, id), {
          request_id: id,
          model,
          status: "pending",
          created_at,
          inputs: {},
          priority: 0,
          retries: 0
        })
      }))

    it.scopedLive("ignores the content type and a byte order mark", () =>
      Effect.gen(function*() {
        const { ask } = yield* emulate()
        const body = `\ufeff${JSON.stringify({ model, payload: {} })}`
        for (const type of ["application/json; charset=utf-8", "text/plain", "application/octet-stream"]) {
          const answer = yield* ask({ ...post("submit", body), headers: { "content-type": type } })
          assert.strictEqual(answer.status, 200, answer.text)
        }
      }))
  })

  describe("status", () => {
    const info = { user_id: "user_123" }

    it.scopedLive("of a pending job", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const before = yield* Clock.currentTimeMillis
        const id = yield* submitted(running, { model, payload: { prompt: "größe 🦊" }, info, priority: -2 })
        const after = yield* Clock.currentTimeMillis
        const answer = yield* running.ask(get("status", { model, request_id: id }))
        const { created_at } = json(answer)
        assert.match(created_at, rfc3339)
        assert.isAtLeast(Date.parse(created_at), before)
        assert.isAtMost(Date.parse(created_at), after)
        assert.deepStrictEqual(json(answer), {
          request_id: id,
          model,
          status: "pending",
          created_at,
          info,
          inputs: { prompt: "größe 🦊" },
          priority: -2,
          retries: 0
        })
        assert.notInclude(answer.text, "null")
        assert.strictEqual(answer.headers["content-length"], String(Buffer.byteLength(answer.text)))
      }))

    it.scopedLive("of a running job", () =>
      Effect.gen(function*() {
        const running = yield* emulate({ workers: obedient })
        const id = yield* submitted(running, { model })
        const status = yield* until(running, model, id, "running")
        const { claimed_at, created_at } = status
        assert.match(claimed_at, rfc3339)
        assert.isAtLeast(Date.parse(claimed_at), Date.parse(created_at))
        assert.deepStrictEqual(status, {
          request_id: id,
          model,
          status: "running",
          created_at,
          claimed_at,
          inputs: {},
          priority: 0,
          retries: 0
        })
      }))

    it.scopedLive("of a done job", () =>
      Effect.gen(function*() {
        const running = yield* emulate({ workers: obedient })
        const id = yield* submitted(running, { model, payload: { do: "finish" }, info })
        const status = yield* until(running, model, id, "done")
        const { claimed_at, created_at, done_at } = status
        assert.match(done_at, rfc3339)
        assert.isAtLeast(Date.parse(done_at), Date.parse(claimed_at))
        assert.deepStrictEqual(status, {
          request_id: id,
          model,
          status: "done",
          created_at,
          claimed_at,
          done_at,
          info: { ...info, progress: 0.5 },
          inputs: { do: "finish" },
          outputs: { video_url: "https://example.com/cat.mp4" },
          priority: 0,
          retries: 0
        })
      }))

    it.scopedLive("of a failed job", () =>
      Effect.gen(function*() {
        const running = yield* emulate({ workers: obedient })
        const id = yield* submitted(running, { model, payload: { do: "fail" } })
        const status = yield* until(running, model, id, "failed")
        const { claimed_at, created_at, done_at } = status
        assert.match(done_at, rfc3339)
        assert.deepStrictEqual(status, {
          request_id: id,
          model,
          status: "failed",
          created_at,
          claimed_at,
          done_at,
          info: { error: "CUDA out of memory" },
          inputs: { do: "fail" },
          priority: 0,
          retries: 0
        })
      }))

    it.scopedLive("of a canceled job", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const id = yield* submitted(running, { model })
        yield* running.ask(post("cancel", { model, request_id: id }))
        const status = yield* statusOf(running, model, id)
        assert.deepStrictEqual(status, {
          request_id: id,
          model,
          status: "canceled",
          created_at: status.created_at,
          inputs: {},
          priority: 0,
          retries: 0
        })
      }))

    it.scopedLive("of a requeued job", () =>
      Effect.gen(function*() {
        const time = new ManualClock()
        const running = yield* emulate({
          workers: {
            claimTimeout: "200 millis",
            script: ({ payload }) =>
              payload["do"] === "die" ? [] : Array.from({ length: 1000 }, () => Worker.heartbeat("100 millis"))
          }
        }, time)
        const id = yield* submitted(running, { model, payload: { do: "die" } })
        assert.strictEqual((yield* statusOf(running, model, id)).status, "running")
        // a job with higher priority is claimed next, and keeps its claim
        yield* submitted(running, { model, priority: 1 })
        yield* time.advance("200 millis")
        const status = yield* statusOf(running, model, id)
        assert.strictEqual(status.retries, 1)
        assert.deepStrictEqual(status, {
          request_id: id,
          model,
          status: "pending",
          created_at: status.created_at,
          inputs: { do: "die" },
          priority: 0,
          retries: status.retries
        })
      }))

    it.scopedLive("has empty inputs and outputs as submitted and reported", () =>
      Effect.gen(function*() {
        for (
          const [end, script] of [
            ["done", Worker.always(Worker.finish(0, {}))],
            ["failed", Worker.always(Worker.fail(0, "no reason"))]
          ] as const
        ) {
          const running = yield* emulate({ workers: { script } })
          const id = yield* submitted(running, { model, payload: {}, info: {} })
          const status = yield* until(running, model, id, end)
          assert.deepStrictEqual(status.inputs, {})
          assert.deepStrictEqual(status.outputs, end === "done" ? {} : undefined)
        }
        const running = yield* emulate()
        const id = yield* submitted(running, { model, payload: {}, info: {} })
        const { info, inputs, ...rest } = yield* statusOf(running, model, id)
        assert.deepStrictEqual([info, inputs], [{}, {}])
        assert.notProperty(rest, "outputs")
      }))

    it.scopedLive("of a job whose retries are exhausted", () =>
      Effect.gen(function*() {
        const running = yield* emulate({ workers: { script: () => [], claimTimeout: "10 millis" } })
        const id = yield* submitted(running, { model })
        const status = yield* until(running, model, id, "failed")
        const { claimed_at, created_at, done_at } = status
        assert.strictEqual(Date.parse(done_at) - Date.parse(claimed_at), 10)
        assert.deepStrictEqual(status, {
          request_id: id,
          model,
          status: "failed",
          created_at,
          claimed_at,
          done_at,
          inputs: {},
          priority: 0,
          retries: 3
        })
      }))

    it.scopedLive("of a job that is not there: 404", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const id = yield* submitted(running, { model })
        for (const [model_, id_] of [[model, unknownId], ["another/model", id]] as const) {
          const answer = yield* running.ask(get("status", { model: model_, request_id: id_ }))
          assert.deepStrictEqual(refused(answer, 404), {
            code: "job_not_found",
            type: "not_found_error",
            message: `no job ${id_} of model ${model_}`
          })
        }
      }))
  })

  describe("cancel", () => {
    it.scopedLive("responds with 200 once, and then with 409 and the status", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const id = yield* submitted(running, { model })
        const first = yield* running.ask(post("cancel", { model, request_id: id }))
        assert.deepStrictEqual([first.status, first.text], [200, "{\"status\":\"canceled\"}"])
        const second = yield* running.ask(post("cancel", { model, request_id: id }))
        assert.deepStrictEqual([second.status, second.text], [409, "{\"status\":\"canceled\"}"])
      }))

    it.scopedLive("responds with 409 and the status of a job that is not pending", () =>
      Effect.gen(function*() {
        const running = yield* emulate({ workers: { ...obedient, workers: 3 } })
        for (const [what, state] of [["hold", "running"], ["finish", "done"], ["fail", "failed"]] as const) {
          const id = yield* submitted(running, { model, payload: { do: what } })
          yield* until(running, model, id, state)
          const answer = yield* running.ask(post("cancel", { model, request_id: id }))
          assert.deepStrictEqual([answer.status, answer.text], [409, JSON.stringify({ status: state })])
        }
      }))

    it.scopedLive("of a job that is not there: 404", () =>
      Effect.gen(function*() {
        const { ask } = yield* emulate()
        const answer = yield* ask(post("cancel", { model, request_id: unknownId }))
        assert.deepStrictEqual(refused(answer, 404), {
          code: "job_not_found",
          type: "not_found_error",
          message: `no job ${unknownId} of model ${model}`
        })
      }))
  })

  describe("clear and metrics", () => {
    it.scopedLive("respond with counts", () =>
      Effect.gen(function*() {
        const running = yield* emulate({ workers: obedient })
        const metrics = Effect.map(running.ask(get("metrics", { model })), (answer) => answer.text)
        assert.strictEqual(yield* metrics, "{\"messages_running\":0,\"messages_waiting\":0,\"total_jobs\":0}")
        yield* until(running, model, yield* submitted(running, { model }), "running")
        yield* submitted(running, { model })
        yield* submitted(running, { model })
        assert.strictEqual(yield* metrics, "{\"messages_running\":1,\"messages_waiting\":2,\"total_jobs\":3}")
        const clear = Effect.map(running.ask(post("clear", { model })), ({ status, text }) => [status, text])
        assert.deepStrictEqual(yield* clear, [200, "{\"canceled_count\":2}"])
        assert.deepStrictEqual(yield* clear, [200, "{\"canceled_count\":0}"])
        assert.strictEqual(yield* metrics, "{\"messages_running\":1,\"messages_waiting\":0,\"total_jobs\":1}")
      }))
  })

  describe("the document", () => {
    it.scopedLive("is that of the API with paths under /v1, and needs no token", () =>
      Effect.gen(function*() {
        const { ask } = yield* emulate({ apiKeys: [Redacted.make("key")] })
        const answer = yield* ask({ path: "/openapi.json", headers: { authorization: "" } })
        assert.strictEqual(answer.status, 200)
        const { components, paths, ...rest } = JSON.parse(JSON.stringify(QueueApi.openApi()))
        const served = json(answer)
        for (const [path, item] of Object.entries(paths)) assert.deepStrictEqual(served.paths[`/v1${path}`], item)
        assert.deepInclude(served.components.schemas, components.schemas)
        assert.deepStrictEqual(served.components.securitySchemes, components.securitySchemes)
        assert.deepInclude(served, { ...rest, tags: [...rest.tags, { name: "worker" }] })
        // the emulator adds only the worker endpoints and the prefix
        assert.sameMembers(
          Object.keys(served.paths).filter((path) => !path.startsWith("/v1/queue/")),
          ["/internal/v1/queue/retrieve", "/internal/v1/videos/status"]
        )
        assert.strictEqual(Object.keys(served.paths).length, Object.keys(paths).length + 2)
        const api = withoutDecodeError(QueueApi.QueueApi.prefix("/v1").add(WorkerApi.WorkerApi))
        const whole = OpenApi.fromApi(api, { additionalPropertiesStrategy: "allow" })
        assert.deepStrictEqual(served, JSON.parse(JSON.stringify(whole)))
      }))

    it("is a part of that of an app which adds the API to its own", () => {
      const hello = HttpApiEndpoint.get("hello", "/hello").setUrlParams(Schema.Struct({ n: Schema.NumberFromString }))
      const app = HttpApi.make("app").add(HttpApiGroup.make("greetings").add(hello)).addHttpApi(QueueApi.QueueApi)
      const { components, paths } = OpenApi.fromApi(app)
      assert.includeMembers(Object.keys(paths), ["/hello", ...Object.keys(QueueApi.openApi().paths)])
      // what the server of the app responds with
      assert.property(components.schemas, "HttpApiDecodeError")
    })

    it("rejects invalid responses", () => {
      const document: any = QueueApi.openApi()
      const good = { request_id: "id", model, status: "pending", created_at: "2026-02-07T10:30:00Z", retries: 0 }
      const issues = (body: unknown) => issuesOf(document, "GET", "/queue/status", 200, body)
      assert.deepStrictEqual(issues(good), [])
      for (
        const wrong of [
          { ...good, model: " " },
          { ...good, created_at: "2026-02-07 10:30" },
          { ...good, created_at: 0 },
          { ...good, retries: -1 },
          { ...good, retries: 0.5 },
          { ...good, inputs: [] },
          { ...good, warnings: [1] },
          { model, status: "pending" },
          [],
          null
        ]
      ) {
        assert.isNotEmpty(issues(wrong), JSON.stringify(wrong))
      }
      assert.isNotEmpty(issuesOf(document, "GET", "/queue/status", 418, {}))
      assert.isNotEmpty(issuesOf(document, "POST", "/queue/cancel", 200, { status: "running" }))
      assert.throws(() => validate(document, { oneOf: [] }, {}), "oneOf")
    })
  })

  // ---------------------------------------------------------------------------
  // error responses
  // ---------------------------------------------------------------------------

  describe("the token", () => {
    for (const [name, request] of endpoints) {
      it.scopedLive(`must be a valid bearer token: ${name}`, () =>
        Effect.gen(function*() {
          const { ask } = yield* emulate({ apiKeys: [Redacted.make("good"), Redacted.make("also-good")] })
          const ask_ = (authorization: string | undefined) => ask({ ...request, headers: { authorization } })
          const tokens = [undefined, "", "Bearer", "Bearer  ", "Basic x", "Basic good", "good", "Bearergood"].concat([
            "Bearer not-on-the-list",
            "bearer x",
            "Bearer Good",
            "Bearer good also-good"
          ])
          for (const token of tokens) {
            assert.deepStrictEqual(refused(yield* ask_(token), 401), {
              code: "invalid_api_key",
              type: "authentication_error",
              message: "a bearer token that is good is needed"
            }, token)
          }
          // the scheme is case-insensitive (RFC 9110, 11.1), and spaces around the token are ignored
          for (const token of ["Bearer good", "Bearer also-good", "bearer good", "BEARER  good "]) {
            assert.notStrictEqual((yield* ask_(token)).status, 401, token)
          }
        }))
    }

    it.scopedLive("may be any non-blank token without a list of keys", () =>
      Effect.gen(function*() {
        const { ask } = yield* emulate()
        const metrics = get("metrics", { model })
        for (const token of ["Bearer x", "Bearer 🦊"]) {
          const headers = { authorization: Buffer.from(token).toString("latin1") }
          assert.strictEqual((yield* ask({ ...metrics, headers })).status, 200, token)
        }
        for (const token of ["", "Bearer", "Bearer   ", "Basic x"]) {
          refused(yield* ask({ ...metrics, headers: { authorization: token } }), 401)
        }
      }))

    it.scopedLive("is checked before the request, which has no effect without one", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const headers = { authorization: "Basic x" }
        for (
          const request of [
            post("submit", "no JSON"),
            post("submit", { model, payload: {} }),
            post("cancel", []),
            post("clear", ""),
            { path: "/v1/queue/status" },
            { path: "/v1/queue/metrics?model=%20" }
          ]
        ) {
          refused(yield* running.ask({ ...request, headers }), 401)
        }
        assert.strictEqual(json(yield* running.ask(get("metrics", { model }))).total_jobs, 0)
      }))
  })

  describe("a bad request", () => {
    const id = unknownId
    const bodies: ReadonlyArray<readonly [string, unknown, string, string | RegExp]> = [
      ["submit", "", "invalid_json", "the body is empty"],
      ["submit", " \n", "invalid_json", "the body is empty"],
      ["submit", "{\"model\":", "invalid_json", "the body is not JSON"],
      ["submit", "{\"model\":\"m\",\"payload\":{}}}", "invalid_json", "the body is not JSON"],
      ["submit", "{'model':'m'}", "invalid_json", "the body is not JSON"],
      ["submit", [], "invalid_request", "the body must be a JSON object"],
      ["submit", [{ model, payload: {} }], "invalid_request", "the body must be a JSON object"],
      ["submit", "null", "invalid_request", "the body must be a JSON object"],
      ["submit", "\"text\"", "invalid_request", "the body must be a JSON object"],
      ["submit", "42", "invalid_request", "the body must be a JSON object"],
      ["submit", {}, "invalid_request", /model.*missing/],
      ["submit", { payload: {} }, "invalid_request", /model.*missing/],
      ["submit", { model }, "invalid_request", /payload.*missing/],
      ["submit", { model: 5, payload: {} }, "invalid_request", /model.*5/],
      ["submit", { model: null, payload: {} }, "invalid_request", /model.*null/],
      ["submit", { model: "", payload: {} }, "invalid_request", "model: a model name must not be blank"],
      ["submit", { model: " \t", payload: {} }, "invalid_request", "model: a model name must not be blank"],
      ["submit", { model, payload: [] }, "invalid_request", /payload/],
      ["submit", { model, payload: null }, "invalid_request", /payload/],
      ["submit", { model, payload: "{}" }, "invalid_request", /payload/],
      ["submit", { model, payload: {}, priority: 1.5 }, "invalid_request", /priority/],
      ["submit", { model, payload: {}, priority: "1" }, "invalid_request", "priority: Expected number, actual \"1\""],
      ["submit", "{\"model\":\"m\",\"payload\":{},\"priority\":1e400}", "invalid_request", /priority/],
      ["submit", { model, payload: {}, info: [] }, "invalid_request", /info/],
      ["cancel", "", "invalid_json", "the body is empty"],
      ["cancel", "[", "invalid_json", "the body is not JSON"],
      ["cancel", [], "invalid_request", "the body must be a JSON object"],
      ["cancel", {}, "invalid_request", /model.*missing/],
      ["cancel", { model }, "invalid_request", /request_id.*missing/],
      ["cancel", { request_id: id }, "invalid_request", /model.*missing/],
      ["cancel", { model, requestId: id }, "invalid_request", /request_id.*missing/],
      ["cancel", { model, request_id: 5 }, "invalid_request", /request_id/],
      ["cancel", { model, request_id: " " }, "invalid_request", "request_id: a request id must not be blank"],
      ["clear", "", "invalid_json", "the body is empty"],
      ["clear", "x", "invalid_json", "the body is not JSON"],
      ["clear", [], "invalid_request", "the body must be a JSON object"],
      ["clear", {}, "invalid_request", /model.*missing/],
      ["clear", { model: [model] }, "invalid_request", /model/],
      ["clear", { model: " " }, "invalid_request", "model: a model name must not be blank"]
    ]

    it.scopedLive("gets a 400 that describes the problem in its body", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        for (const [path, body, code, message] of bodies) {
          const what = `${path} ${JSON.stringify(body)}`
          const error = refused(yield* running.ask(post(path, body)), 400)
          assert.strictEqual(error.code, code, what)
          assert.strictEqual(error.type, "invalid_request_error", what)
          if (typeof message === "string") assert.strictEqual(error.message, message, what)
          else assert.match(error.message, message, what)
          // the invalid field
          assert.strictEqual(error.param, /^(\w+): /.exec(error.message)?.[1], what)
        }
        assert.strictEqual(json(yield* running.ask(get("metrics", { model }))).total_jobs, 0)
      }))

    const queries: ReadonlyArray<readonly [string, string, string]> = [
      ["status", "", "request_id"],
      ["status", `?model=${id}`, "request_id"],
      ["status", `?request_id=${id}`, "model"],
      ["status", `?requestId=${id}&model=m`, "request_id"],
      ["status", `?request_id=&model=m`, "request_id"],
      ["status", `?request_id=%20&model=m`, "request_id"],
      ["status", `?request_id=${id}&model=%20%09`, "model"],
      ["status", `?request_id=${id}&model=a&model=b`, "model"],
      ["status", `?request_id=${id}&request_id=${id}&model=m`, "request_id"],
      ["metrics", "", "model"],
      ["metrics", "?", "model"],
      ["metrics", "?model", "model"],
      ["metrics", "?model=", "model"],
      ["metrics", "?model=a&model=a", "model"],
      ["metrics", "?model[]=a", "model"],
      ["metrics", "?Model=a", "model"],
      ["metrics", "?__proto__=a", "model"]
    ]

    it.scopedLive("gets a 400 that describes the problem in its query", () =>
      Effect.gen(function*() {
        const { ask } = yield* emulate()
        for (const [path, query, param] of queries) {
          const error = refused(yield* ask({ path: `/v1/queue/${path}${query}` }), 400)
          assert.deepInclude(error, { code: "invalid_request", type: "invalid_request_error", param }, path + query)
          assert.isTrue(error.message.startsWith(`${param}: `), error.message)
        }
      }))
  })

  describe("a request to another path or method", () => {
    it.scopedLive("gets a 404 for an unknown path", () =>
      Effect.gen(function*() {
        const { ask } = yield* emulate()
        for (
          const [method, path] of [
            ["GET", "/"],
            ["GET", "/v1"],
            ["POST", "/v1/queue"],
            ["GET", "/queue/status"],
            ["GET", "/v2/queue/metrics"],
            ["POST", "/v1/queue/submit/more"],
            ["DELETE", "/v1/queue/%zz"],
            ["GET", "/v1/queue/__proto__"],
            ["OPTIONS", "*"],
            ["GET", "/V1/QUEUE/METRICS"],
            ["GET", "/v1/queue/Metrics"],
            ["GET", "//queue//metrics"],
            ["GET", "//v1/queue/metrics"],
            ["GET", "/v1//queue/metrics"],
            ["GET", "/v1/queue/metrics/"],
            ["HEAD", "/v1/queue/metrics/"],
            ["POST", "/v1/queue/metrics/"],
            ["GET", "/v1/queue/metrics;x"],
            ["GET", "/v1/queue/%6detrics"],
            ["POST", "/v1/queue/submit/"],
            ["GET", "/internal/v1/queue/retrieve/"],
            ["HEAD", "/internal/v1/queue/retrieve/"],
            ["GET", "/internal/v1/queue/Retrieve"],
            ["POST", "/internal/v1/videos//status"],
            ["GET", "/openapi.json/"],
            ["GET", "/OpenAPI.json"]
          ] as const
        ) {
          const answer = yield* ask({ method, path: `${path}?model=m` })
          assert.strictEqual(answer.status, 404, `${method} ${path}`)
          if (method === "HEAD") continue
          assert.deepStrictEqual(refused(answer, 404), {
            code: "not_found",
            type: "not_found_error",
            message: `there is nothing at ${path}`
          })
        }
      }))

    it.scopedLive("may have an absolute URL, as for a proxy", () =>
      Effect.gen(function*() {
        const { ask, baseUrl, origin } = yield* emulate()
        assert.strictEqual((yield* ask({ path: `${baseUrl}/queue/metrics?model=m` })).status, 200)
        refused(yield* ask({ path: `${origin}/queue/metrics?model=m` }), 404)
      }))

    const allowed: ReadonlyArray<readonly [string, string]> = [
      ["/v1/queue/status", "GET, HEAD"],
      ["/v1/queue/metrics", "GET, HEAD"],
      ["/v1/queue/submit", "POST"],
      ["/v1/queue/cancel", "POST"],
      ["/v1/queue/clear", "POST"],
      ["/internal/v1/queue/retrieve", "GET"],
      ["/internal/v1/videos/status", "POST"],
      ["/openapi.json", "GET, HEAD"]
    ]

    it.scopedLive("gets a 405 with Allow for a wrong method", () =>
      Effect.gen(function*() {
        const { ask } = yield* emulate()
        for (const [path, allow] of allowed) {
          for (const method of ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]) {
            if (allow.includes(method)) continue
            for (const query of ["", `?model=m&request_id=${unknownId}`]) {
              const answer = yield* ask({ method, path: path + query })
              assert.deepStrictEqual(refused(answer, 405), {
                code: "method_not_allowed",
                type: "invalid_request_error",
                message: `${path} takes ${allow}, not ${method}`
              })
              assert.strictEqual(answer.headers.allow, allow, `${method} ${path}`)
            }
          }
        }
      }))
  })

  describe("a bug", () => {
    it.scopedLive("in a worker's script gets a 500, and the server keeps running", () =>
      withErrors((errors) =>
        Effect.gen(function*() {
          const running = yield* emulate({
            workers: {
              script: () => {
                throw new Error("a script that is wrong")
              }
            }
          })
          assert.deepStrictEqual(refused(yield* running.ask(post("submit", { model, payload: {} })), 500), {
            code: "internal_error",
            type: "server_error",
            message: "the emulator has failed: Error: a script that is wrong"
          })
          assert.strictEqual(errors.length, 1)
          assert.include(errors[0], "a script that is wrong")
          assert.strictEqual((yield* running.ask(get("metrics", { model }))).status, 200)
        })
      ))
  })

  describe("HEAD", () => {
    it.scopedLive("responds like GET, without the body", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const id = yield* submitted(running, { model })
        const requests: ReadonlyArray<Request> = [
          get("metrics", { model }),
          get("status", { model, request_id: id }),
          get("status", { model, request_id: unknownId }),
          { path: "/v1/queue/metrics" },
          { ...get("metrics", { model }), headers: { authorization: "Basic x" } },
          { path: "/openapi.json" },
          { path: "/nowhere" }
        ]
        const statuses: Array<number> = []
        for (const request of requests) {
          const got = yield* running.ask(request)
          const head = yield* running.ask({ ...request, method: "HEAD" })
          assert.strictEqual(head.status, got.status, request.path)
          assert.strictEqual(head.text, "")
          assert.strictEqual(head.headers["content-length"], String(Buffer.byteLength(got.text)), request.path)
          statuses.push(head.status)
        }
        assert.deepStrictEqual(statuses, [200, 200, 404, 400, 401, 200, 404])
        const answer = yield* running.ask({ method: "HEAD", path: "/v1/queue/submit" })
        assert.strictEqual(answer.status, 405)
      }))
  })

  // ---------------------------------------------------------------------------
  // unusual names
  // ---------------------------------------------------------------------------

  describe("a model", () => {
    const models = [
      "a b",
      "a+b",
      " a ",
      "a/b/../c",
      "a%2Fb",
      "größe/模型 🦊",
      "?&=#;",
      "a\u0000b\n",
      "__proto__",
      "constructor",
      "toString"
    ]
    it.scopedLive("may have any name", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        for (const model of models) {
          const id = yield* submitted(running, { model, payload: { model } })
          const status = yield* statusOf(running, model, id)
          assert.strictEqual(status.model, model)
          assert.deepStrictEqual(status.inputs, { model })
          assert.strictEqual(json(yield* running.ask(get("metrics", { model }))).messages_waiting, 1)
          const canceled = yield* running.ask(post("cancel", { model, request_id: id }))
          assert.strictEqual(canceled.status, 200)
          assert.strictEqual(json(yield* running.ask(post("clear", { model }))).canceled_count, 0)
        }
      }))

    it.scopedLive("may have any URL encoding in the query", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        yield* submitted(running, { model: "größe/b c" })
        for (
          const query of [
            "model=gr%C3%B6%C3%9Fe%2Fb%20c",
            "model=gr%c3%b6%c3%9fe/b+c",
            "%6Dodel=gr%C3%B6%C3%9Fe/b+c",
            "a=1&model=gr%C3%B6%C3%9Fe/b+c&b=%zz&__proto__=x&constructor=y"
          ]
        ) {
          const answer = yield* running.ask({ path: `/v1/queue/metrics?${query}` })
          assert.strictEqual(json(answer).messages_waiting, 1, query)
        }
        const broken = yield* running.ask({ path: "/v1/queue/metrics?model=%zz%C3" })
        assert.strictEqual(json(broken).messages_waiting, 0)
      }))

    it.scopedLive("keeps a payload's and an info's key __proto__", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const body = `{"model":"m","payload":{"__proto__":{"a":1},"b":2},"info":{"__proto__":{"c":3}}}`
        const id = json(yield* running.ask(post("submit", body))).requestId
        const { text } = yield* running.ask(get("status", { model: "m", request_id: id }))
        assert.include(text, "\"inputs\":{\"__proto__\":{\"a\":1},\"b\":2}")
        assert.include(text, "\"info\":{\"__proto__\":{\"c\":3}}")
      }))
  })

  // ---------------------------------------------------------------------------
  // large bodies
  // ---------------------------------------------------------------------------

  describe("a body that is too large", () => {
    const large = Buffer.alloc(10 * 1024 * 1024, " ")
    const expected = {
      code: "body_too_large",
      type: "invalid_request_error",
      message: "the body must not be larger than 8388608 bytes"
    }

    it.scopedLive("gets an error response that node:http can read", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const agent = yield* Effect.acquireRelease(
          Effect.sync(() => new Http.Agent({ keepAlive: true, maxSockets: 1 })),
          (agent) => Effect.sync(() => agent.destroy())
        )
        for (const path of ["submit", "cancel", "clear"]) {
          for (const chunked of [false, true]) {
            const answer = yield* running.ask({ ...post(path, large), chunked, agent })
            assert.deepStrictEqual(refused(answer, 413), expected)
            // on the same connection
            assert.strictEqual((yield* running.ask({ ...get("metrics", { model }), agent })).status, 200)
          }
        }
      }))

    it.scopedLive("gets an error response that fetch can read", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const bodies: ReadonlyArray<RequestInit> = [
          { body: large },
          {
            body: new ReadableStream({
              start: (controller) => {
                for (let i = 0; i < 10; i++) controller.enqueue(large.subarray(0, 1024 * 1024))
                controller.close()
              }
            }),
            ...{ duplex: "half" }
          }
        ]
        for (const body of bodies) {
          const [status, error] = yield* Effect.tryPromise(async (signal) => {
            const response = await fetch(`${running.baseUrl}/queue/submit`, {
              method: "POST",
              headers: { authorization: "Bearer any" },
              signal,
              ...body
            })
            return [response.status, await response.json()]
          })
          assert.deepStrictEqual([status, error], [413, expected])
        }
        yield* submitted(running, { model })
      }))

    it.scopedLive("is one byte over the limit", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const body = JSON.stringify({ model: "ö", payload: {} })
        const padded = body + " ".repeat(8_388_608 - Buffer.byteLength(body))
        for (const chunked of [false, true]) {
          assert.strictEqual((yield* running.ask({ ...post("submit", padded), chunked })).status, 200)
          const error = refused(yield* running.ask({ ...post("submit", `${padded} `), chunked }), 413)
          assert.deepStrictEqual(error, expected)
        }
        assert.strictEqual(json(yield* running.ask(get("metrics", { model: "ö" }))).total_jobs, 2)
      }))

    it.scopedLive("without an end is cut off, and the server keeps running", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const socket = yield* connect(running.port)
        socket.write(`POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\n${bearer}Transfer-Encoding: chunked\r\n\r\n`)
        const chunk = Buffer.concat([Buffer.from("100000\r\n"), large.subarray(0, 1024 * 1024), Buffer.from("\r\n")])
        const more = () => {
          while (!socket.destroyed && socket.write(chunk));
        }
        socket.on("drain", more)
        socket.resume()
        more()
        yield* closed(socket)
        yield* submitted(running, { model })
      }))
  })

  // ---------------------------------------------------------------------------
  // many and misbehaving clients
  // ---------------------------------------------------------------------------

  describe("clients", () => {
    it.scopedLive("may connect concurrently", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const ids = yield* Effect.all(
          Array.from({ length: 200 }, (_, i) => submitted(running, { model, payload: { i } })),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(new Set(ids).size, 200)
        assert.strictEqual(json(yield* running.ask(get("metrics", { model }))).messages_waiting, 200)
        const statuses = yield* Effect.all(ids.map((id) => statusOf(running, model, id)), { concurrency: "unbounded" })
        assert.deepStrictEqual(statuses.map(({ inputs }) => inputs.i), ids.map((_, i) => i))
      }))

    it.scopedLive("may disconnect during a request", () =>
      withErrors((errors) =>
        Effect.gen(function*() {
          const running = yield* emulate()
          const beginnings = [
            "POST /v1/queue/subm",
            `POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\n${bearer}`,
            `POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\n${bearer}Content-Length: 100\r\n\r\n`,
            `POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\n${bearer}Content-Length: 100\r\n\r\n{"model":"m",`,
            `POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\n${bearer}Transfer-Encoding: chunked\r\n\r\n5\r\n{"mod`,
            `POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"model":"m",`
          ]
          for (const text of beginnings) {
            for (const leave of ["destroy", "resetAndDestroy", "end"] as const) {
              const socket = yield* connect(running.port)
              socket.resume()
              yield* Effect.async<void>((resume) => {
                socket.write(text, () => resume(Effect.void))
              })
              // so that the server has started to read the request
              yield* running.ask(get("metrics", { model }))
              socket[leave]()
              yield* closed(socket)
              yield* running.ask(get("metrics", { model }))
            }
          }
          assert.strictEqual(json(yield* running.ask(get("metrics", { model: "m" }))).total_jobs, 0)
          assert.deepStrictEqual(errors, [])
        })
      ))

    it.scopedLive("that do not send HTTP get a 400", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        for (
          const text of [
            "hello\r\n\r\n",
            "\u0016\u0003\u0001\u0002\u0000\u0001\u0000",
            "BREW / HTTP/1.1\r\n\r\n"
          ]
        ) {
          const socket = yield* connect(running.port)
          let answer = ""
          socket.on("data", (data) => answer += data)
          socket.write(text)
          yield* closed(socket)
          assert.isTrue(answer.startsWith("HTTP/1.1 400 "), JSON.stringify([text, answer]))
        }
        assert.strictEqual((yield* running.ask(get("metrics", { model }))).status, 200)
      }))

    it.scopedLive("that request an upgrade get an HTTP response", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const answer = yield* running.ask({
          ...get("metrics", { model }),
          headers: {
            connection: "Upgrade",
            upgrade: "websocket",
            "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version": "13"
          }
        })
        assert.strictEqual(answer.status, 200)
      }))
  })

  // ---------------------------------------------------------------------------
  // the log
  // ---------------------------------------------------------------------------

  describe("the log", () => {
    it.scopedLive("has every request verbatim and in order", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const before = yield* Clock.currentTimeMillis
        yield* submitted(running, { model: "m" })
        yield* running.ask({ path: "/v1/queue/metrics?model=a%20b&x=%zz" })
        yield* running.ask({ path: "/v1/queue/metrics?model=m", headers: { authorization: "Basic x" } })
        yield* running.ask({ method: "DELETE", path: "/nowhere?at=all" })
        yield* running.ask(post("clear", "no JSON"))
        const after = yield* Clock.currentTimeMillis
        // the first request is the test's own for the document
        const [document, ...requests] = yield* running.requests
        assert.deepInclude(document, { method: "GET", url: "/openapi.json" })
        assert.deepStrictEqual(requests.map(({ method, url }) => `${method} ${url}`), [
          "POST /v1/queue/submit",
          "GET /v1/queue/metrics?model=a%20b&x=%zz",
          "GET /v1/queue/metrics?model=m",
          "DELETE /nowhere?at=all",
          "POST /v1/queue/clear"
        ])
        const times = [before, ...requests.map(({ at }) => at), after]
        assert.deepStrictEqual(times, [...times].sort((a, b) => a - b))
        for (const request of requests) assert.deepStrictEqual(Object.keys(request).sort(), ["at", "method", "url"])
      }))

    it.scopedLive("does not change after it was returned", () =>
      Effect.gen(function*() {
        const running = yield* emulate()
        const before = yield* running.requests
        yield* submitted(running, { model })
        assert.strictEqual(before.length, 1)
        assert.strictEqual((yield* running.requests).length, 2)
      }))

    it.scopedLive("keeps the latest 10,000 requests", () =>
      Effect.gen(function*() {
        // without spans, because this many requests are slow with them
        const running = yield* Effect.withTracerEnabled(emulate(), false)
        const count = 10_000 + 50
        const socket = yield* connect(running.port)
        yield* Effect.async<void>((resume) => {
          let rest = ""
          let answers = 0
          socket.setEncoding("latin1").on("data", (data: unknown) => {
            const parts = (rest + data).split("HTTP/1.1 404")
            answers += parts.length - 1
            rest = (parts.at(-1) ?? "").slice(-11)
            if (answers === count) resume(Effect.void)
          })
          socket.write(
            Array.from({ length: count }, (_, i) => `HEAD /${i} HTTP/1.1\r\nHost: x\r\n\r\n`).join("")
          )
        })
        const requests = yield* running.requests
        assert.strictEqual(requests.length, 10_000)
        assert.strictEqual(requests[0]?.url, "/50")
        assert.strictEqual(requests.at(-1)?.url, `/${count - 1}`)
      }))
  })

  // ---------------------------------------------------------------------------
  // lifecycle
  // ---------------------------------------------------------------------------

  describe("two emulators", () => {
    it.scopedLive("share nothing", () =>
      Effect.gen(function*() {
        const first = yield* emulate({ apiKeys: [Redacted.make("any")] })
        const second = yield* emulate({ workers: obedient })
        assert.notStrictEqual(first.port, second.port)
        const id = yield* submitted(first, { model, payload: { do: "finish" } })
        refused(yield* second.ask(get("status", { model, request_id: id })), 404)
        assert.strictEqual(json(yield* second.ask(get("metrics", { model }))).total_jobs, 0)
        const other = yield* submitted(second, { model, payload: { do: "finish" } })
        yield* until(second, model, other, "done")
        assert.strictEqual((yield* statusOf(first, model, id)).status, "pending")
        const headers = { authorization: "Bearer another" }
        refused(yield* first.ask({ ...get("metrics", { model }), headers }), 401)
        assert.strictEqual((yield* second.ask({ ...get("metrics", { model }), headers })).status, 200)
        assert.deepStrictEqual((yield* first.requests).filter(({ method }) => method === "POST").length, 1)
      }))
  })

  describe("the end of the scope", () => {
    it.scopedLive("closes the server at once, with idle connections and requests in flight", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const running = yield* Scope.extend(emulate(), scope)
        const agent = yield* Effect.acquireRelease(
          Effect.sync(() => new Http.Agent({ keepAlive: true })),
          (agent) => Effect.sync(() => agent.destroy())
        )
        // a keep-alive connection, a silent one, and two with partial requests
        yield* running.ask({ ...get("metrics", { model }), agent })
        const kept = Object.values(agent.freeSockets).flatMap((sockets) => sockets ?? [])
        assert.strictEqual(kept.length, 1)
        const silent = yield* connect(running.port)
        const head = yield* connect(running.port)
        head.write(`POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\n${bearer}`)
        const body = yield* connect(running.port)
        body.write(`POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\n${bearer}Content-Length: 100\r\n\r\n{`)
        while ((yield* running.requests).length < 3) yield* Effect.sleep("5 millis")

        yield* Scope.close(scope, Exit.void)

        const error = yield* Effect.flip(Effect.scoped(connect(running.port)))
        assert.strictEqual(error.code, "ECONNREFUSED")
        for (const socket of [...kept, silent, head, body]) yield* closed(socket)
        // the port is free again
        const next = yield* emulate({ port: running.port })
        assert.strictEqual((yield* next.ask(get("metrics", { model }))).status, 200)
      }))

    it.scopedLive("is not delayed by clients that reconnect", () =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const running = yield* Scope.extend(emulate(), scope)
        // each client holds a connection with a partial request, and reconnects when it is cut off
        const stubborn = Effect.scoped(Effect.gen(function*() {
          const socket = yield* connect(running.port)
          socket.write(`POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\n${bearer}Content-Length: 100\r\n\r\n{`)
          yield* closed(socket)
        }))
        const clients = yield* Effect.forkScoped(
          Effect.all(
            Array.from(
              { length: 30 },
              () => Effect.forever(Effect.ignore(Effect.zipRight(Effect.yieldNow(), stubborn)))
            ),
            {
              concurrency: "unbounded"
            }
          )
        )
        while ((yield* running.requests).length < 31) yield* Effect.sleep("5 millis")
        yield* Scope.close(scope, Exit.void)
        assert.strictEqual((yield* Effect.flip(Effect.scoped(connect(running.port)))).code, "ECONNREFUSED")
        yield* Fiber.interrupt(clients)
      }))

    it.scopedLive("closes the server when the program is interrupted", () =>
      Effect.gen(function*() {
        const ports: Array<number> = []
        const fiber = yield* Effect.fork(Effect.scoped(Effect.gen(function*() {
          const { port } = yield* emulate()
          ports.push(port)
          return yield* Effect.never
        })))
        while (ports.length === 0) yield* Effect.sleep("5 millis")
        yield* Fiber.interrupt(fiber)
        const error = yield* Effect.flip(Effect.scoped(connect(ports[0]!)))
        assert.strictEqual(error.code, "ECONNREFUSED")
      }))
  })
})

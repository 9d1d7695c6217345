import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Undici from "@effect/platform-node/Undici"
import type * as HttpClient from "@effect/platform/HttpClient"
import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import { Job, JobQueue, JobStream, QueueError } from "effect-queue-status"
import { NodeJobQueue } from "effect-queue-status/node"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import * as TestServices from "effect/TestServices"
import { inspect } from "node:util"
import * as CollectingTracer from "../fixtures/collectingTracer.js"
import * as Documents from "../fixtures/documents.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { document, job, model } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"
import { tally } from "../fixtures/tally.js"
import { watched } from "../fixtures/watched.js"

const { answer, silence } = HostileServer

const token = "tgp_v1_0123456789abcdef"

const connect = (server: HostileServer.HostileServer, options: Partial<NodeJobQueue.Options> = {}) =>
  NodeJobQueue.make({ apiKey: Redacted.make(token), baseUrl: `${server.url}/v1`, ...options })

/** Responds with a document of the requested job. */
const echo = (fields: object = {}): HostileServer.Handler => (response, request, index) =>
  answer(200, {
    ...document,
    request_id: request.query.get("request_id"),
    model: request.query.get("model"),
    ...fields
  })(response, request, index)

// -----------------------------------------------------------------------------
// the same results as the ordinary client
// -----------------------------------------------------------------------------

/** A response, byte for byte. */
interface Said {
  readonly httpStatus: number
  readonly body: Uint8Array
}

const utf8 = (text: string) => new TextEncoder().encode(text)

const aBody = FastCheck.oneof(
  { arbitrary: Documents.good.map((value) => utf8(JSON.stringify(value))), weight: 3 },
  { arbitrary: Documents.odd.map((value) => utf8(JSON.stringify(value))), weight: 5 },
  { arbitrary: Documents.good.map((value) => utf8(`\ufeff${JSON.stringify(value, undefined, 2)}`)), weight: 1 },
  {
    // a part of the document, or a document with bytes that are not text
    arbitrary: FastCheck.tuple(Documents.odd, FastCheck.nat(99), FastCheck.uint8Array({ maxLength: 4 })).map(
      ([value, at, bytes]) => {
        const body = utf8(JSON.stringify(value))
        body.set(bytes, Math.min(at, body.length - bytes.length))
        return at % 3 === 0 ? body.subarray(0, at) : body
      }
    ),
    weight: 3
  },
  { arbitrary: FastCheck.json().map(utf8), weight: 1 },
  { arbitrary: FastCheck.string({ unit: "binary" }).map(utf8), weight: 1 },
  { arbitrary: FastCheck.uint8Array(), weight: 1 }
)

const aSaid: FastCheck.Arbitrary<Said> = FastCheck.record({
  httpStatus: FastCheck.oneof(
    { arbitrary: FastCheck.constant(200), weight: 6 },
    { arbitrary: FastCheck.constantFrom(201, 400, 401, 404, 409, 418, 429, 500, 503), weight: 1 }
  ),
  body: aBody
})

/** The result of a poll; for an error, its fields and message without the stack. */
const polled = (queue: JobQueue.Service) =>
  Effect.map(Effect.either(queue.status(job)), Either.mapLeft((error) => ({ ...error, message: error.message })))

describe("a response", () => {
  it.scopedLive("has the same result as with the ordinary client", () =>
    Effect.gen(function*() {
      const { met, note } = tally()
      const runtime = yield* Effect.runtime<HttpClient.HttpClient>()
      const run = (order: ReadonlyArray<Said>) =>
        Effect.gen(function*() {
          // each response twice: once for each client
          const server = yield* HostileServer.make((response, _, index) => {
            const { body, httpStatus } = order[Math.floor(index / 2)]!
            response.writeHead(httpStatus, { "x-request-id": `req-${httpStatus}`, "retry-after": "7" })
            response.end(body)
          })
          const lean = yield* connect(server)
          const ordinary = yield* JobQueue.make({ apiKey: Redacted.make(token), baseUrl: `${server.url}/v1` })
          for (const { httpStatus } of order) {
            const [expected, actual] = yield* Effect.all([polled(ordinary), polled(lean)])
            deepStrictEqual(actual, expected)
            const what = Either.match(actual, { onLeft: ({ _tag }) => _tag, onRight: ({ _tag }) => _tag })
            note(httpStatus === 200 ? what : "a refusal")
          }
          const [first, second] = server.requests
          assert.strictEqual(second?.url, first?.url)
        })
      yield* Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(
            FastCheck.array(aSaid, { minLength: 1, maxLength: 3 }),
            FastCheck.array(FastCheck.nat(99), { minLength: 1, maxLength: 6 }),
            (said, order) =>
              run(order.map((n) => said[n % said.length]!)).pipe(
                Effect.scoped,
                Effect.withTracerEnabled(false),
                Runtime.runPromise(runtime)
              )
          ),
          { numRuns: runs(50, 100) }
        )
      )
      met("Running", "Done", "Unrecognized", "UnexpectedResponse", "a refusal")
    }).pipe(Effect.provide(NodeHttpClient.layerUndici)))
})

// -----------------------------------------------------------------------------
// repeated responses
// -----------------------------------------------------------------------------

describe("a response equal to the last one", () => {
  it.scopedLive("is the same snapshot", () =>
    Effect.gen(function*() {
      let text = JSON.stringify({ ...document, info: { progress: 0.4 } })
      const server = yield* HostileServer.make((...call) => answer(200, text)(...call))
      const queue = yield* connect(server)
      const first = yield* queue.status(job)
      assert.strictEqual(yield* queue.status({ ...job }), first)
      assert.strictEqual(yield* Effect.withTracerEnabled(queue.status(job), false), first)
      text = text.replace("0.4", "0.5")
      const second = yield* queue.status(job)
      deepStrictEqual(second, Job.Running({ job, info: { progress: 0.5 } }))
      assert.strictEqual(yield* queue.status(job), second)
      deepStrictEqual(first, Job.Running({ job, info: { progress: 0.4 } }))
    }))

  it.scopedLive("is the same snapshot, however it is split into packets", () =>
    Effect.gen(function*() {
      const body = Buffer.from(JSON.stringify({ ...document, info: { note: "größe 🦊" } }))
      const server = yield* HostileServer.make((response, _, index) => {
        response.writeHead(200)
        // the first response in one packet
        response.write(body.subarray(0, body.length - index * 20), () =>
          setImmediate(() => response.end(body.subarray(body.length - index * 20))))
      })
      const queue = yield* connect(server)
      const [first, ...others] = yield* Effect.replicateEffect(queue.status(job), 6)
      for (const other of others) {
        assert.strictEqual(other, first)
      }
    }))

  it.scopedLive("is the same snapshot after an error", () =>
    Effect.gen(function*() {
      const troubles = [answer(503), HostileServer.reset(), answer(200, "<html>")]
      const server = yield* HostileServer.make((...call) =>
        (call[2] % 2 === 0 ? answer(200, document) : troubles[(call[2] - 1) / 2])?.(...call)
      )
      const queue = yield* connect(server)
      const first = yield* queue.status(job)
      for (const _ of troubles) {
        yield* Effect.flip(queue.status(job))
        assert.strictEqual(yield* queue.status(job), first)
      }
    }))

  it.scopedLive.prop(
    "belongs to the requested job, with more jobs than the cache holds",
    {
      polls: FastCheck.array(FastCheck.tuple(FastCheck.constantFrom("a", "ab", "b c"), FastCheck.nat(80)), {
        minLength: 500,
        maxLength: 500
      })
    },
    ({ polls }) =>
      Effect.gen(function*() {
        // so large that the cache holds about 150 of them
        const server = yield* HostileServer.make(echo({ info: { note: "x".repeat(220_000) } }))
        const queue = yield* connect(server)
        yield* Effect.forEach(polls, ([model, n]) =>
          Effect.gen(function*() {
            const asked = { model, requestId: `b${n}` }
            const status = yield* queue.status(asked)
            assert.deepStrictEqual({ ...status.job }, asked)
          }), { concurrency: 16 })
      }).pipe(Effect.withTracerEnabled(false)),
    { fastCheck: { numRuns: runs(1, 2) } }
  )

  it.scopedLive("is requested with the values of a reference at the time of the call", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make(echo())
      const queue = yield* connect(server)
      const changing = { model, requestId: "first" }
      const status = queue.status(changing)
      assert.strictEqual((yield* status).job.requestId, "first")
      changing.requestId = "second"
      assert.strictEqual((yield* status).job.requestId, "second")
      changing.requestId = " "
      assert.strictEqual((yield* Effect.flip(status))._tag, "InvalidRequest")
    }).pipe(Effect.withTracerEnabled(false)))
})

// -----------------------------------------------------------------------------
// connections
// -----------------------------------------------------------------------------

describe("the pool", () => {
  it.scopedLive("has at most `connections` connections for all calls together", () =>
    Effect.gen(function*() {
      const answers: { readonly [path: string]: unknown } = {
        "/v1/queue/clear": { canceled_count: 4 },
        "/v1/queue/metrics": { messages_running: 1, messages_waiting: 2, total_jobs: 3 }
      }
      const server = yield* HostileServer.make((...call) =>
        setImmediate(() => answer(200, answers[call[1].path] ?? document)(...call))
      )
      for (const connections of [1, 3]) {
        const before = server.connections
        const queue = yield* connect(server, { connections })
        yield* Effect.all(
          Array.from({ length: 20 }, () => [queue.status(job), queue.metrics(model), queue.clear(model)]).flat(),
          { concurrency: "unbounded" }
        )
        assert.strictEqual(server.connections - before, connections)
      }
    }))

  it.scopedLive("has the default number of connections", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make(echo())
      const queue = yield* connect(server)
      yield* Effect.replicateEffect(queue.status(job), 2 * 64, {
        concurrency: "unbounded"
      })
      assert.strictEqual(server.connections, 64)
    }))

  it.scopedLive("never sends a request that is interrupted while it waits for a connection", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make((...call) => (call[2] === 0 ? silence : echo())(...call))
      const queue = yield* connect(server, { connections: 1 })
      const first = yield* Effect.fork(queue.status(Job.ref(model, "first")))
      yield* server.until("the first is there", () => server.requests.length === 1)
      const second = yield* Effect.fork(queue.status(Job.ref(model, "second")))
      const third = yield* Effect.fork(queue.status(Job.ref(model, "third")))
      yield* Effect.yieldNow()
      assert(Exit.isInterrupted(yield* Fiber.interrupt(second)))
      assert.strictEqual(server.aborted, 0)
      assert(Exit.isInterrupted(yield* Fiber.interrupt(first)))
      assert.strictEqual((yield* Fiber.join(third)).job.requestId, "third")
      assert.deepStrictEqual(server.requests.map(({ query }) => query.get("request_id")), ["first", "third"])
      assert.strictEqual(server.aborted, 1)
    }))

  it.scoped("counts the wait for a connection towards the timeout", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make(silence)
      const queue = yield* connect(server, { connections: 1, requestTimeout: "10 seconds" })
      const first = yield* Effect.fork(Effect.flip(queue.status(job)))
      yield* server.until("the first is there", () => server.requests.length === 1)
      yield* TestClock.adjust("5 seconds")
      const second = yield* Effect.fork(Effect.flip(queue.status(job)))
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(first))._tag, "ResponseTimeout")
      yield* server.until("the second has its turn", () => server.requests.length === 2)
      yield* TestClock.adjust("4999 millis")
      assert(Option.isNone(yield* Fiber.poll(second)))
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Fiber.join(second))._tag, "ResponseTimeout")
      yield* server.until("both are closed", () => server.aborted === 2)
    }))

  it.scoped("uses the clock of the calling fiber", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make(silence)
      const queue = yield* TestServices.provideLive(connect(server, { requestTimeout: "1 hour" }))
      const inRealTime = yield* Effect.fork(TestServices.provideLive(queue.status(job)))
      const inVirtualTime = yield* Effect.fork(Effect.flip(queue.status(job)))
      yield* server.until("both are there", () => server.requests.length === 2)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual((yield* Fiber.join(inVirtualTime))._tag, "ResponseTimeout")
      yield* server.until("one is closed", () => server.aborted === 1)
      assert(Exit.isInterrupted(yield* Fiber.interrupt(inRealTime)))
      yield* server.until("both are closed", () => server.aborted === 2)
    }))

  it.scopedLive("closes an idle connection before the keep-alive timeout of the server", () =>
    Effect.gen(function*() {
      const idle = 1_000
      const server = yield* HostileServer.make((response, request, index) => {
        // as nginx, which closes the connection even during the next request
        response.setHeader("keep-alive", `timeout=${idle / 1_000}`)
        const { socket } = response
        response.on("finish", () => setTimeout(() => socket?.destroy(), idle))
        echo()(response, request, index)
      })
      const queue = yield* connect(server)
      yield* Effect.forEach(
        Array.from({ length: 40 }, (_, n) => n),
        (n) =>
          Effect.repeat(queue.status(Job.ref(model, `job-${n}`)), {
            schedule: Schedule.addDelay(Schedule.recurs(2), () => idle - 2 + n / 10)
          }),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(server.requests.length, 3 * 40)
    }))

  it.scopedLive("is closed with its scope, together with requests in flight", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make((...call) => (call[2] < 3 ? echo() : silence)(...call))
      const scope = yield* Scope.make()
      const queue = yield* Scope.extend(connect(server), scope)
      yield* Effect.replicateEffect(queue.status(job), 3, { concurrency: "unbounded" })
      const waiting = yield* Effect.fork(Effect.flip(queue.status(job)))
      yield* server.until("it is there", () => server.requests.length === 4)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Fiber.join(waiting))._tag, "Unreachable")
      yield* server.until("no connection is left", () => server.open.size === 0)
      assert.strictEqual((yield* Effect.flip(queue.status(job)))._tag, "Unreachable")
      assert.strictEqual((yield* Effect.flip(queue.metrics(model)))._tag, "Unreachable")
      assert.strictEqual(server.requests.length, 4)
    }))

  it.scopedLive.prop(
    "closes only the connection of an interrupted request, at any time",
    { turns: FastCheck.array(FastCheck.nat(30), { minLength: 5, maxLength: 20 }) },
    ({ turns }) =>
      Effect.gen(function*() {
        const server = yield* HostileServer.make((response, request, index) => {
          setImmediate(() => {
            response.writeHead(200)
            response.write("{")
            setImmediate(() => response.end(JSON.stringify({ ...document, index }).slice(1)))
          })
        })
        const queue = yield* connect(server, { connections: 4 })
        const exits = yield* Effect.forEach(turns, (turns) =>
          Effect.gen(function*() {
            const fiber = yield* Effect.fork(queue.status(job))
            yield* Effect.repeatN(Effect.async<void>((resume) => void setImmediate(() => resume(Effect.void))), turns)
            return yield* Fiber.interrupt(fiber)
          }), { concurrency: 4 })
        for (const exit of exits) {
          if (Exit.isSuccess(exit)) deepStrictEqual(exit.value, Job.Running({ job }))
          else assert(Exit.isInterrupted(exit))
        }
        assert.isAtMost(server.aborted, exits.filter(Exit.isFailure).length)
        // the pool still serves requests
        const after = yield* Effect.replicateEffect(queue.status(job), 8, { concurrency: "unbounded" })
        for (const status of after) deepStrictEqual(status, Job.Running({ job }))
        yield* server.until("no more are open than there may be", () => server.open.size <= 4)
      }).pipe(Effect.withTracerEnabled(false)),
    { fastCheck: { numRuns: 30 } }
  )
})

// -----------------------------------------------------------------------------
// spans
// -----------------------------------------------------------------------------

describe("spans", () => {
  it.scopedLive("are one for a watch, and none for its polls", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make((...call) =>
        echo({ status: call[2] < 5 ? "running" : "done", outputs: {} })(...call)
      )
      const { spans, tracer } = CollectingTracer.make()
      yield* JobStream.result(job, { cadence: Schedule.spaced("1 millis") }).pipe(
        Effect.provide(watched(Layer.scoped(JobQueue.JobQueue, connect(server)))),
        Effect.withTracer(tracer)
      )
      assert.strictEqual(server.requests.length, 6)
      assert.deepStrictEqual(spans.map(({ name }) => name), ["JobStream.result"])
    }))
})

// -----------------------------------------------------------------------------
// configuration
// -----------------------------------------------------------------------------

const environment = (variables: { readonly [name: string]: string }) =>
  Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))

describe("configuration", () => {
  it.scopedLive("takes the token and the base URL from the environment", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make(echo())
      const status = yield* JobQueue.status(job).pipe(
        Effect.provide(NodeJobQueue.layer()),
        environment({ TOGETHER_API_KEY: ` ${token}\n`, TOGETHER_BASE_URL: `${server.url}/v1/` })
      )
      deepStrictEqual(status, Job.Running({ job }))
      const [request] = server.requests
      assert.strictEqual(request?.headers.authorization, `Bearer ${token}`)
      assert.strictEqual(request?.path, "/v1/queue/status")
      yield* server.until("no connection is left", () => server.open.size === 0)
    }))

  it.scoped("reads its options from variables of any name", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make((...call) => (call[2] < 4 ? echo() : silence)(...call))
      const layer = NodeJobQueue.layerConfig({
        apiKey: Config.redacted("QUEUE_TOKEN"),
        baseUrl: Config.string("QUEUE_URL"),
        requestTimeout: Config.duration("QUEUE_TIMEOUT"),
        connections: Config.integer("QUEUE_CONNECTIONS")
      })
      const variables = { QUEUE_TOKEN: token, QUEUE_URL: server.url, QUEUE_TIMEOUT: "5 seconds" }
      yield* Effect.gen(function*() {
        yield* Effect.replicateEffect(JobQueue.status(job), 4, { concurrency: "unbounded" })
        assert.strictEqual(server.connections, 1)
        const late = yield* Effect.fork(Effect.flip(JobQueue.status(job)))
        yield* server.until("it is there", () => server.requests.length === 5)
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* Fiber.join(late))._tag, "ResponseTimeout")
      }).pipe(Effect.provide(layer), environment({ ...variables, QUEUE_CONNECTIONS: "1" }))
      const missing = yield* Effect.flip(Layer.build(layer).pipe(environment(variables)))
      assert.include(String(missing), "QUEUE_CONNECTIONS")
    }))

  it.scoped.each([0, -1, 1.5, NaN, Infinity])("rejects %s connections", (connections) =>
    Effect.gen(function*() {
      const failed = yield* Effect.flip(NodeJobQueue.make({ apiKey: Redacted.make(token), connections }))
      assert.match(String(failed), /connections.*positive integer/)
    }))

  it.scoped("rejects the options that the ordinary client rejects, and shows no secret", () =>
    Effect.gen(function*() {
      const secret = "tgp_v1_a-very-secret-token"
      const apiKey = Redacted.make(secret)
      const cases = [
        [{ apiKey: Redacted.make(`${secret} `.repeat(2)) }, /apiKey.*printable ASCII/],
        [{ apiKey: Redacted.make(" ") }, /apiKey.*must not be empty/],
        [{ apiKey, baseUrl: secret }, /baseUrl.*not a URL/],
        [{ apiKey, baseUrl: `https://${secret}@h` }, /baseUrl.*credentials/]
      ] as const
      for (const [options, issue] of cases) {
        const failed = yield* Effect.flip(NodeJobQueue.make(options))
        assert.match(String(failed), issue)
        for (const shown of [String(failed), inspect(failed, { depth: null }), JSON.stringify(failed)]) {
          assert.notInclude(shown, secret)
        }
      }
      const variables = { TOGETHER_API_KEY: token, TOGETHER_BASE_URL: `https://a:${secret}@h` }
      const failed = yield* Effect.flip(Layer.build(NodeJobQueue.layer()).pipe(environment(variables)))
      assert.match(String(failed), /TOGETHER_BASE_URL.*credentials/)
      assert.notInclude(String(failed), secret)
    }))

  it.scopedLive("times out at once, each time, with a timeout of zero", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make(echo())
      const queue = yield* connect(server, { requestTimeout: 0 })
      const failures = yield* Effect.replicateEffect(Effect.flip(queue.status(job)), 3)
      assert.deepStrictEqual(failures.map(({ _tag }) => _tag), Array.from({ length: 3 }, () => "ResponseTimeout"))
    }))

  it.scopedLive("a service that has answered any call speaks TLS: a poll that fails in it may be repeated", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make(
        answer(200, { messages_running: 1, messages_waiting: 2, total_jobs: 3 })
      )
      class BrokenStatus extends Undici.Agent {
        override dispatch(options: Undici.Dispatcher.DispatchOptions, handler: Undici.Dispatcher.DispatchHandler) {
          if (!options.path.includes("/queue/status")) return super.dispatch(options, handler)
          const error = Object.assign(new Error("wrong version number"), { code: "ERR_SSL_WRONG_VERSION_NUMBER" })
          handler.onResponseError?.(undefined as never, error)
          return true
        }
      }
      const dispatcher = yield* Effect.acquireRelease(
        Effect.sync(() => new BrokenStatus()),
        (dispatcher) => Effect.promise(() => dispatcher.destroy())
      )
      const queue = yield* connect(server, { dispatcher })
      assert.isFalse(QueueError.isTransient(yield* Effect.flip(queue.status(job))))
      yield* queue.metrics(model)
      assert.isTrue(QueueError.isTransient(yield* Effect.flip(queue.status(job))))
    }))

  it.scopedLive("waits without a limit with an infinite timeout", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make((...call) => setTimeout(() => echo()(...call), 50))
      const queue = yield* connect(server, { requestTimeout: Infinity })
      deepStrictEqual(yield* queue.status(job), Job.Running({ job }))
      assert.isTrue(QueueError.isQueueError(yield* Effect.flip(queue.status(Job.ref(" ", " ")))))
    }))
})

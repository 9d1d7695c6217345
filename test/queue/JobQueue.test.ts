import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import { Job, JobQueue, QueueError } from "effect-queue-status"
import * as Arbitrary from "effect/Arbitrary"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import type * as Http from "node:http"
import { inspect } from "node:util"
import { maxBodyLength } from "../../src/model/internal/limits.js"
import * as Clients from "../fixtures/clients.js"
import * as CollectingTracer from "../fixtures/collectingTracer.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { afterInterruption } from "../fixtures/interruptions.js"
import { calls, document, job, operations } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"

const { answer, breakOff, endless, reset, silence, stall } = HostileServer

const token = "tgp_v1_0123456789abcdef"

const oddNames = [
  "my-org/video-generator",
  "a b",
  " a ",
  "größe/模型 🦊",
  "__proto__",
  "a&request_id=other",
  "a#b",
  "a+b",
  "100%",
  "%2F",
  "a=b;c?d",
  "../../etc",
  "line\nfeed\u0000"
]

/** The options for a server of a test. */
const pointedAt = (
  server: HostileServer.HostileServer,
  requestTimeout: Duration.DurationInput = "5 minutes"
): JobQueue.Options => ({ apiKey: Redacted.make(token), baseUrl: `${server.url}/v1`, requestTimeout })

/** The client for a server of a test. */
const connect = (server: HostileServer.HostileServer, requestTimeout?: Duration.DurationInput) =>
  Clients.make(pointedAt(server, requestTimeout))

const error = (
  handler: HostileServer.Handler,
  operation: QueueError.Operation = "status"
): Effect.Effect<QueueError.QueueError, unknown, Clients.Client> =>
  Effect.scoped(
    Effect.gen(function*() {
      const queue = yield* Effect.flatMap(HostileServer.make(handler), (server) => connect(server))
      return yield* Effect.flip(calls[operation](queue))
    })
  )

/** The real clock with a fixed time of day. */
const at = (now: string) => {
  const millis = DateTime.toEpochMillis(DateTime.unsafeMake(now))
  const clock = Clock.make()
  return Effect.withClock({
    [Clock.ClockTypeId]: Clock.ClockTypeId,
    unsafeCurrentTimeMillis: () => millis,
    unsafeCurrentTimeNanos: () => clock.unsafeCurrentTimeNanos(),
    currentTimeMillis: Effect.succeed(millis),
    currentTimeNanos: clock.currentTimeNanos,
    sleep: (duration) => clock.sleep(duration)
  })
}

const has = <A extends object>(actual: A, expected: { readonly [key: string]: unknown }) =>
  assert.deepStrictEqual(
    Object.fromEntries(Object.keys(expected).map((key) => [key, actual[key as keyof A]])), // the compared fields
    expected
  )

for (const { layer, name, oneConnection, repeatsReads = false } of runs(Clients.plain, Clients.clients)) {
  // a GET that such a client repeats is one call
  const received = ({ requests }: HostileServer.HostileServer) =>
    repeatsReads
      ? requests.filter(({ method, url }, i) => method !== "GET" || url !== requests[i - 1]?.url)
      : requests

  describe(`over ${name}`, () => {
    // ---------------------------------------------------------------------------
    describe("a request", () => {
      it.scopedLive("is a GET with the job in its query for status", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(answer(200, document))
          const queue = yield* connect(server)
          yield* queue.status(job)
          const request = server.requests[0]!
          assert.strictEqual(request.method, "GET")
          assert.strictEqual(request.path, "/v1/queue/status")
          assert.deepStrictEqual(Array.from(request.query).sort(), [
            ["model", job.model],
            ["request_id", job.requestId]
          ])
          assert.strictEqual(request.body, "")
        }).pipe(Effect.provide(layer)))

      it.scopedLive("is a GET with the model in its query for metrics", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(
            answer(200, { messages_running: 1, messages_waiting: 2, total_jobs: 3 })
          )
          const queue = yield* connect(server)
          yield* queue.metrics(job.model)
          const request = server.requests[0]!
          assert.strictEqual(request.method, "GET")
          assert.strictEqual(request.path, "/v1/queue/metrics")
          assert.deepStrictEqual(Array.from(request.query), [["model", job.model]])
        }).pipe(Effect.provide(layer)))

      it.scopedLive("is the whole request as JSON for submit", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(answer(200, { requestId: job.requestId }))
          const queue = yield* connect(server)
          const payload = JSON.parse(
            `{"prompt":"größe 🦊 </script>\\u0000","n":1e3,"list":[null,{"a":[]}],"__proto__":{"b":1}}`
          )
          const info = { user_id: "user_123", constructor: "x" }
          yield* queue.submit({ model: job.model, payload, info, priority: -7 })
          const request = server.requests[0]!
          assert.strictEqual(request.method, "POST")
          assert.strictEqual(request.url, "/v1/queue/submit")
          assert.match(request.headers["content-type"] ?? "", /^application\/json\b/)
          // as text: `deepStrictEqual` does not see `__proto__`
          assert.strictEqual(
            JSON.stringify(JSON.parse(request.body)),
            JSON.stringify({ model: job.model, payload, info, priority: -7 })
          )
          assert.include(request.body, `"__proto__":{"b":1}`)
        }).pipe(Effect.provide(layer)))

      it.scopedLive("has only the given fields in a submit", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(answer(200, { requestId: job.requestId }))
          const queue = yield* connect(server)
          const request = { model: job.model, payload: {}, info: undefined, priority: undefined, webhook: "http://x" }
          yield* queue.submit(request)
          assert.deepStrictEqual(JSON.parse(server.requests[0]!.body), { model: job.model, payload: {} })
        }).pipe(Effect.provide(layer)))

      it.scopedLive("has the job for cancel, and the model for clear", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make((response, request, index) =>
            answer(200, request.path.endsWith("cancel") ? { status: "canceled" } : { canceled_count: 3 })(
              response,
              request,
              index
            )
          )
          const queue = yield* connect(server)
          yield* queue.cancel({ ...job })
          yield* queue.clear(job.model)
          assert.deepStrictEqual(
            server.requests.map(({ body, headers, method, url }) => [
              method,
              url,
              JSON.parse(body),
              headers["content-type"]
            ]),
            [
              [
                "POST",
                "/v1/queue/cancel",
                { model: job.model, request_id: job.requestId },
                "application/json"
              ],
              ["POST", "/v1/queue/clear", { model: job.model }, "application/json"]
            ]
          )
        }).pipe(Effect.provide(layer)))

      it.scopedLive("has the token, accepts JSON, and has no trace headers", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(answer(500))
          const queue = yield* connect(server)
          for (const operation of operations) {
            yield* Effect.ignore(calls[operation](queue)).pipe(
              Effect.withSpan("app"),
              Effect.withTracer(CollectingTracer.make().tracer)
            )
          }
          assert.strictEqual(received(server).length, operations.length)
          for (const { headers } of server.requests) {
            assert.strictEqual(headers.authorization, `Bearer ${token}`)
            assert.strictEqual(headers.accept, "application/json")
            const names = Object.keys(headers).join()
            assert.notMatch(names, /traceparent|tracestate|b3|baggage/)
          }
        }).pipe(Effect.provide(layer)))

      it.scopedLive("has the exact names of models and jobs, however unusual", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(answer(200, document))
          const queue = yield* connect(server)
          for (const odd of oddNames) {
            yield* queue.status({ model: odd, requestId: odd })
            yield* Effect.flip(queue.metrics(odd))
            yield* Effect.flip(queue.cancel({ model: odd, requestId: odd }))
            const [status, metrics, cancel] = server.requests.slice(-3)
            assert.deepStrictEqual(Array.from(status!.query).sort(), [["model", odd], ["request_id", odd]])
            assert.strictEqual(status!.path, "/v1/queue/status")
            assert.deepStrictEqual(Array.from(metrics!.query), [["model", odd]])
            assert.deepStrictEqual(JSON.parse(cancel!.body), { model: odd, request_id: odd })
          }
        }).pipe(Effect.provide(layer)))

      it.scopedLive.prop(
        "has the name of any model",
        { models: FastCheck.array(Arbitrary.make(Job.ModelName), { minLength: 1, maxLength: 10 }) },
        ({ models }) =>
          Effect.gen(function*() {
            const server = yield* HostileServer.make(
              answer(200, { messages_running: 0, messages_waiting: 0, total_jobs: 0 })
            )
            const queue = yield* connect(server)
            yield* Effect.forEach(models, queue.metrics)
            assert.deepStrictEqual(
              server.requests.map(({ query }) => Array.from(query)),
              models.map((model) => [[
                "model",
                // UTF-8 can't encode a lone surrogate
                model.replace(/\p{Surrogate}/gu, "\ufffd")
              ]])
            )
          }).pipe(Effect.provide(layer)),
        { fastCheck: { numRuns: 5 } } // for each client
      )

      for (const baseUrl of ["/v1", "/v1/", "", "/", "/gateway/together/v1/"]) {
        it.scopedLive(`has a path below the base URL, here …${baseUrl}`, () =>
          Effect.gen(function*() {
            const server = yield* HostileServer.make(answer(200, document))
            const queue = yield* Clients.make({
              apiKey: Redacted.make(token),
              baseUrl: `${server.url}${baseUrl}`
            })
            yield* queue.status(job)
            assert.strictEqual(server.requests[0]!.path, `${baseUrl.replace(/\/$/, "")}/queue/status`)
          }).pipe(Effect.provide(layer)))
      }
    })

    // ---------------------------------------------------------------------------
    describe("valid responses", () => {
      it.scopedLive("of status, with all fields of the document", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(
            answer(200, {
              ...document,
              status: "done",
              outputs: { video_url: "https://api.together.ai/storage/019ba379-output.mp4" },
              info: { user_id: "user_123", progress: 1 },
              priority: 1,
              created_at: "2026-02-07T10:30:00Z",
              claimed_at: "2026-02-07T10:30:02Z",
              done_at: "2026-02-07T10:31:45Z",
              region: "eu",
              extra: { deeply: ["unknown"] }
            })
          )
          const status = yield* Effect.flatMap(connect(server), (queue) => queue.status(job))
          deepStrictEqual(
            status,
            Job.Done({
              job,
              outputs: { video_url: "https://api.together.ai/storage/019ba379-output.mp4" },
              info: { user_id: "user_123", progress: 1 },
              priority: Option.some(1),
              createdAt: Option.some(DateTime.unsafeMake("2026-02-07T10:30:00Z")),
              claimedAt: Option.some(DateTime.unsafeMake("2026-02-07T10:30:02Z")),
              doneAt: Option.some(DateTime.unsafeMake("2026-02-07T10:31:45Z"))
            })
          )
        }).pipe(Effect.provide(layer)))

      it.scopedLive("of status, with null for the optional fields", () =>
        Effect.gen(function*() {
          const optional = ["created_at", "claimed_at", "done_at", "info", "inputs", "outputs", "priority", "retries"]
          const server = yield* HostileServer.make(
            answer(200, { ...document, warnings: null, ...Object.fromEntries(optional.map((key) => [key, null])) })
          )
          const status = yield* Effect.flatMap(connect(server), (queue) => queue.status(job))
          deepStrictEqual(status, Job.Running({ job }))
        }).pipe(Effect.provide(layer)))

      it.scopedLive("of status, in an unknown state", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(answer(200, { ...document, status: "paused" }))
          const status = yield* Effect.flatMap(connect(server), (queue) => queue.status(job))
          deepStrictEqual(status, Job.Unrecognized({ job, status: "paused" }))
        }).pipe(Effect.provide(layer)))

      it.scopedLive("of status, after informational responses", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make((response, request, index) => {
            response.writeProcessing()
            response.writeEarlyHints({ link: "</style.css>; rel=preload" })
            answer(200, document)(response, request, index)
          })
          const status = yield* Effect.flatMap(connect(server), (queue) => queue.status(job))
          deepStrictEqual(status, Job.Running({ job }))
        }).pipe(Effect.provide(layer)))

      it.scopedLive("of status, with 10 MB of outputs", () =>
        Effect.gen(function*() {
          const outputs = { frames: Array.from({ length: 100 }, (_, i) => `${i} ${"x".repeat(100_000)}`) }
          const server = yield* HostileServer.make(answer(200, { ...document, status: "done", outputs }))
          const status = yield* Effect.flatMap(connect(server), (queue) => queue.status(job))
          assert.deepStrictEqual(status.outputs, outputs)
        }).pipe(Effect.provide(layer)))

      it.scopedLive("of submit, clear and metrics", () =>
        Effect.gen(function*() {
          const answers: { readonly [path: string]: unknown } = {
            "/v1/queue/submit": { requestId: job.requestId, request_id: "not this one", unknown: [] },
            "/v1/queue/clear": { canceled_count: 4, unknown: [] },
            "/v1/queue/metrics": { messages_running: 1, messages_waiting: 2, total_jobs: 3, unknown: [] }
          }
          const server = yield* HostileServer.make((response, request, index) =>
            answer(200, answers[request.path])(response, request, index)
          )
          const queue = yield* connect(server)
          const submitted = yield* queue.submit({ model: job.model, payload: { prompt: "a cat" } })
          assert.deepStrictEqual(submitted, job)
          assert(Equal.equals(submitted, job))
          assert.strictEqual(yield* queue.clear(job.model), 4)
          assert.deepStrictEqual({ ...(yield* queue.metrics(job.model)) }, { running: 1, waiting: 2, total: 3 })
        }).pipe(Effect.provide(layer)))

      it.scopedLive("with any 2xx status code", () =>
        Effect.gen(function*() {
          for (const httpStatus of [201, 202, 203, 226]) {
            const answers: { readonly [path: string]: unknown } = {
              "/v1/queue/status": document,
              "/v1/queue/submit": { requestId: job.requestId },
              "/v1/queue/cancel": { status: "canceled" },
              "/v1/queue/clear": { canceled_count: 4 },
              "/v1/queue/metrics": { messages_running: 1, messages_waiting: 2, total_jobs: 3 }
            }
            const server = yield* HostileServer.make((response, request, index) =>
              answer(httpStatus, answers[request.path])(response, request, index)
            )
            const queue = yield* connect(server)
            deepStrictEqual(yield* queue.submit({ model: job.model, payload: {} }), job)
            deepStrictEqual(yield* queue.status(job), Job.Running({ job }))
            deepStrictEqual(yield* queue.cancel(job), JobQueue.CancelResult.Canceled())
            deepStrictEqual(yield* queue.clear(job.model), 4)
            deepStrictEqual((yield* queue.metrics(job.model)).total, 3)
          }
        }).pipe(Effect.provide(layer)))

      it.scopedLive("of cancel, in time or too late", () =>
        Effect.gen(function*() {
          const answers = [
            answer(200, { status: "canceled" }),
            ...["running", "done", "failed", "canceled", "paused"].map((status) => answer(409, { status }))
          ]
          const server = yield* HostileServer.make((response, request, index) =>
            answers[index]!(response, request, index)
          )
          const queue = yield* connect(server)
          const results = yield* Effect.replicateEffect(queue.cancel(job), answers.length)
          assert.deepStrictEqual(results, [
            JobQueue.CancelResult.Canceled(),
            ...["running", "done", "failed", "canceled", "paused"].map((status) =>
              JobQueue.CancelResult.NotCanceled({ status })
            )
          ])
        }).pipe(Effect.provide(layer)))

      it.scopedLive("through the accessors", () =>
        Effect.gen(function*() {
          const answers: { readonly [path: string]: unknown } = {
            "/v1/queue/status": document,
            "/v1/queue/submit": { requestId: job.requestId },
            "/v1/queue/cancel": { status: "canceled" },
            "/v1/queue/clear": { canceled_count: 4 },
            "/v1/queue/metrics": { messages_running: 1, messages_waiting: 2, total_jobs: 3 }
          }
          const server = yield* HostileServer.make((response, request, index) =>
            answer(200, answers[request.path])(response, request, index)
          )
          const all = Effect.all([
            JobQueue.submit({ model: job.model, payload: {} }),
            JobQueue.status(job),
            JobQueue.cancel(job),
            JobQueue.clear(job.model),
            Effect.map(JobQueue.metrics(job.model), ({ total }) => total)
          ])
          const results = yield* Effect.provideServiceEffect(all, JobQueue.JobQueue, connect(server))
          deepStrictEqual(results, [job, Job.Running({ job }), JobQueue.CancelResult.Canceled(), 4, 3])
        }).pipe(Effect.provide(layer)))
    })

    // ---------------------------------------------------------------------------
    describe("error responses", () => {
      it.scopedLive("reach the finalizer of an interrupted fiber", () =>
        Effect.gen(function*() {
          const queue = yield* Effect.flatMap(HostileServer.make(answer(401)), (server) => connect(server))
          for (const operation of operations) {
            has(yield* afterInterruption(Effect.flip(calls[operation](queue))), { _tag: "AccessDenied", operation })
          }
        }).pipe(Effect.provide(layer)))

      const tags: { readonly [status: number]: QueueError.QueueError["_tag"] } = {
        201: "UnexpectedResponse",
        202: "UnexpectedResponse",
        204: "UnexpectedResponse",
        302: "UnexpectedResponse",
        304: "UnexpectedResponse",
        400: "InvalidRequest",
        401: "AccessDenied",
        402: "UnexpectedResponse",
        403: "AccessDenied",
        404: "JobNotFound",
        405: "UnexpectedResponse",
        408: "Unavailable",
        409: "UnexpectedResponse",
        410: "UnexpectedResponse",
        413: "InvalidRequest",
        418: "UnexpectedResponse",
        422: "InvalidRequest",
        429: "RateLimited",
        499: "UnexpectedResponse",
        500: "Unavailable",
        501: "UnexpectedResponse",
        502: "Unavailable",
        503: "Unavailable",
        504: "Unavailable",
        505: "UnexpectedResponse",
        520: "Unavailable",
        529: "Unavailable"
      }

      for (const [code, tag] of Object.entries(tags)) {
        const httpStatus = Number(code)
        it.scopedLive(`${code} is ${tag} for every call`, () =>
          Effect.gen(function*() {
            const hasBody = httpStatus !== 204 && httpStatus !== 304
            const body = { code: "some_code", type: "some_type", param: "model", message: "because" }
            const server = yield* HostileServer.make(answer(httpStatus, hasBody ? body : ""))
            const queue = yield* connect(server)
            for (const operation of operations) {
              // a 409 of cancel is a valid response, and has another body
              if (operation === "cancel" && httpStatus === 409) continue
              const error = yield* Effect.flip(calls[operation](queue))
              // a client that repeats the request has dropped the body by then
              const isDropped = repeatsReads && [408, 429, 500, 502, 503, 504].includes(httpStatus)
              has(error, {
                _tag: tag,
                operation,
                model: job.model,
                httpStatus,
                job: operation === "status" || operation === "cancel" ? job : undefined,
                ...(hasBody && (!isDropped || operation === "status") &&
                  { code: "some_code", type: "some_type", param: "model", detail: "because" })
              })
              assert(QueueError.isQueueError(error))
              assert.strictEqual(
                QueueError.isTransient(error),
                // a submit that may have arrived must not be repeated
                tag === "RateLimited" ||
                  ((tag === "Unavailable" || tag === "UnexpectedResponse") && operation !== "submit"),
                "transient"
              )
              if (tag === "UnexpectedResponse") has(error, { body: hasBody ? JSON.stringify(body) : "" })
            }
            assert.strictEqual(received(server).length, httpStatus === 409 ? 4 : 5)
          }).pipe(Effect.provide(layer)))
      }

      const bodies: ReadonlyArray<
        readonly [
          what: string,
          body: unknown,
          expected: Partial<Record<"code" | "type" | "param" | "detail", string | undefined>>
        ]
      > = [
        ["an error body", { code: "c", type: "t", param: "p", message: "m" }, {
          code: "c",
          type: "t",
          param: "p",
          detail: "m"
        }],
        ["an error body in another", { error: { code: "c", type: "t", param: "p", message: "m" } }, {
          code: "c",
          type: "t",
          param: "p",
          detail: "m"
        }],
        ["a text for an error", { error: "m" }, { detail: "m", code: undefined, type: undefined, param: undefined }],
        ["a numeric code", { code: 42, message: "m" }, { code: "42", detail: "m" }],
        ["nulls", { code: null, type: null, param: null, message: null, error: null }, {
          code: undefined,
          type: undefined,
          param: undefined,
          detail: undefined
        }],
        ["an error body in another with a message", {
          code: "outer",
          type: "outer",
          param: "outer",
          message: "outer",
          error: { code: "inner", type: "inner", param: "inner", message: "inner" }
        }, { code: "inner", type: "inner", param: "inner", detail: "inner" }],
        [
          "an error body in two others",
          { message: "outer", error: { message: "middle", error: { message: "inner" } } },
          {
            detail: "inner"
          }
        ],
        ["a flag beside the message", { error: true, message: "m", code: "c" }, { detail: "m", code: "c" }],
        ["fields beside the error", { error: { message: "m" }, code: "c", type: "t" }, {
          detail: "m",
          code: "c",
          type: "t"
        }],
        ["fields of other types", { code: {}, type: [], param: true, message: { a: 1 } }, {
          code: undefined,
          type: undefined,
          param: undefined,
          detail: undefined
        }],
        ["blank fields", { code: "", type: " ", message: "\n" }, {
          code: undefined,
          type: undefined,
          detail: undefined
        }],
        ["no body", "", { detail: undefined, code: undefined }],
        ["blanks", " \r\n ", { detail: undefined }],
        ["a text", "upstream connect error", { detail: "upstream connect error" }],
        ["a JSON array", ["m", { message: "x" }], { detail: undefined, code: undefined }],
        ["a JSON null", "null", { detail: undefined, code: undefined }],
        ["a JSON text", JSON.stringify("m"), { detail: "m" }],
        ["a JSON number", "7", { detail: "7" }],
        ["half of a JSON object", `{"message":"m`, { detail: `{"message":"m` }],
        [
          "an HTML page",
          "<!doctype html>\r\n<html><head><title>502 Bad Gateway</title><style>body { color: red }</style></head>\r\n" +
          "<body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body></html>\r\n",
          { detail: "502 Bad Gateway 502 Bad Gateway nginx", code: undefined }
        ],
        ["bytes that are no text", "\u0000\u0001", { detail: "\u0000\u0001" }]
      ]

      for (const [what, body, expected] of bodies) {
        it.live(`with ${what} as the body`, () =>
          Effect.gen(function*() {
            const refused = yield* error(answer(500, body))
            has(refused, { _tag: "Unavailable", httpStatus: 500, ...expected })
          }).pipe(Effect.provide(layer)))
      }

      it.live("with UTF-8 that is cut between two packets", () =>
        Effect.gen(function*() {
          const bytes = Buffer.from(JSON.stringify({ message: "größe 🦊" }))
          const refused = yield* error((response) => {
            const inTheFox = bytes.length - 4
            response.writeHead(400)
            response.write(bytes.subarray(0, inTheFox))
            setTimeout(() => response.end(bytes.subarray(inTheFox)), 30)
          })
          has(refused, { _tag: "InvalidRequest", detail: "größe 🦊" })
        }).pipe(Effect.provide(layer)))

      it.live("keep the request id of the response", () =>
        Effect.gen(function*() {
          const refused = yield* error(answer(500, "", { "X-Request-Id": "req-1" }))
          has(refused, { _tag: "Unavailable", httpRequestId: "req-1" })
          assert.include(refused.message, "req-1")
          has(yield* error(answer(418, "", { "X-Request-Id": "req-2" })), {
            _tag: "UnexpectedResponse",
            httpRequestId: "req-2"
          })
          has(yield* error(answer(500)), { _tag: "Unavailable", httpRequestId: undefined })
        }).pipe(Effect.provide(layer)))

      it.live("lead to small errors, whatever they contain", () =>
        Effect.gen(function*() {
          const long = "x".repeat(10_000)
          const refused = yield* error(
            answer(418, { code: long, type: long, param: long, message: long }, {
              "x-request-id": long.slice(0, 8_000)
            })
          )
          assert(refused._tag === "UnexpectedResponse")
          for (const key of ["code", "type", "param", "detail", "httpRequestId", "body"] as const) {
            assert.strictEqual(refused[key]?.length, maxBodyLength, key)
          }
        }).pipe(Effect.provide(layer)))

      it.live("with 10 MB of HTML lead to the error of their status", () =>
        Effect.gen(function*() {
          const page = `<html><title>502 Bad Gateway</title>${"<p>please wait</p>".repeat(600_000)}</html>`
          const refused = yield* error(answer(502, page))
          assert(refused._tag === "Unavailable")
          assert.match(refused.detail ?? "", /^502 Bad Gateway please wait please wait/)
          assert.isAtMost(refused.detail?.length ?? 0, maxBodyLength)
        }).pipe(Effect.provide(layer)))

      it.live("with markup that never closes are read in linear time", () =>
        Effect.gen(function*() {
          // in quadratic time, these take from seconds to hours, during which no timeout can fire
          has(yield* error(answer(502, "<".repeat(60_000))), { _tag: "Unavailable" })
          has(yield* error(answer(502, `gone ${"<style>".repeat(9_000)}`)), { _tag: "Unavailable", detail: "gone" })
          has(yield* error(answer(200, "<".repeat(2_000_000))), { _tag: "UnexpectedResponse" })
          has(yield* error(answer(200, `gone ${"<style>".repeat(300_000)}`)), { detail: "gone" })
        }).pipe(Effect.provide(layer)))

      it.live("with a body without an end are cut off, and lead to the error of their status", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(endless(503, { "retry-after": "7", "x-request-id": "req-1" }))
          const queue = yield* connect(server, "1 hour")
          const refused = yield* Effect.flip(queue.status(job))
          has(refused, { _tag: "Unavailable", httpStatus: 503, httpRequestId: "req-1" })
          assert.include(refused.message, "retry after 7s")
          yield* server.until("the connection is dropped", () => server.aborted === 1 && server.written > 0)
          // about 1 MB is read; the kernel buffers the rest for two sockets
          assert.isBelow(server.written, 50_000_000)
        }).pipe(Effect.scoped, Effect.provide(layer)))

      it.live("with a body that breaks off lead to the error of their status", () =>
        Effect.gen(function*() {
          has(yield* error(breakOff(503, "half of", { "retry-after": "7" })), {
            _tag: "Unavailable",
            httpStatus: 503,
            detail: "half of"
          })
          has(yield* error(breakOff(404, `{"message":"no su`)), { _tag: "JobNotFound" })
        }).pipe(Effect.provide(layer)))

      it.live("of cancel with 409 and another body are unexpected", () =>
        Effect.gen(function*() {
          const conflict = yield* error(answer(409, { message: "try later", code: "busy" }), "cancel")
          has(conflict, {
            _tag: "UnexpectedResponse",
            operation: "cancel",
            job,
            httpStatus: 409,
            detail: "try later",
            code: "busy",
            body: `{"message":"try later","code":"busy"}`
          })
          assert.include(conflict.message, "status")
          for (
            const body of [{ status: "" }, { status: null }, { status: 3 }, [], "null", "", "<html>conflict</html>"]
          ) {
            has(yield* error(answer(409, body), "cancel"), { _tag: "UnexpectedResponse", httpStatus: 409 })
          }
        }).pipe(Effect.provide(layer)))

      it.live("of other calls with 409 are unexpected too", () =>
        Effect.gen(function*() {
          for (const operation of operations.filter((operation) => operation !== "cancel")) {
            has(yield* error(answer(409, { status: "running" }), operation), {
              _tag: "UnexpectedResponse",
              operation,
              httpStatus: 409,
              body: `{"status":"running"}`
            })
          }
        }).pipe(Effect.provide(layer)))

      it.live("lead to errors that survive a round trip through JSON", () =>
        Effect.gen(function*() {
          const handlers: ReadonlyArray<HostileServer.Handler> = [
            answer(400, { code: "c" }),
            answer(401, { type: "t" }),
            answer(404, { error: { message: "m" } }),
            answer(429, "", { "retry-after": "1.5" }),
            answer(503, "<b>x</b>", { "x-request-id": "r" }),
            answer(418, "\ud83e\udd8a".repeat(2_000)),
            answer(200, { status: 3 }),
            reset()
          ]
          for (const handler of handlers) {
            const before = yield* error(handler)
            const text = JSON.stringify(yield* Schema.encode(QueueError.QueueError)(before))
            const after = yield* Schema.decodeUnknown(Schema.parseJson(QueueError.QueueError))(text)
            assert(Equal.equals(after, before), inspect([before, after]))
            assert.strictEqual(after.message, before.message)
          }
        }).pipe(Effect.provide(layer)))
    })

    // ---------------------------------------------------------------------------
    describe("Retry-After", () => {
      const now = "2026-02-07T10:30:00.250Z"
      const day = 24 * 60 * 60 * 1000
      // the server sends no `date` header unless one is given
      const table: ReadonlyArray<
        readonly [headers: Record<string, string | ReadonlyArray<string>>, millis: number | undefined]
      > = [
        [{}, undefined],
        [{ "retry-after": "7" }, 7_000],
        [{ date: "Sat, 07 Feb 2026 09:30:00 GMT", "retry-after": "Sat, 07 Feb 2026 09:30:20 GMT" }, 20_000],
        [{ date: "Sat, 07 Feb 2026 11:30:00 GMT", "retry-after": "Sat, 07 Feb 2026 11:30:20 GMT" }, 20_000],
        [{ date: "Sat, 07 Feb 2026 09:30:00 GMT", "retry-after": "7" }, 7_000],
        [{ date: "soon", "retry-after": "Sat, 07 Feb 2026 10:30:20 GMT" }, 19_750],
        [{ "retry-after": ["20", "3"] }, 20_000],
        [{ "retry-after": ["3", "20"] }, 20_000],
        [{ "retry-after": ["3", "Sat, 07 Feb 2026 10:30:20 GMT"] }, 19_750],
        [{ "retry-after": "1.5" }, 1_500],
        [{ "retry-after": "0" }, 0],
        [{ "retry-after": "-1" }, undefined],
        [{ "retry-after": "soon" }, undefined],
        [{ "retry-after": "" }, undefined],
        [{ "retry-after": "31536000" }, day],
        [{ "retry-after": "1e999" }, undefined],
        [{ "retry-after": "9".repeat(400) }, day],
        [{ "retry-after": "Sat, 07 Feb 2026 10:30:20 GMT" }, 19_750],
        [{ "retry-after": "Saturday, 07-Feb-26 10:30:20 GMT" }, 19_750],
        [{ "retry-after": "Sat Feb  7 10:30:20 2026" }, 19_750],
        [{ "retry-after": "Fri, 06 Feb 2026 10:30:20 GMT" }, 0],
        [{ "retry-after": "Sun, 07 Feb 2027 10:30:20 GMT" }, day],
        [{ "retry-after": "2026-02-07T10:30:20Z" }, undefined],
        [{ "retry-after": "Saturday" }, undefined],
        [{ "retry-after": "Fri 2030" }, undefined],
        [{ "retry-after-ms": "120" }, 120],
        [{ "retry-after-ms": "120.2", "retry-after": "9" }, 121],
        [{ "retry-after-ms": "soon", "retry-after": "9" }, 9_000],
        [{ "retry-after-ms": "-5" }, undefined],
        [{ "retry-after-ms": "1e999" }, undefined]
      ]
      // node:http keeps only the first value of a repeated `Retry-After`, and the first is not always the longest
      const seen = name.startsWith("node:http")
        ? table.filter(([headers]) => !Array.isArray(headers["retry-after"]))
        : table
      for (const [headers, millis] of seen) {
        it.live(`${JSON.stringify(headers).slice(0, 80)} is ${millis} ms`, () =>
          Effect.gen(function*() {
            for (const httpStatus of [429, 503]) {
              const refused = yield* error((response) => {
                response.sendDate = false
                response.writeHead(httpStatus, headers as Http.OutgoingHttpHeaders).end() // arrays are not mutated
              })
              assert(refused._tag === (httpStatus === 429 ? "RateLimited" : "Unavailable"))
              assert.strictEqual(refused.retryAfter && Duration.toMillis(refused.retryAfter), millis)
            }
          }).pipe(at(now), Effect.provide(layer)))
      }
    })

    // ---------------------------------------------------------------------------
    describe("unexpected responses", () => {
      const html = "<html><body>Sign in to the guest network</body></html>"
      const table: ReadonlyArray<readonly [what: string, body: unknown, issue: string]> = [
        ["HTML", html, "JSON"],
        ["nothing", "", "actual undefined"],
        ["a JSON array", [], "actual []"],
        ["a JSON null", "null", "actual null"],
        ["half a document", `{"request_id":"a`, "JSON"],
        ["no fields", {}, "request_id: is missing"],
        ["no status", { request_id: "a", model: "m" }, "status: is missing"],
        ["a status of another type", { ...document, status: 3 }, "status: Expected string, actual 3"],
        ["a blank model", { ...document, model: " " }, "model: a model name must not be blank"],
        ["a date that is none", { ...document, created_at: "yesterday" }, "created_at: not an RFC 3339 date-time"],
        ["a date without a zone", { ...document, done_at: "2026-02-07T10:30:00" }, "done_at: not an RFC 3339"],
        ["a date of another type", { ...document, claimed_at: 1770460200 }, "claimed_at: Expected string"],
        ["negative retries", { ...document, retries: -1 }, "retries: Expected a non-negative number"],
        ["broken retries", { ...document, retries: 0.5 }, "retries: Expected an integer"],
        ["a priority that is a text", { ...document, priority: "1" }, "priority: Expected number"],
        ["outputs that are a list", { ...document, status: "done", outputs: [] }, "outputs: Expected JsonObject"],
        ["info that is a text", { ...document, info: "x" }, "info: Expected JsonObject"],
        ["warnings that are a text", { ...document, warnings: "x" }, "warnings"],
        ["an unknown state and a bad field", { ...document, status: "paused", retries: -1 }, "retries"]
      ]
      for (const [what, body, issue] of table) {
        it.live(`200 with ${what}`, () =>
          Effect.gen(function*() {
            const odd = yield* error(answer(200, body))
            assert(odd._tag === "UnexpectedResponse")
            assert.include(odd.issue, issue)
            has(odd, {
              operation: "status",
              job,
              model: job.model,
              httpStatus: 200,
              body: typeof body === "string" ? body : JSON.stringify(body)
            })
            assert.isTrue(QueueError.isTransient(odd))
          }).pipe(Effect.provide(layer)))
      }

      const others: ReadonlyArray<readonly [QueueError.Operation, unknown, string]> = [
        ["submit", {}, "requestId: is missing"],
        ["submit", { request_id: "a" }, "requestId: is missing"],
        ["submit", { requestId: null }, "requestId: Expected string"],
        ["submit", { requestId: " " }, "requestId: a request id must not be blank"],
        ["submit", html, "JSON"],
        ["cancel", {}, "status: is missing"],
        ["cancel", { status: "running" }, "canceled"],
        ["cancel", html, "JSON"],
        ["clear", { canceled_count: -1 }, "canceled_count: Expected a non-negative number"],
        ["clear", { canceledCount: 1 }, "canceled_count: is missing"],
        ["clear", { canceled_count: "3" }, "canceled_count: Expected number"],
        ["metrics", { messages_running: 1, messages_waiting: 2 }, "total_jobs: is missing"],
        ["metrics", { messages_running: 1, messages_waiting: 2.5, total_jobs: 3 }, "messages_waiting: Expected an int"],
        ["metrics", "", "actual undefined"]
      ]
      for (const [operation, body, issue] of others) {
        it.live(`200 of ${operation} with ${JSON.stringify(body)}`, () =>
          Effect.gen(function*() {
            const odd = yield* error(answer(200, body), operation)
            assert(odd._tag === "UnexpectedResponse")
            has(odd, { operation, httpStatus: 200, model: job.model })
            assert.include(odd.issue, issue)
          }).pipe(Effect.provide(layer)))
      }

      it.live("200 of submit with an error and no request id has the message of the service", () =>
        Effect.gen(function*() {
          const body = { error: { message: "the quota is used up", code: "quota", type: "limit", param: "model" } }
          const odd = yield* error(answer(200, body), "submit")
          has(odd, {
            _tag: "UnexpectedResponse",
            operation: "submit",
            job: undefined,
            detail: "the quota is used up",
            code: "quota",
            type: "limit",
            param: "model",
            body: JSON.stringify(body)
          })
          assert.include(odd.message, "the quota is used up")
        }).pipe(Effect.provide(layer)))

      it.live("are kept up to a bound", () =>
        Effect.gen(function*() {
          const odd = yield* error(answer(200, { ...document, retries: "x".repeat(1_000_000) }))
          assert(odd._tag === "UnexpectedResponse")
          assert.strictEqual(odd.body.length, maxBodyLength)
          assert.isTrue(odd.body.startsWith(`{"request_id":"${job.requestId}"`))
          assert.isTrue(odd.body.endsWith("…"))
          assert.isAtMost(odd.issue.length, maxBodyLength)
          assert.isAtMost(odd.message.length, 3 * maxBodyLength)
        }).pipe(Effect.provide(layer)))

      it.live("may be nested deeper than a stack is", () =>
        Effect.gen(function*() {
          const lists = "[".repeat(100_000) + "]".repeat(100_000)
          has(yield* error(answer(200, lists)), { _tag: "UnexpectedResponse", httpStatus: 200 })
          const objects = `${`{"error":`.repeat(100_000)}1${"}".repeat(100_000)}`
          has(yield* error(answer(200, objects), "submit"), { _tag: "UnexpectedResponse", httpStatus: 200 })
          has(yield* error(answer(500, objects)), { _tag: "Unavailable", httpStatus: 500 })
        }).pipe(Effect.provide(layer)))
    })

    // ---------------------------------------------------------------------------
    describe("no response", () => {
      it.scopedLive("from a port without a listener", () =>
        Effect.gen(function*() {
          const port = yield* HostileServer.closedPort
          const queue = yield* Clients.make({
            apiKey: Redacted.make(token),
            baseUrl: `http://127.0.0.1:${port}/v1`
          })
          for (const operation of operations) {
            const failed = yield* Effect.flip(calls[operation](queue))
            has(failed, {
              _tag: "Unreachable",
              operation,
              model: job.model,
              reason: `connect ECONNREFUSED 127.0.0.1:${port}`,
              sent: false
            })
            assert(QueueError.isTransient(failed))
          }
        }).pipe(Effect.provide(layer)))

      it.scopedLive("from a host whose name does not resolve", () =>
        Effect.gen(function*() {
          const queue = yield* Clients.make({ apiKey: Redacted.make(token), baseUrl: "http://queue.invalid/v1" })
          const failed = yield* Effect.flip(queue.submit({ model: job.model, payload: {} }))
          has(failed, { _tag: "Unreachable", operation: "submit", model: job.model, sent: false })
          assert(QueueError.isTransient(failed))
        }).pipe(Effect.provide(layer)))

      it.scopedLive("from a server whose certificate is not trusted", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.makeTls(answer(200, document))
          const queue = yield* connect(server)
          for (const operation of operations) {
            const failed = yield* Effect.flip(calls[operation](queue))
            has(failed, { _tag: "Unreachable", reason: "self-signed certificate", sent: false, transient: false })
            assert.isFalse(QueueError.isTransient(failed))
            assert.isFalse(QueueError.mayHaveArrived(failed))
          }
          assert.strictEqual(server.requests.length, 0)
        }).pipe(Effect.provide(layer)))

      for (
        const [what, server] of [
          ["HTTP", HostileServer.make(answer(200, document))],
          ["neither TLS nor HTTP", HostileServer.makeRaw((socket) => socket.end("220 smtp.example.com ESMTP\r\n"))]
        ] as const
      ) {
        it.scopedLive(`from a server that should speak TLS and speaks ${what}`, () =>
          Effect.gen(function*() {
            const { requests, url } = yield* server
            const queue = yield* Clients.make({
              apiKey: Redacted.make(token),
              baseUrl: `${url.replace("http:", "https:")}/v1`
            })
            for (const operation of operations) {
              const failed = yield* Effect.flip(calls[operation](queue))
              has(failed, { _tag: "Unreachable", sent: false, transient: false })
              assert.include(failed.message, "wrong version number")
              assert.notMatch(failed.message, /\s$/)
              assert.isFalse(QueueError.isTransient(failed))
            }
            assert.strictEqual(requests.length, 0)
          }).pipe(Effect.provide(layer)))
      }

      it.scopedLive("from a server that closes the connection instead of a TLS handshake", () =>
        Effect.gen(function*() {
          const { url } = yield* HostileServer.makeRaw((socket) => socket.end())
          const queue = yield* Clients.make({
            apiKey: Redacted.make(token),
            baseUrl: `${url.replace("http:", "https:")}/v1`
          })
          const failed = yield* Effect.flip(calls.submit(queue))
          has(failed, { _tag: "Unreachable", sent: false, transient: undefined })
          assert.isTrue(QueueError.isTransient(failed))
        }).pipe(Effect.provide(layer)))

      it.scopedLive("from any address of a name", () =>
        Effect.gen(function*() {
          const port = yield* HostileServer.closedPort
          const queue = yield* Clients.make({ apiKey: Redacted.make(token), baseUrl: `http://localhost:${port}` })
          const failed = yield* Effect.flip(queue.status(job))
          assert(failed._tag === "Unreachable")
          // with several addresses, Node's own message is empty
          assert.match(failed.reason, /ECONNREFUSED.*:\d+$/)
          assert.strictEqual(failed.sent, false)
        }).pipe(Effect.provide(layer)))

      const broken: ReadonlyArray<readonly [what: string, HostileServer.Handler]> = [
        ["a reset before the headers", reset()],
        ["a reset within the body", reset(`{"request_id":`)],
        ["a connection that closes within the body", breakOff(200, `{"request_id":`)],
        ["a connection that closes before the headers", (response) => response.socket?.destroy()],
        [
          "a connection that closes after an informational response",
          (response) =>
            response.writeEarlyHints({ link: "</style.css>; rel=preload" }, () => response.socket?.destroy())
        ],
        ["headers that are none", (response) => response.socket?.end("HTTP/1.1 garbage\r\n\r\n")],
        ["another protocol", (response) => response.socket?.end("220 smtp.example.com ESMTP\r\n")]
      ]
      for (const [what, handler] of broken) {
        it.live(`but ${what}`, () =>
          Effect.gen(function*() {
            const failed = yield* error(handler)
            has(failed, { _tag: "Unreachable", operation: "status", job, model: job.model })
            assert(failed._tag === "Unreachable" && failed.reason.trim() !== "")
            // there was a connection: the request may have arrived
            assert.strictEqual(failed.sent, undefined)
            assert(QueueError.isTransient(failed))
          }).pipe(Effect.provide(layer)))
      }

      it.scopedLive("but a connection that closes as soon as anything is sent", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.makeRaw((socket) => socket.destroy())
          const queue = yield* connect(server)
          has(yield* Effect.flip(queue.cancel(job)), { _tag: "Unreachable" })
          assert.strictEqual(server.connections, 1)
        }).pipe(Effect.provide(layer)))

      const stalls: ReadonlyArray<readonly [what: string, answers: boolean, HostileServer.Handler]> = [
        ["before the headers", false, silence],
        ["within a good body", true, stall(200, `{"request_id":`)],
        ["before the first byte of a good body", true, (response) => response.writeHead(200).flushHeaders()],
        ["within the body of a refusal", true, stall(503, `{"message":`)]
      ]
      // such a client reads only the headers of an error response
      for (const [what, answers, handler] of repeatsReads ? stalls.slice(0, 3) : stalls) {
        it.scoped(`in time, ${what}: the call fails, and the request is closed`, () =>
          Effect.gen(function*() {
            const server = yield* HostileServer.make(handler)
            const { headers, make } = yield* Effect.flatMap(Clients.Client, ({ noticing }) => noticing)
            const queue = yield* make(pointedAt(server, "30 seconds"))
            const fiber = yield* Effect.fork(
              Effect.forEach(operations, (operation) => Effect.flip(calls[operation](queue)), {
                concurrency: "unbounded"
              })
            )
            yield* server.until("every request is there", () => server.requests.length === operations.length)
            if (answers) yield* Effect.replicateEffect(Queue.take(headers), operations.length)
            yield* TestClock.adjust("29999 millis")
            assert.strictEqual(server.aborted, 0)
            assert(Option.isNone(yield* Fiber.poll(fiber)))
            yield* TestClock.adjust("1 millis")
            const failures = yield* Fiber.join(fiber)
            failures.forEach((failed, i) => {
              has(failed, { operation: operations[i], model: job.model })
              assert(failed._tag === "ResponseTimeout")
              assert.strictEqual(Duration.toMillis(failed.after), 30_000)
              assert.strictEqual(QueueError.isTransient(failed), operations[i] !== "submit")
            })
            yield* server.until("every request is closed", () => server.aborted === operations.length)
            assert.strictEqual(server.requests.length, operations.length)
          }).pipe(Effect.provide(layer)))

        it.scopedLive(`yet, ${what}: an interrupt closes the request`, () =>
          Effect.gen(function*() {
            const server = yield* HostileServer.make(handler)
            const { headers, make } = yield* Effect.flatMap(Clients.Client, ({ noticing }) => noticing)
            const queue = yield* make(pointedAt(server, "1 hour"))
            const fiber = yield* Effect.fork(queue.status(job))
            yield* server.until("the request is there", () => server.requests.length === 1)
            if (answers) yield* Queue.take(headers)
            assert.strictEqual(server.aborted, 0)
            const exit = yield* Fiber.interrupt(fiber)
            assert(Exit.isInterrupted(exit))
            yield* server.until("the request is closed", () => server.aborted === 1)
          }).pipe(Effect.provide(layer)))
      }

      // as the submit and the cancel of `Effect.acquireRelease(submit, cancel)` are
      it.scoped("in time: an uninterruptible call fails as well, and no interruption ends it before", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(silence)
          const queue = yield* connect(server, "30 seconds")
          let errors: ReadonlyArray<object> = []
          const fiber = yield* Effect.forEach(operations, (operation) => Effect.flip(calls[operation](queue)), {
            concurrency: "unbounded"
          }).pipe(
            Effect.tap((all) => Effect.sync(() => errors = all)),
            Effect.uninterruptible,
            Effect.fork
          )
          yield* server.until("every request is there", () => server.requests.length === operations.length)
          yield* Fiber.interruptFork(fiber)
          yield* TestClock.adjust("30 seconds")
          yield* Fiber.await(fiber)
          for (const error of errors) has(error, { _tag: "ResponseTimeout" })
          assert.strictEqual(errors.length, operations.length)
          yield* server.until("every request is closed", () => server.aborted === operations.length)
        }).pipe(Effect.provide(layer)))

      it.scopedLive("is awaited without a limit if the timeout is infinite", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make((response, request, index) => {
            setTimeout(() => answer(200, document)(response, request, index), 50)
          })
          const queue = yield* connect(server, Duration.infinity)
          deepStrictEqual(yield* queue.status(job), Job.Running({ job }))
        }).pipe(Effect.provide(layer)))
    })

    // ---------------------------------------------------------------------------
    // a client that repeats requests keeps the connections of the responses that it has dropped
    describe.skipIf(repeatsReads)("a pool of one connection", () => {
      it.scopedLive("serves the next request after each error response, over the same connection", () =>
        Effect.gen(function*() {
          const sizes = [0, 10, 1_000, 70_000, 300_000, 900_000]
          const refusals = sizes.flatMap((size) =>
            [400, 404, 409, 418, 429, 503].map((status) => answer(status, "x".repeat(size)))
          )
          const server = yield* HostileServer.make((response, request, index) =>
            (index % 2 === 0 ? refusals[index / 2]! : answer(200, document))(response, request, index)
          )
          const queue = yield* connect(server)
          for (const _ of refusals) {
            assert(QueueError.isQueueError(yield* Effect.flip(queue.status(job))))
            deepStrictEqual(yield* queue.status(job), Job.Running({ job }))
          }
          assert.strictEqual(server.requests.length, 2 * refusals.length)
          assert.strictEqual(server.connections, 1)
        }).pipe(Effect.provide(oneConnection)))

      it.scopedLive("serves the next request after a dropped response, over another connection", () =>
        Effect.gen(function*() {
          const stalled: ReadonlyArray<HostileServer.Handler> = [silence, stall(200, "half"), stall(503, "half")]
          const troubles: ReadonlyArray<HostileServer.Handler> = [
            ...stalled,
            answer(503, "x".repeat(5_000_000)),
            endless(503),
            endless(404),
            breakOff(503, "half"),
            breakOff(200, "half"),
            reset(),
            reset("half"),
            answer(200, "<".repeat(100_000)),
            answer(200, "x".repeat(5_000_000)),
            answer(204)
          ]
          const server = yield* HostileServer.make((response, request, index) =>
            (index % 2 === 0 ? troubles[index / 2]! : answer(200, document))(response, request, index)
          )
          const queue = yield* connect(server)
          for (const [i, trouble] of troubles.entries()) {
            const fiber = yield* Effect.fork(queue.status(job))
            yield* server.until("the request is there", () => server.requests.length === 2 * i + 1)
            const exit = yield* stalled.includes(trouble) ? Fiber.interrupt(fiber) : Fiber.await(fiber)
            assert(Exit.isFailure(exit))
            deepStrictEqual(yield* queue.status(job), Job.Running({ job }))
          }
          assert.strictEqual(server.requests.length, 2 * troubles.length)
        }).pipe(Effect.provide(oneConnection)))
    })

    // ---------------------------------------------------------------------------
    describe("submit is sent once", () => {
      const once = (what: string, handler: HostileServer.Handler, tag: QueueError.QueueError["_tag"]) =>
        it.scoped(what, () =>
          Effect.gen(function*() {
            const server = yield* HostileServer.make(handler)
            const queue = yield* connect(server)
            const fiber = yield* Effect.fork(Effect.flip(queue.submit({ model: job.model, payload: {} })))
            yield* server.until("the request is there", () => server.requests.length > 0)
            // past the timeout, and past any backoff
            if (tag === "ResponseTimeout") yield* TestClock.adjust("1 day")
            has(yield* Fiber.join(fiber), { _tag: tag })
            yield* TestClock.adjust("1 day")
            assert.strictEqual(server.requests.length, 1)
          }).pipe(Effect.provide(layer)))

      once("when the service is slow", silence, "ResponseTimeout")
      once("when the service is slow after the headers", stall(200, `{"requestId":`), "ResponseTimeout")
      once("when the service is not available", answer(503, "", { "retry-after": "0" }), "Unavailable")
      once("when there are too many requests", answer(429, "", { "retry-after": "0" }), "RateLimited")
      once("when a time limit of the service has passed", answer(408, "", { "retry-after": "0" }), "Unavailable")
      once("when the connection breaks after the job was accepted", reset(), "Unreachable")
      once("when the connection closes after the job was accepted", (response) => response.socket?.end(), "Unreachable")
      once("when the connection breaks within the response", reset(`{"requestId":`), "Unreachable")
      once("when the response is unexpected", answer(200, { error: "queued, maybe" }), "UnexpectedResponse")
      once("when the response is a redirect", answer(302), "UnexpectedResponse")
    })

    it.scopedLive("every call sends one request", () =>
      Effect.gen(function*() {
        const server = yield* HostileServer.make(answer(503, "", { "retry-after": "0" }))
        const queue = yield* connect(server)
        for (const operation of operations) yield* Effect.flip(calls[operation](queue))
        assert.deepStrictEqual(received(server).map(({ path }) => path), operations.map((_) => `/v1/queue/${_}`))
      }).pipe(Effect.provide(layer)))

    // ---------------------------------------------------------------------------
    describe("an invalid request is not sent", () => {
      const cyclic: Record<string, unknown> = {}
      cyclic["self"] = [cyclic]
      const refs: ReadonlyArray<readonly [what: string, ref: unknown, detail: string]> = [
        ["a blank model", { model: " ", requestId: "a" }, "model: a model name must not be blank"],
        ["an empty request id", { model: "m", requestId: "" }, "requestId: a request id must not be blank"],
        ["no request id", { model: "m" }, "requestId: is missing"],
        ["a model that is a number", { model: 5, requestId: "a" }, "model: Expected string, actual 5"],
        ["a model without a prototype", { model: Object.create(null), requestId: "a" }, "model: Expected string"],
        ["a text", "m a", "actual \"m a\""],
        ["null", null, "actual null"],
        ["nothing", undefined, "actual undefined"]
      ]
      const models: ReadonlyArray<readonly [what: string, model: unknown, detail: string]> = [
        ["a blank model", "\t", "model: a model name must not be blank"],
        ["an empty model", "", "model: a model name must not be blank"],
        ["a model that is a number", 5, "model: Expected string, actual 5"],
        ["nothing", undefined, "model: Expected string, actual undefined"]
      ]
      const submits: ReadonlyArray<readonly [what: string, request: unknown, detail: string]> = [
        ["a blank model", { model: " ", payload: {} }, "model: a model name must not be blank"],
        ["no model", { payload: {} }, "model: is missing"],
        ["no payload", { model: "m" }, "payload: is missing"],
        ["a payload that is a list", { model: "m", payload: [] }, "payload: Expected JsonObject, actual []"],
        ["a payload that is null", { model: "m", payload: null }, "payload: Expected JsonObject, actual null"],
        ["a payload that is a text", { model: "m", payload: "{}" }, "payload: Expected JsonObject"],
        [
          "a payload with a BigInt",
          { model: "m", payload: { a: [1n] } },
          "payload.a[0]: a bigint cannot be represented in JSON"
        ],
        [
          "a payload with a cycle",
          { model: "m", payload: cyclic },
          "payload.self[0]: a cycle cannot be represented in JSON"
        ],
        ["a list with a cycle and a BigInt", { model: "m", payload: [cyclic, 1n] }, "payload: Expected JsonObject"],
        ["info that is a list", { model: "m", payload: {}, info: [] }, "info: Expected JsonObject"],
        ["a broken priority", { model: "m", payload: {}, priority: 1.5 }, "priority: Expected an integer, actual 1.5"],
        ["a priority without an end", { model: "m", payload: {}, priority: Infinity }, "priority: Expected an integer"],
        ["a priority that is no number", { model: "m", payload: {}, priority: NaN }, "priority: Expected an integer"],
        ["a priority that is a text", { model: "m", payload: {}, priority: "1" }, "priority: Expected number"],
        ["null", null, "actual null"]
      ]
      const cases: ReadonlyArray<
        readonly [QueueError.Operation, what: string, input: unknown, detail: string]
      > = [
        ...refs.flatMap(([what, ref, detail]) =>
          (["status", "cancel"] as const).map((operation) => [operation, what, ref, detail] as const)
        ),
        ...models.flatMap(([what, model, detail]) =>
          (["clear", "metrics"] as const).map((operation) => [operation, what, model, detail] as const)
        ),
        ...submits.map(([what, request, detail]) => ["submit", what, request, detail] as const)
      ]

      it.scopedLive.each(cases)("%s of %s", ([operation, _what, input, detail]) =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(answer(200, document))
          const queue: { readonly [operation in QueueError.Operation]: (input: any) => Effect.Effect<unknown, any> } =
            yield* connect(server)
          const failed = yield* Effect.flip(queue[operation](input))
          has(failed, { _tag: "InvalidRequest", operation, httpStatus: undefined })
          assert.include(failed.detail, detail)
          assert.isString(failed.model)
          assert.include(failed.message, "not sent")
          assert.isFalse(QueueError.isTransient(failed))
          assert.strictEqual(server.connections, 0)
          assert.strictEqual(server.requests.length, 0)
        }).pipe(Effect.provide(layer)))

      it.scopedLive("and is quoted only up to a bound", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(answer(200, document))
          const queue = yield* connect(server)
          const payload: any = Array.from({ length: 100_000 }, (_, i) => i)
          const failed = yield* Effect.flip(queue.submit({ model: "m", payload }))
          assert(failed._tag === "InvalidRequest")
          assert.strictEqual(failed.detail?.length, maxBodyLength)
          let deep: any = []
          for (let i = 0; i < 100_000; i++) deep = [deep]
          has(yield* Effect.flip(queue.submit({ model: "m", payload: deep })), { _tag: "InvalidRequest" })
          assert.strictEqual(server.connections, 0)
        }).pipe(Effect.provide(layer)))
    })

    // ---------------------------------------------------------------------------
    describe("spans", () => {
      it.scopedLive("are one a call, with the model and the job", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make((response, request, index) =>
            answer(200, request.path.endsWith("submit") ? { requestId: job.requestId } : document)(
              response,
              request,
              index
            )
          )
          const queue = yield* connect(server)
          const { spans, tracer } = CollectingTracer.make()
          yield* queue.status(job).pipe(Effect.withSpan("app"), Effect.withTracer(tracer))
          yield* queue.submit({ model: job.model, payload: {} }).pipe(Effect.withTracer(tracer))
          yield* Effect.ignore(queue.cancel(job)).pipe(Effect.withTracer(tracer))
          yield* Effect.ignore(queue.clear(job.model)).pipe(Effect.withTracer(tracer))
          yield* Effect.ignore(queue.metrics(job.model)).pipe(Effect.withTracer(tracer))
          assert.deepStrictEqual(
            spans.map(({ attributes, exit, name, parent }) => [
              name,
              parent,
              attributes.get("queue.model"),
              attributes.get("queue.request_id"),
              exit?._tag
            ]),
            [
              ["app", undefined, undefined, undefined, "Success"],
              ["JobQueue.status", "app", job.model, job.requestId, "Success"],
              ["JobQueue.submit", undefined, job.model, job.requestId, "Success"],
              ["JobQueue.cancel", undefined, job.model, job.requestId, "Failure"],
              ["JobQueue.clear", undefined, job.model, undefined, "Failure"],
              ["JobQueue.metrics", undefined, job.model, undefined, "Failure"]
            ]
          )
        }).pipe(Effect.provide(layer)))

      it.scopedLive("end with the error of the call", () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(answer(404, { message: "no such job" }))
          const queue = yield* connect(server)
          const { spans, tracer } = CollectingTracer.make()
          const failed = yield* Effect.flip(queue.status(job)).pipe(Effect.withTracer(tracer))
          assert.strictEqual(spans.length, 1)
          const exit = spans[0]!.exit
          assert(exit !== undefined && Exit.isFailure(exit) && Cause.isFailType(exit.cause))
          assert(Equal.equals(exit.cause.error, failed))
        }).pipe(Effect.provide(layer)))
    })
  })
}

// -----------------------------------------------------------------------------
// redirects, where the clients differ
// -----------------------------------------------------------------------------

describe("redirects", () => {
  const elsewhere: HostileServer.Handler = (response, request, index) =>
    answer(request.path === "/elsewhere" ? 200 : 307, { requestId: "b" }, { location: "/elsewhere" })(
      response,
      request,
      index
    )

  for (const { followsReads = false, layer, name } of Clients.clients) {
    it.scopedLive(`over ${name} are followed by ${followsReads ? "GETs" : "no call"}`, () =>
      Effect.gen(function*() {
        const server = yield* HostileServer.make(elsewhere)
        const queue = yield* connect(server)
        for (const operation of operations) {
          const before = server.requests.length
          const failed = yield* Effect.either(calls[operation](queue))
          const isFollowed = followsReads && (operation === "status" || operation === "metrics")
          assert.strictEqual(server.requests.length - before, isFollowed ? 2 : 1, operation)
          if (isFollowed) continue
          assert(Either.isLeft(failed))
          has(failed.left, { _tag: "UnexpectedResponse", httpStatus: 307 })
          assert.isTrue(QueueError.mayHaveArrived(failed.left))
        }
      }).pipe(Effect.provide(layer)))
  }

  it.scopedLive("are not followed by fetch with `redirect: manual`", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make(elsewhere)
      const queue = yield* JobQueue.make(pointedAt(server))
      has(yield* Effect.flip(queue.submit({ model: "m", payload: {} })), {
        _tag: "UnexpectedResponse",
        httpStatus: 307
      })
      assert.strictEqual(server.requests.length, 1)
    }).pipe(
      Effect.provide(
        FetchHttpClient.layer.pipe(Layer.provide(Layer.succeed(FetchHttpClient.RequestInit, { redirect: "manual" })))
      )
    ))
})

// -----------------------------------------------------------------------------
// causes of failures
// -----------------------------------------------------------------------------

describe("the cause of a failure", () => {
  const failure = (fields: object) => Object.assign(new Error("the reason"), fields)
  const system = (code: string, syscall?: string) => failure({ code, ...(syscall !== undefined && { syscall }) })
  const nested = (cause: unknown) => new TypeError("fetch failed", { cause })
  const several = (...errors: ReadonlyArray<unknown>) => new AggregateError(errors, "")
  const circular = (error: Error) => Object.assign(error, { cause: nested(error), errors: [nested(error)] })

  const refused = system("ECONNREFUSED", "connect")
  const untrusted = system("CERT_HAS_EXPIRED")

  const beforeTheConnection: ReadonlyArray<unknown> = [
    refused,
    ...["EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT", "EADDRNOTAVAIL", "ECONNRESET"].map((c) => system(c, "connect")),
    ...["ENOTFOUND", "EAI_AGAIN"].map((code) => system(code, "getaddrinfo")),
    ...["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "UND_ERR_CONNECT_TIMEOUT"].map((code) => system(code)),
    several(refused, system("EHOSTUNREACH", "connect")),
    several(refused, untrusted)
  ]
  const notTrusted: ReadonlyArray<unknown> = [
    untrusted,
    ...[
      "DEPTH_ZERO_SELF_SIGNED_CERT",
      "SELF_SIGNED_CERT_IN_CHAIN",
      "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
      "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
      "CERT_NOT_YET_VALID",
      "CERT_REVOKED",
      "ERR_TLS_CERT_ALTNAME_INVALID"
    ].map((code) => system(code)),
    several(untrusted, system("DEPTH_ZERO_SELF_SIGNED_CERT"))
  ]
  const noTls: ReadonlyArray<unknown> = [
    system("ERR_SSL_WRONG_VERSION_NUMBER"),
    system("ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION"),
    system("ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE"),
    system("EPROTO", "write")
  ]
  const afterTheConnection: ReadonlyArray<unknown> = [
    ...["ECONNRESET", "EHOSTUNREACH", "ENETUNREACH", "ETIMEDOUT", "EPROTO"].map((code) => system(code, "read")),
    ...["EPIPE", "ECONNRESET"].map((code) => system(code, "write")),
    ...["ECONNRESET", "EHOSTUNREACH", "ETIMEDOUT", "EPROTO", "UND_ERR_SOCKET", "UND_ERR_HEADERS_TIMEOUT"].map((code) =>
      system(code)
    ),
    // the client reached one of the addresses
    several(refused, system("ECONNRESET", "read")),
    several(system("ECONNRESET", "read"), refused),
    several(untrusted, system("ECONNRESET", "read")),
    several(),
    circular(failure({})),
    failure({}),
    new TypeError("Failed to fetch"),
    "a text",
    null,
    undefined
  ]

  /** A client that fails with `cause`, after a first success if `hasAnswered`. */
  const failing = (cause: unknown, hasAnswered: boolean) =>
    Effect.gen(function*() {
      let isFirst = hasAnswered
      const queue = yield* JobQueue.make({ apiKey: Redacted.make(token) }).pipe(
        Effect.provideService(
          HttpClient.HttpClient,
          HttpClient.make((request) => {
            if (!isFirst) return new HttpClientError.RequestError({ request, reason: "Transport", cause })
            isFirst = false
            return Effect.succeed(HttpClientResponse.fromWeb(request, new Response(JSON.stringify(document))))
          })
        )
      )
      if (hasAnswered) yield* queue.status(job)
      return yield* Effect.flip(queue.submit({ model: job.model, payload: {} }))
    })

  const table: ReadonlyArray<
    readonly [what: string, causes: ReadonlyArray<unknown>, hasAnswered: ReadonlyArray<boolean>, expected: object]
  > = [
    ["of no connection: not sent", beforeTheConnection, [false, true], { sent: false, transient: undefined }],
    ["of a certificate: not sent, not transient", notTrusted, [false, true], { sent: false, transient: false }],
    ["of a server without TLS: not sent, not transient", noTls, [false], { sent: false, transient: false }],
    ["of a connection that had worked: unknown", noTls, [true], { sent: undefined, transient: undefined }],
    ["of a connection: unknown", afterTheConnection, [false, true], { sent: undefined, transient: undefined }]
  ]
  for (const [what, causes, contact, expected] of table) {
    it.effect(what, () =>
      Effect.gen(function*() {
        for (const cause of causes.flatMap((cause) => [cause, nested(cause)])) {
          for (const hasAnswered of contact) {
            const failed = yield* failing(cause, hasAnswered)
            const { sent, transient } = failed as QueueError.Unreachable
            assert.strictEqual(failed._tag, "Unreachable")
            assert.deepStrictEqual({ sent, transient }, expected, inspect(cause))
          }
        }
      }))
  }

  it.effect("is a reason that a person can read", () =>
    Effect.gen(function*() {
      const at = (address: string) => new Error(`connect ECONNREFUSED ${address}`)
      const openSsl = "807CEA7B8E7F0000:error:0A00010B:SSL routines:ssl3_get_record:wrong version number:"
      const reasons: ReadonlyArray<readonly [cause: unknown, reason: string]> = [
        [several(at("::1:80"), at("127.0.0.1:80")), "connect ECONNREFUSED ::1:80; connect ECONNREFUSED 127.0.0.1:80"],
        [several(at("::1:80"), several(at("::1:80")), {}, at("::1:80")), "connect ECONNREFUSED ::1:80"],
        [several(at("::1:80"), nested(untrusted)), "connect ECONNREFUSED ::1:80; the reason"],
        [several({}, null), "fetch failed"],
        [circular(new Error("")), "fetch failed"],
        [
          new Error(`${openSsl}../deps/openssl/openssl/ssl/record/ssl3_record.c:350:\n`),
          "SSL routines: wrong version number"
        ],
        [new Error("error:0480006C:PEM routines::no start line"), "PEM routines: no start line"],
        [
          new Error(`write EPROTO ${openSsl}c:\\ws\\deps\\openssl\\ssl3_record.c:350:\n`),
          "write EPROTO SSL routines: wrong version number"
        ],
        [
          new Error(
            "80EB6F9C:error:0A000086:SSL routines::certificate verify failed:../deps/openssl/ssl/statem_clnt.c:1889:\n" +
              "80EB6F9C:error:0A000410:SSL routines:ssl3_read_bytes:sslv3 alert handshake failure:" +
              "../deps/openssl/ssl/rec_layer_s3.c:1590:SSL alert number 40\n"
          ),
          "SSL routines: certificate verify failed; SSL routines: sslv3 alert handshake failure"
        ]
      ]
      for (const [cause, reason] of reasons) {
        const failed = yield* failing(nested(cause), false)
        assert.strictEqual((failed as QueueError.Unreachable).reason, reason)
      }
    }))
})

// -----------------------------------------------------------------------------
// configuration
// -----------------------------------------------------------------------------

const secret = "tgp_v1_a-very-secret-token"

/** A client that records its requests, and sends none. */
const recorder = () => {
  const requests: Array<{ readonly url: string; readonly authorization: string | undefined }> = []
  return {
    requests,
    layer: Layer.succeed(
      HttpClient.HttpClient,
      HttpClient.make((request, url) => {
        requests.push({ url: url.href, authorization: request.headers["authorization"] })
        return Effect.succeed(HttpClientResponse.fromWeb(request, new Response(JSON.stringify(document))))
      })
    )
  }
}

const environment = (variables: { readonly [name: string]: string }) =>
  Effect.withConfigProvider(ConfigProvider.fromMap(new Map(Object.entries(variables))))

const build = <E>(
  layer: Layer.Layer<JobQueue.JobQueue, E, HttpClient.HttpClient>,
  variables: { readonly [name: string]: string }
) => {
  const { layer: http, requests } = recorder()
  return JobQueue.status(job).pipe(
    Effect.as(requests),
    Effect.provide(Layer.provide(layer, http)),
    environment(variables)
  )
}

describe("configuration", () => {
  it.effect("uses the real service by default", () =>
    Effect.gen(function*() {
      const [request] = yield* build(JobQueue.layer(), { TOGETHER_API_KEY: secret })
      assert.deepStrictEqual(request, {
        url: `https://api.together.ai/v1/queue/status?request_id=${job.requestId}&model=my-org%2Fvideo-generator`,
        authorization: `Bearer ${secret}`
      })
    }))

  it.effect("uses the service at TOGETHER_BASE_URL", () =>
    Effect.gen(function*() {
      for (const baseUrl of ["http://localhost:8080/v1", "http://localhost:8080/v1/"]) {
        const [request] = yield* build(JobQueue.layer(), { TOGETHER_API_KEY: secret, TOGETHER_BASE_URL: baseUrl })
        assert.match(request!.url, /^http:\/\/localhost:8080\/v1\/queue\/status\?/)
      }
    }))

  it.effect("trims blanks and line ends around the token", () =>
    Effect.gen(function*() {
      for (const text of [`${secret}\n`, `${secret}\r\n`, ` \t${secret} `]) {
        const [request] = yield* build(JobQueue.layer(), { TOGETHER_API_KEY: text })
        assert.strictEqual(request!.authorization, `Bearer ${secret}`)
      }
    }))

  it.effect("reads its options from variables of any name", () =>
    Effect.gen(function*() {
      const layer = JobQueue.layerConfig({
        apiKey: Config.redacted("QUEUE_TOKEN"),
        baseUrl: Config.string("QUEUE_URL"),
        requestTimeout: Config.duration("QUEUE_TIMEOUT")
      })
      const variables = { QUEUE_TOKEN: secret, QUEUE_URL: "https://queue.test", QUEUE_TIMEOUT: "5 seconds" }
      const [request] = yield* build(layer, variables)
      assert.match(request!.url, /^https:\/\/queue\.test\/queue\/status\?/)
      assert.strictEqual(request!.authorization, `Bearer ${secret}`)
      const missing = yield* Effect.flip(build(layer, { QUEUE_TOKEN: secret, QUEUE_URL: "https://queue.test" }))
      assert.include(String(missing), "QUEUE_TIMEOUT")
    }))

  it.effect("takes an option that is undefined for one that is not given", () =>
    Effect.gen(function*() {
      // without `exactOptionalPropertyTypes`, the type allows it
      const baseUrl = undefined as never
      const layer = JobQueue.layerConfig({ apiKey: Config.redacted("QUEUE_TOKEN"), baseUrl })
      const [request] = yield* build(layer, { QUEUE_TOKEN: secret })
      assert.match(request!.url, /^https:\/\/api\.together\.ai\/v1\/queue\/status\?/)
    }))

  it.live("takes the timeout from its options", () =>
    Effect.gen(function*() {
      const silent = Layer.succeed(HttpClient.HttpClient, HttpClient.make(() => Effect.never))
      const layer = JobQueue.layerConfig({
        apiKey: Config.redacted("QUEUE_TOKEN"),
        requestTimeout: Config.duration("QUEUE_TIMEOUT")
      })
      const failed = yield* Effect.flip(JobQueue.status(job)).pipe(
        Effect.provide(Layer.provide(layer, silent)),
        environment({ QUEUE_TOKEN: secret, QUEUE_TIMEOUT: "20 millis" })
      )
      assert(failed._tag === "ResponseTimeout")
      assert.strictEqual(Duration.toMillis(failed.after), 20)
    }))

  const refused: ReadonlyArray<readonly [what: string, { readonly [name: string]: string }, issue: RegExp]> = [
    ["no token", {}, /Missing data at TOGETHER_API_KEY: "Expected TOGETHER_API_KEY to exist/],
    ["an empty token", { TOGETHER_API_KEY: "" }, /TOGETHER_API_KEY.*must not be empty/],
    ["a blank token", { TOGETHER_API_KEY: " \n" }, /TOGETHER_API_KEY.*must not be empty/],
    ["a token with a blank", { TOGETHER_API_KEY: `Bearer ${secret}` }, /TOGETHER_API_KEY.*printable ASCII/],
    ["a token with a line end", { TOGETHER_API_KEY: `${secret}\nX-Evil: ${secret}` }, /TOGETHER_API_KEY.*ASCII/],
    ["a token with an umlaut", { TOGETHER_API_KEY: `${secret}ö` }, /TOGETHER_API_KEY.*printable ASCII/],
    ["no URL", { TOGETHER_API_KEY: secret, TOGETHER_BASE_URL: "localhost/v1" }, /TOGETHER_BASE_URL.*not a URL/],
    ["ftp", { TOGETHER_API_KEY: secret, TOGETHER_BASE_URL: "ftp://h/v1" }, /TOGETHER_BASE_URL.*http:\/\/ or https/],
    ["a file", { TOGETHER_API_KEY: secret, TOGETHER_BASE_URL: "file:///v1" }, /TOGETHER_BASE_URL.*http:\/\/ or https/],
    [
      "a user and a password in the URL",
      { TOGETHER_API_KEY: secret, TOGETHER_BASE_URL: `https://admin:hunter2@h/v1` },
      /TOGETHER_BASE_URL.*must not hold credentials/
    ],
    [
      "a user in the URL",
      { TOGETHER_API_KEY: secret, TOGETHER_BASE_URL: `https://hunter2@h/v1` },
      /TOGETHER_BASE_URL.*must not hold credentials/
    ],
    [
      "a password in what is no URL",
      { TOGETHER_API_KEY: secret, TOGETHER_BASE_URL: "https://admin:hunter2@h:99999/v1" },
      /TOGETHER_BASE_URL.*not a URL/
    ],
    [
      "a password and no scheme",
      { TOGETHER_API_KEY: secret, TOGETHER_BASE_URL: "admin:hunter2@h/v1" },
      /TOGETHER_BASE_URL.*http:\/\/ or https/
    ],
    [
      "a query",
      { TOGETHER_API_KEY: secret, TOGETHER_BASE_URL: "https://h/v1?key=hunter2" },
      /TOGETHER_BASE_URL.*neither a query nor a fragment/
    ],
    [
      "a fragment",
      { TOGETHER_API_KEY: secret, TOGETHER_BASE_URL: "https://h/v1#hunter2" },
      /TOGETHER_BASE_URL.*neither a query nor a fragment/
    ],
    [
      "an empty query",
      { TOGETHER_API_KEY: secret, TOGETHER_BASE_URL: "https://h/v1?" },
      /TOGETHER_BASE_URL.*neither a query nor a fragment/
    ],
    [
      "an empty fragment",
      { TOGETHER_API_KEY: secret, TOGETHER_BASE_URL: "https://h/v1#" },
      /TOGETHER_BASE_URL.*neither a query nor a fragment/
    ],
    ["the token as the URL", { TOGETHER_API_KEY: secret, TOGETHER_BASE_URL: secret }, /TOGETHER_BASE_URL.*not a URL/]
  ]
  for (const [what, variables, issue] of refused) {
    it.effect(`rejects ${what}, and shows no secret`, () =>
      Effect.gen(function*() {
        const failed = yield* Effect.flip(build(JobQueue.layer(), variables))
        assert.include(["MissingData", "InvalidData"], (failed as { readonly _op?: unknown })._op)
        assert.match(String(failed), issue)
        for (
          const shown of [String(failed), inspect(failed, { depth: null, showHidden: true }), JSON.stringify(failed)]
        ) {
          assert.notInclude(shown, secret)
          assert.notInclude(shown, "hunter2")
          assert.notInclude(shown, "admin")
        }
      }))
  }

  it.effect("rejects the same values as options", () =>
    Effect.gen(function*() {
      const make = (options: JobQueue.Options) =>
        Effect.map(Effect.flip(JobQueue.make(options)), (error) => String(error)).pipe(
          Effect.provide(recorder().layer)
        )
      assert.match(yield* make({ apiKey: Redacted.make("") }), /apiKey.*must not be empty/)
      assert.match(yield* make({ apiKey: Redacted.make("a b") }), /apiKey.*printable ASCII/)
      const apiKey = Redacted.make(secret)
      assert.match(yield* make({ apiKey, baseUrl: "nowhere" }), /baseUrl.*not a URL/)
      assert.match(yield* make({ apiKey, baseUrl: "ws://h" }), /baseUrl.*http:\/\/ or https/)
      assert.match(yield* make({ apiKey, baseUrl: "http://a:b@h" }), /baseUrl.*credentials/)
      assert.match(yield* make({ apiKey, baseUrl: "http://h?a" }), /baseUrl.*query/)
    }))
})

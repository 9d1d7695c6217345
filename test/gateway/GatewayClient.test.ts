import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as HttpRouter from "@effect/platform/HttpRouter"
import { assert, describe, it } from "@effect/vitest"
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { createServer } from "node:http"
import { Gateway, GatewayClient } from "../../src/gateway/index.js"
import { Deadline, Job, JobQueue, JobStream, JobWatcher, QueueError, WatchPolicy } from "../../src/index.js"
import { Conformance, TestJobQueue, VirtualTime } from "../../src/testing/index.js"
import { seesHistory } from "../fixtures/brokenConnection.js"
import { type App, get, make } from "../fixtures/gateway.js"
import { job, model } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"

let inFlight = 0

/** A client whose requests are counted, up to the end of their responses. */
const counted = Layer.effect(
  HttpClient.HttpClient,
  Effect.map(
    HttpClient.HttpClient,
    HttpClient.transformResponse((request) =>
      Effect.acquireUseRelease(
        Effect.sync(() => inFlight++),
        () =>
          Effect.flatMap(request, (response) =>
            Effect.map(response.text, (text) => {
              const { headers, request, status } = response
              return HttpClientResponse.fromWeb(request, new Response(text, { status, headers }))
            })),
        () => Effect.sync(() => inFlight--)
      )
    )
  )
).pipe(Layer.provide(NodeHttpClient.layerUndici))

const turn = Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))

/** Lets virtual time pass, and the requests that it begins end, however long they take. */
const pass = (duration: Duration.DurationInput) =>
  TestClock.adjust(duration).pipe(
    Effect.zipRight(turn),
    Effect.zipRight(Effect.repeat(turn, { until: () => inFlight === 0 })),
    Effect.zipRight(turn)
  )

/** A watcher behind a gateway on a server. */
const overHttp = Layer.unwrapScoped(Effect.gen(function*() {
  const server = yield* NodeHttpServer.make(createServer, { host: "127.0.0.1", port: 0 })
  const app = HttpRouter.empty.pipe(HttpRouter.mountApp("/jobs", Gateway.httpApp()))
  const served = Effect.provideService(app, JobWatcher.JobWatcher, yield* JobWatcher.make())
  // snapshots no older than the shortest interval: some checks are about a progress of 400 milliseconds
  const policy = WatchPolicy.withCadence(WatchPolicy.defaultPolicy, "1 millis")
  yield* Effect.provideService(server.serve(served), WatchPolicy.Default, policy)
  const { address } = server
  const port = address._tag === "TcpAddress" ? address.port : assert.fail(address.path)
  return GatewayClient.layer({ url: `http://127.0.0.1:${port}/jobs/` })
})).pipe(Layer.provide(counted), Layer.orDie)

describe("the checks of a watcher", () => {
  for (const { name, run } of Conformance.watcherChecks({ watcher: overHttp, pass })) {
    it.effect(name, () => run)
  }
})

type Respond = (url: URL) => Effect.Effect<Response, "break">

/** A watcher behind a gateway that responds like this. */
const behind = (respond: Respond, options: Partial<GatewayClient.Options> = {}) =>
  GatewayClient.layer({ url: "http://gateway/jobs", ...options }).pipe(
    Layer.provide(Layer.succeed(
      HttpClient.HttpClient,
      HttpClient.make((request, url) =>
        respond(url).pipe(
          Effect.map((response) => HttpClientResponse.fromWeb(request, response)),
          Effect.mapError(() =>
            new HttpClientError.RequestError({ request, reason: "Transport", cause: new Error("the connection broke") })
          )
        )
      )
    )),
    Layer.orDie
  )

const respondBy = (app: App): Respond => (url) =>
  Effect.map(
    get(app, url.pathname.replace("/jobs", "") + url.search),
    ({ headers, status, text }) => new Response(text, { status, headers })
  )

it("law: the transitions of a job are those of its history, with any failures of the connection", () =>
  seesHistory(
    (breaks) =>
      Layer.unwrapScoped(
        Effect.map(make(), (app) => {
          const respond = respondBy(app)
          return behind((url) => Effect.suspend(() => breaks() ? Effect.fail("break") : respond(url)))
        })
      ),
    runs(20, 80)
  ))

describe("errors", () => {
  /** The error of a watch without retries. */
  const errorOf = (respond: Respond, options?: Partial<GatewayClient.Options>) =>
    Effect.flip(JobStream.result(job, { retry: Schedule.stop })).pipe(Effect.provide(behind(respond, options)))

  const json = (body: unknown, init: ResponseInit) => () => Effect.succeed(Response.json(body, init))
  const text = (body: string | null, init: ResponseInit) => () => Effect.succeed(new Response(body, init))

  it.effect("are those of the gateway", () =>
    Effect.gen(function*() {
      const about = { operation: "status", model, job } as const
      const errors: ReadonlyArray<QueueError.QueueError> = [
        new QueueError.AccessDenied({ ...about, httpStatus: 403 }),
        new QueueError.JobNotFound({ ...about, httpStatus: 404 }),
        new QueueError.Unavailable({ ...about, httpStatus: 500, retryAfter: Duration.seconds(3) }),
        new QueueError.Unreachable({ ...about, reason: "read ECONNRESET" }),
        new QueueError.ResponseTimeout({ ...about, after: Duration.seconds(30) }),
        new QueueError.ResponseTooLarge({ ...about, httpStatus: 200, maxBytes: 1 })
      ]
      for (const error of errors) {
        const watcher = JobQueue.JobQueue.of({ ...(yield* JobQueue.JobQueue), status: () => Effect.fail(error) })
        const app = yield* Effect.provideService(make(), JobQueue.JobQueue, watcher)
        assert.deepStrictEqual(yield* errorOf(respondBy(app)), error)
      }
    }).pipe(Effect.scoped, VirtualTime.run, Effect.provide(TestJobQueue.layer())))

  it.effect("are those of the connection, or of a proxy, otherwise", () =>
    Effect.gen(function*() {
      const ofError = (error: QueueError.WatchError | QueueError.OutcomeError) => [
        error._tag,
        "httpStatus" in error ? error.httpStatus : undefined
      ]
      const cases: ReadonlyArray<readonly [Respond, tag: string, httpStatus?: number]> = [
        [() => Effect.fail("break"), "Unreachable"],
        [() => Effect.never, "ResponseTimeout"],
        [text("<h1>Bad Gateway</h1>", { status: 502 }), "Unavailable", 502],
        [text("Unauthorized", { status: 401 }), "AccessDenied", 401],
        [text(null, { status: 204 }), "UnexpectedResponse", 204],
        [text("hello", { status: 200 }), "UnexpectedResponse", 200],
        [json({ status: { status: "done" } }, { status: 200 }), "UnexpectedResponse", 200],
        // not a job that is missing, but the gateway
        [text("Not Found", { status: 404 }), "UnexpectedResponse", 404],
        [json({ _tag: "RouteNotFound" }, { status: 404 }), "UnexpectedResponse", 404],
        [text(`"${"x".repeat(2_000)}"`, { status: 200 }), "ResponseTooLarge", 200]
      ]
      for (const [respond, tag, httpStatus] of cases) {
        const error = yield* errorOf(respond, { maxResponseBytes: 1_000 })
        assert.deepStrictEqual(ofError(error), [tag, httpStatus])
      }
      const busy = yield* errorOf(
        json({ _tag: "TooManyConnections" }, { status: 503, headers: { "retry-after": "4" } })
      )
      assert(busy._tag === "Unavailable")
      assert.deepStrictEqual(busy.retryAfter, Duration.seconds(4))
    }).pipe(VirtualTime.run))

  it.effect("have no token, even if the access of the gateway repeats it", () =>
    Effect.gen(function*() {
      const token = "a-token-of-the-gateway"
      const about = { operation: "status", model, job, httpStatus: 401 } as const
      const refused = new QueueError.AccessDenied({ ...about, detail: `unknown: ${token}` })
      const error = yield* errorOf(json(Schema.encodeSync(QueueError.QueueError)(refused), { status: 401 }), {
        token: Redacted.make(token)
      })
      assert.deepStrictEqual(error, new QueueError.AccessDenied({ ...about, detail: "unknown: <redacted>" }))
    }))

  it.effect("of a reference that is no job come without a request", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(JobStream.result(Job.ref("", "1"))).pipe(
        Effect.provide(behind(() => Effect.die("there was a request")))
      )
      assert.strictEqual(error._tag, "InvalidRequest")
    }))
})

it.effect("a pending job is canceled through a JobQueue, if there is one", () =>
  Effect.gen(function*() {
    const job = yield* JobQueue.submit({ model, payload: {} })
    const respond = respondBy(yield* make())
    const deadline = Deadline.cancelPending(Deadline.pending("10 seconds"))
    const watch = Effect.flip(JobStream.result(job, { deadline }))
    const without = yield* Effect.provide(watch, behind(respond)).pipe(
      Effect.mapInputContext((context: Context.Context<never>) => Context.omit(JobQueue.JobQueue)(context))
    )
    assert(without._tag === "PendingTooLong")
    assert.include(without.message, "provide a JobQueue")
    const layer = behind(respond).pipe(Layer.provide(Layer.succeed(JobQueue.JobQueue, yield* JobQueue.JobQueue)))
    const error = yield* Effect.provide(watch, layer)
    assert(error._tag === "PendingTooLong")
    assert.strictEqual(error.cancel?._tag, "Canceled")
  }).pipe(Effect.scoped, VirtualTime.run, Effect.provide(TestJobQueue.layer())))

it.effect("the URL is checked, also that of the configuration", () =>
  Effect.gen(function*() {
    const fails = (url: string) =>
      GatewayClient.layerConfig({ url: Config.string("URL") }).pipe(
        Layer.build,
        Effect.scoped,
        Effect.withConfigProvider(ConfigProvider.fromMap(new Map([["URL", url]]))),
        Effect.provide(FetchHttpClient.layer),
        Effect.isFailure
      )
    assert.deepStrictEqual(
      yield* Effect.forEach(
        ["http://gateway/jobs", "gateway", "ftp://gateway", "http://a:b@gateway", "http://g?x"],
        fails
      ),
      [false, true, true, true, true]
    )
  }))

it.effect("a request asks every cache on the way for a new snapshot, also that of fetch", () =>
  Effect.gen(function*() {
    const requests: Array<RequestInit | undefined> = []
    const fetch: typeof globalThis.fetch = (_, init) => {
      requests.push(init)
      return Promise.resolve(new Response(null, { status: 404 }))
    }
    yield* Effect.flip(JobStream.result(job, { retry: Schedule.stop })).pipe(
      Effect.provide(GatewayClient.layer({ url: "http://gateway/jobs" }).pipe(Layer.provide(FetchHttpClient.layer))),
      Effect.provideService(FetchHttpClient.Fetch, fetch)
    )
    assert.deepStrictEqual(
      requests.map((init) => [init?.cache, new Headers(init?.headers).get("cache-control")]),
      [["no-store", "no-store"]]
    )
  }))

it.effect("the token is checked, without whitespace around it, which a file often ends with", () =>
  Effect.gen(function*() {
    const tokens: Array<string | undefined> = []
    const client = HttpClient.make((request) => {
      tokens.push(request.headers["authorization"])
      return Effect.succeed(HttpClientResponse.fromWeb(request, new Response(null, { status: 404 })))
    })
    const watch = (token: string) =>
      GatewayClient.make({ url: "http://gateway/jobs", token: Redacted.make(token) }).pipe(
        Effect.flatMap((watcher) =>
          Effect.provideService(JobStream.result(job, { retry: Schedule.stop }), JobWatcher.JobWatcher, watcher)
        ),
        Effect.flip,
        Effect.map(({ _tag }) => _tag),
        Effect.scoped,
        Effect.provideService(HttpClient.HttpClient, client)
      )
    assert.strictEqual(yield* watch("a-token\n"), "UnexpectedResponse")
    assert.deepStrictEqual(tokens, ["Bearer a-token"])
    for (const token of ["", "a\ntoken", "a token", "tökén"]) assert.strictEqual(yield* watch(token), "ConfigError")
    assert.lengthOf(tokens, 1)
  }))

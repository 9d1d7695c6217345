import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as RpcClient from "@effect/rpc/RpcClient"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as RpcServer from "@effect/rpc/RpcServer"
import * as RpcTest from "@effect/rpc/RpcTest"
import { assert, describe, it } from "@effect/vitest"
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Chunk from "effect/Chunk"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Http from "node:http"
import { GatewayAccess } from "../../src/gateway/index.js"
import { Job, type JobQueue, JobWatcher, QueueError, Transition } from "../../src/index.js"
import { GatewayRpc } from "../../src/rpc/index.js"
import { Fault, TestJobQueue } from "../../src/testing/index.js"
import * as CollectingTracer from "../fixtures/collectingTracer.js"
import { secret, submit as submitSecret, test } from "../fixtures/gateway.js"
import { inFrontOf, noting, quick, quickly, submit } from "../fixtures/gatewayServer.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { afterInterruption } from "../fixtures/interruptions.js"
import { job, model } from "../fixtures/job.js"
import { expectLogged, withLogs } from "../fixtures/logs.js"
import { runs } from "../fixtures/runs.js"

type Transport = "HTTP" | "WebSocket"

/** A server of the procedures, and its port. */
const serve = (
  transport: Transport,
  watcher: Layer.Layer<JobWatcher.JobWatcher, never, JobQueue.JobQueue> = JobWatcher.layer(),
  options: GatewayRpc.Options = { view: "full" }
) => {
  const protocol = transport === "HTTP" ? RpcServer.layerProtocolHttp : RpcServer.layerProtocolWebsocket
  return HttpRouter.Default.serve().pipe(
    Layer.provide(RpcServer.layer(GatewayRpc.Rpcs).pipe(Layer.provide(GatewayRpc.layer(options)))),
    Layer.provide(protocol({ path: "/rpc" })),
    Layer.provide([RpcSerialization.layerNdjson, watcher, quickly]),
    Layer.provideMerge(NodeHttpServer.layer(Http.createServer, { host: "127.0.0.1", port: 0 })),
    Layer.build,
    Effect.map((context) => Context.get(context, HttpServer.HttpServer).address),
    Effect.map((address) => address._tag === "TcpAddress" ? address.port : assert.fail(address.path))
  )
}

const connect = (transport: Transport, port: number) =>
  Effect.flatMap(
    Layer.build(
      transport === "HTTP"
        ? GatewayRpc.layerProtocolHttp({ url: `http://127.0.0.1:${port}/rpc` }).pipe(
          Layer.provide(NodeHttpClient.layerUndici)
        )
        : RpcClient.layerProtocolSocket().pipe(
          Layer.provide([NodeSocket.layerWebSocket(`ws://127.0.0.1:${port}/rpc`), RpcSerialization.layerNdjson])
        )
    ),
    (context) => Effect.provide(RpcClient.make(GatewayRpc.Rpcs), context)
  )

const isTransition = Schema.is(Schema.typeSchema(Transition.Transition))

for (const transport of ["HTTP", "WebSocket"] as const) {
  describe(`over ${transport}`, () => {
    it.scopedLive("jobs are followed through cut connections to several servers, without gap and repeat", () =>
      Effect.gen(function*() {
        const jobs = [yield* submit, yield* submit]
        const port = yield* inFrontOf([yield* serve(transport), yield* serve(transport)], [1_500, 3_000])
        const client = yield* connect(transport, port)
        const events = yield* Stream.runCollect(GatewayRpc.follow(client, jobs.map((job) => ({ job }))))
        assert.isAbove(Chunk.filter(events, ({ _tag }) => _tag === "Disconnected").length, 0)
        for (const job of jobs) {
          const seen = Chunk.filter(
            Chunk.filter(events, isTransition),
            (event) => event.job.requestId === job.requestId
          )
          yield* TestJobQueue.expectMatchesHistory(job, seen)
          assert.strictEqual(Option.getOrThrow(Chunk.last(seen))._tag, "Completed")
        }
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: quick }))))

    it.scopedLive("a stream that is interrupted ends its watch at once", () =>
      Effect.gen(function*() {
        const begun = yield* Deferred.make<void>()
        const ended = yield* Deferred.make<void>()
        const client = yield* connect(transport, yield* serve(transport, noting("changes", begun, ended)))
        const fiber = yield* Effect.fork(
          Stream.runDrain(client.JobGateway.Watch({ jobs: [{ job: yield* submit }] }))
        )
        yield* Deferred.await(begun)
        assert.isFalse(yield* Deferred.isDone(ended))
        yield* Fiber.interrupt(fiber)
        yield* Deferred.await(ended)
      }).pipe(Effect.provide(TestJobQueue.layer())))

    it.scopedLive("a defect is logged once, without the token, and ends the calls of the client", () =>
      withLogs((logs) =>
        Effect.gen(function*() {
          const token = "aTokenOfTheClient0123456789"
          const headers = { authorization: `Bearer ${token}` }
          const access = () => Effect.die(new Error(`no such token: ${token}`))
          const client = yield* connect(transport, yield* serve(transport, undefined, { access }))
          const calls: ReadonlyArray<Effect.Effect<Exit.Exit<void, unknown>>> = [
            Effect.exit(Effect.asVoid(client.JobGateway.Snapshot({ job }))),
            Effect.exit(Stream.runDrain(GatewayRpc.follow(client, [{ job }])))
          ]
          for (const [i, call] of calls.entries()) {
            const exit = yield* RpcClient.withHeaders(call, headers)
            assert(Exit.isFailure(exit) && Cause.isDie(exit.cause))
            expectLogged(logs, i + 1, "a call of the gateway died", "no such token: <redacted>")
          }
          assert.notInclude(logs.join(), token)
        })
      ).pipe(Effect.provide(TestJobQueue.layer())))
  })
}

it.scopedLive("an error response fails a call over HTTP, and shows no token", () =>
  Effect.gen(function*() {
    for (const status of [404, 502]) {
      const server = yield* HostileServer.make(HostileServer.answer(status, "<h1>no</h1>"))
      const client = yield* connect("HTTP", Number(new URL(server.url).port))
      const call = client.JobGateway.Snapshot({ job })
      assert.strictEqual((yield* Effect.flip(call))._tag, "RpcClientError")
      const [first] = yield* GatewayRpc.follow(client, [{ job }]).pipe(
        Stream.take(1),
        Stream.runCollect,
        RpcClient.withHeaders({ authorization: "Bearer aSecretToken" })
      )
      assert(first?._tag === "Disconnected")
      assert.include(first.reason, String(status))
      assert.notInclude(first.reason, "aSecretToken")
      assert.isTrue(server.requests.some(({ body }) => body.includes("aSecretToken")))
    }
  }))

/** Calls over HTTP, to each of which a server responds with these bytes, in parts of a size. */
const responding = (bytesFor: (id: string) => Uint8Array, { size = 1, status = 200 } = {}) => {
  const http = HttpClient.make((request) =>
    Effect.sync(() => {
      assert(request.body._tag === "Uint8Array")
      const bytes = bytesFor(JSON.parse(new TextDecoder().decode(request.body.body)).id)
      const body = new ReadableStream<Uint8Array>({
        start: (controller) => {
          for (let i = 0; i < bytes.length; i += size) controller.enqueue(bytes.subarray(i, i + size))
          controller.close()
        }
      })
      return HttpClientResponse.fromWeb(request, new Response(status === 204 ? null : body, { status }))
    })
  )
  return Effect.flatMap(
    Layer.build(
      Layer.provide(
        GatewayRpc.layerProtocolHttp({ url: "http://gateway/rpc" }),
        Layer.succeed(HttpClient.HttpClient, http)
      )
    ),
    (context) => Effect.provide(RpcClient.make(GatewayRpc.Rpcs), context)
  )
}

it.scoped("outputs arrive over HTTP, also in parts that divide a character, and large ones", () =>
  Effect.gen(function*() {
    for (const [text, size] of [["\u00e4\u20ac\u{1f600}", 1], ["x".repeat(17 * 2 ** 20), 2 ** 24]] as const) {
      const done = Job.Done({ job, outputs: { text } })
      const value = Schema.encodeSync(Schema.Option(Job.JobStatus))(Option.some(done))
      const client = yield* responding(
        (requestId) =>
          new TextEncoder().encode(
            `${JSON.stringify({ _tag: "Exit", requestId, exit: { _tag: "Success", value } })}\n`
          ),
        { size }
      )
      const snapshot = Option.getOrThrow(yield* client.JobGateway.Snapshot({ job }))
      assert(snapshot._tag === "Done" && snapshot.outputs["text"] === text)
    }
  }))

it.scoped.prop("a response over HTTP that is none of the procedures fails a call", {
  text: FastCheck.oneof(
    FastCheck.string(),
    FastCheck.json().map((text) => `${text}\n`),
    FastCheck.constantFrom(
      "<h1>Sign in</h1>\n",
      JSON.stringify({ _tag: "Exit", requestId: "another" }) + "\n",
      JSON.stringify({ _tag: "Chunk", requestId: "another", values: [] }) + "\n"
    )
  ),
  status: FastCheck.constantFrom(200, 204)
}, ({ status, text }) =>
  Effect.gen(function*() {
    const client = yield* responding(() => new TextEncoder().encode(text), { status })
    assert.strictEqual((yield* Effect.flip(client.JobGateway.Snapshot({ job })))._tag, "RpcClientError")
    const [first] = yield* Stream.runCollect(Stream.take(GatewayRpc.follow(client, [{ job }]), 1))
    assert.strictEqual(first?._tag, "Disconnected")
  }), { fastCheck: { numRuns: runs(50, 500) } })

it.scoped("a message of the call that is none of the procedure is a break of the connection", () =>
  Effect.gen(function*() {
    const parts: ReadonlyArray<object> = [
      { _tag: "Exit", exit: 3 },
      { _tag: "Exit", exit: { _tag: "Failure", cause: 3 } },
      { _tag: "Exit" },
      { _tag: "Chunk", values: [{ _tag: "Foo" }] },
      { _tag: "Chunk", values: [] },
      { _tag: "Chunk" }
    ]
    for (const part of parts) {
      const client = yield* responding((requestId) =>
        new TextEncoder().encode(`${JSON.stringify({ requestId, ...part })}\n`)
      )
      const [first] = yield* Stream.runCollect(Stream.take(GatewayRpc.follow(client, [{ job }]), 1))
      assert(first?._tag === "Disconnected")
      assert.match(first.reason, /^the response can't be read: ./)
      assert.isBelow(first.reason.length, 3_000)
    }
  }))

describe("the procedures", () => {
  const calling = <A, E>(
    options: GatewayRpc.Options,
    use: (
      client: Effect.Effect.Success<ReturnType<typeof connect>>
    ) => Effect.Effect<A, E, JobQueue.JobQueue | TestJobQueue.TestJobQueue | Scope.Scope>
  ) =>
    test(
      RpcTest.makeClient(GatewayRpc.Rpcs).pipe(
        Effect.flatMap(use),
        Effect.provide(GatewayRpc.layer(options).pipe(Layer.provide(JobWatcher.layer())))
      )
    )

  it.effect("watch in the span of the request, not in that of the start of the server", () =>
    Effect.gen(function*() {
      const { spans, tracer } = CollectingTracer.make()
      yield* calling({}, (client) =>
        Effect.flatMap(submitSecret, (job) => Stream.runDrain(client.JobGateway.Watch({ jobs: [{ job }] })))).pipe(
          Effect.withSpan("start"),
          Effect.withTracer(tracer)
        )
      assert.strictEqual(
        spans.find(({ name }) =>
          name === "JobStream.events"
        )?.parent,
        "RpcServer.JobGateway.Watch"
      )
    }))

  it.effect("send no inputs and no text of the service, unless the view is full", () =>
    Effect.gen(function*() {
      const sent = (options: GatewayRpc.Options) =>
        calling(options, (client) =>
          Effect.gen(function*() {
            const job = yield* submitSecret
            const events = (fault: Fault.Fault) =>
              Effect.zipRight(
                TestJobQueue.inject(fault.pipe(Fault.on("status"), Fault.nth(1))),
                Stream.runCollect(Stream.take(client.JobGateway.Watch({ jobs: [{ job }] }), 3))
              )
            const seen = [
              ...(yield* events(Fault.answer(503, { message: secret }))),
              ...Chunk.takeRight(yield* events(Fault.answer(400, { message: secret })), 1)
            ]
            assert.deepStrictEqual(seen.map(({ _tag }) => _tag), ["Trouble", "Recovered", "Queued", "WatchFailed"])
            const snapshot = yield* client.JobGateway.Snapshot({ job })
            yield* TestJobQueue.inject(Fault.answer(400, { message: secret }).pipe(Fault.on("status"), Fault.nth(1)))
            const error = yield* Effect.flip(client.JobGateway.Snapshot({ job: yield* submitSecret }))
            assert(error._tag !== "RpcClientError")
            return [
              ...Schema.encodeSync(Schema.Array(GatewayRpc.Event))(seen),
              Schema.encodeSync(Schema.Option(Job.JobStatus))(snapshot),
              Schema.encodeSync(QueueError.WatchError)(error)
            ].map((value) => JSON.stringify(value).includes(secret))
          }))
      const all = [true, false, true, true, true, true]
      assert.deepStrictEqual(yield* sent({ view: "full" }), all)
      for (const options of [{ view: "slim" }, {}] as const) {
        assert.deepStrictEqual(yield* sent(options), all.map(() => false))
      }
    }))

  it.effect("continue from a cursor, and wait for news after it", () =>
    calling({}, (client) =>
      Effect.gen(function*() {
        const job = yield* submitSecret
        const [first] = yield* Stream.runCollect(Stream.take(client.JobGateway.Watch({ jobs: [{ job }] }), 1))
        assert(first?._tag === "Queued")
        const from = first.cursor
        assert.isTrue(Option.isNone(yield* client.JobGateway.Snapshot({ job, from })))
        const news = yield* client.JobGateway.Snapshot({ job, from, wait: Duration.minutes(1) })
        assert.notStrictEqual(Option.getOrThrow(news)._tag, "Pending")
        const rest = yield* Stream.runCollect(client.JobGateway.Watch({ jobs: [{ job, from }] }))
        assert.isFalse(Chunk.some(rest, ({ _tag }) => _tag === "Queued"))
      })))

  it.effect("have nothing after the end of a job, with and without a wait", () =>
    calling({}, (client) =>
      Effect.gen(function*() {
        const job = yield* submitSecret
        const events = yield* Stream.runCollect(client.JobGateway.Watch({ jobs: [{ job }] }))
        const end = Option.getOrThrow(Chunk.last(events))
        assert(isTransition(end) && Transition.isTerminal(end))
        for (const wait of [Duration.zero, Duration.seconds(5)]) {
          assert.isTrue(Option.isNone(yield* client.JobGateway.Snapshot({ job, from: end.cursor, wait })))
        }
        assert.deepStrictEqual(
          Chunk.toReadonlyArray(yield* Stream.runCollect(GatewayRpc.follow(client, [{ job, from: end.cursor }]))),
          []
        )
      })))

  it.effect("fail for a job that no service can know, and follow the others", () =>
    calling({}, (client) =>
      Effect.gen(function*() {
        const job = yield* submitSecret
        const malformed = [Job.ref(" ", "x"), Job.ref("m", "\ud800")]
        const jobs = [...malformed, job].map((job) => ({ job }))
        const events = Chunk.toReadonlyArray(yield* Stream.runCollect(GatewayRpc.follow(client, jobs)))
        for (const [i, job] of malformed.entries()) {
          const event = events[i]
          assert(event?._tag === "WatchFailed")
          assert.deepStrictEqual(event.job, job)
          assert.strictEqual(event.error._tag, "InvalidRequest")
        }
        assert.strictEqual(events.at(-1)?._tag, "Completed")
      })))

  it.effect("refuse to follow more than 1,000 jobs", () =>
    calling({}, (client) =>
      Effect.gen(function*() {
        const jobs = Array.from({ length: 1_001 }, (_, i) => ({ job: Job.ref("m", `x${i}`) }))
        const error = yield* Effect.flip(Stream.runDrain(GatewayRpc.follow(client, jobs)))
        assert.strictEqual(error._tag, "InvalidRequest")
        assert.include(error.message, "more than 1,000 jobs")
        // each of a thousand twice
        const thousand = [...jobs.slice(1), ...jobs.slice(1)]
        const [first] = yield* Stream.runCollect(Stream.take(GatewayRpc.follow(client, thousand), 1))
        assert.strictEqual(first?._tag, "Trouble")
      })))

  it.effect("are called again after a minute without an event, with pauses that begin anew after an event", () =>
    calling({}, (client) =>
      Effect.gen(function*() {
        const job = yield* submitSecret
        const calls: Array<number> = []
        const Watch = (payload: { readonly jobs: Arr.NonEmptyReadonlyArray<{ readonly job: Job.JobRef }> }) =>
          Stream.unwrap(Effect.map(Clock.currentTimeMillis, (now) => {
            const call = calls.push(now)
            const events = client.JobGateway.Watch(payload)
            return call < 9 ? Stream.never : call === 9 ? Stream.concat(Stream.take(events, 1), Stream.never) : events
          }))
        const follower = { ...client, JobGateway: { ...client.JobGateway, Watch } } as typeof client
        const events = Chunk.toReadonlyArray(yield* Stream.runCollect(GatewayRpc.follow(follower, [{ job }])))
        assert.strictEqual(calls.length, 10)
        for (const [i, pause] of [...[500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000], 500].entries()) {
          assert.closeTo(calls[i + 1]! - calls[i]!, 60_000 + pause, 0.2 * pause)
        }
        assert.deepStrictEqual(
          events.filter(({ _tag }) => _tag !== "Progressed").map(({ _tag }) => _tag),
          [...Array.from({ length: 8 }, () => "Disconnected"), "Queued", "Disconnected", "Claimed", "Completed"]
        )
      })))

  it.effect("are called again after a minute without an event in an uninterruptible region as well", () =>
    calling({}, (client) => {
      const follower = { JobGateway: { ...client.JobGateway, Watch: () => Stream.never } } as unknown as typeof client
      const first = Stream.runHead(GatewayRpc.follow(follower, [{ job }]))
      return Effect.gen(function*() {
        assert.strictEqual(Option.getOrThrow(yield* Effect.uninterruptible(first))._tag, "Disconnected")
        assert.strictEqual(Option.getOrThrow(yield* afterInterruption(first))._tag, "Disconnected")
      })
    }))

  it.effect("are called again after an end or an interruption by the server, but not after the last event", () =>
    calling({}, (client) =>
      Effect.gen(function*() {
        const job = yield* submitSecret
        let calls = 0
        const interrupted = Stream.fromEffect(Effect.interrupt)
        const Watch = (payload: { readonly jobs: Arr.NonEmptyReadonlyArray<{ readonly job: Job.JobRef }> }) => {
          const events = client.JobGateway.Watch(payload)
          const one = Stream.take(events, 1)
          return [one, Stream.concat(one, interrupted), Stream.concat(events, interrupted)][calls++] ?? assert.fail()
        }
        const follower = { ...client, JobGateway: { ...client.JobGateway, Watch } } as typeof client
        const events = Chunk.toReadonlyArray(yield* Stream.runCollect(GatewayRpc.follow(follower, [{ job }])))
        assert.deepStrictEqual(
          events.map((event) => event._tag === "Disconnected" ? event.reason : event._tag),
          ["Queued", "the stream ended", "Claimed", "the server interrupted the stream", "Progressed", "Completed"]
        )
      })))

  it.effect("report a job that can't be watched, and continue with the others", () =>
    calling({}, (client) =>
      Effect.gen(function*() {
        const other = yield* submitSecret
        const events = yield* Stream.runCollect(GatewayRpc.follow(client, [{ job }, { job: other }]))
        const failed = Chunk.filter(events, (event) => event._tag === "WatchFailed")
        assert.deepStrictEqual(Chunk.toReadonlyArray(failed).map(({ error, job }) => [job, error._tag]), [
          [job, "JobNotFound"]
        ])
        assert.isTrue(Chunk.some(events, (event) => isTransition(event) && Transition.isTerminal(event)))
      })))

  it.effect("check the access to each job of a watch", () =>
    calling({
      access: (_, { requestId }) =>
        requestId === job.requestId
          ? Effect.fail(new QueueError.AccessDenied({ operation: "status", model, httpStatus: 403 }))
          : Effect.void
    }, (client) =>
      Effect.gen(function*() {
        const jobs = [{ job: yield* submitSecret }, { job }]
        assert.strictEqual((yield* Effect.flip(Stream.runDrain(GatewayRpc.follow(client, jobs))))._tag, "AccessDenied")
      })))

  it.effect("send the events of several jobs as they happen, and refuse the cursor of another job's end", () =>
    calling({}, (client) =>
      Effect.gen(function*() {
        const [a, b, c] = [yield* submitSecret, yield* submitSecret, yield* submitSecret]
        const events = yield* Stream.runCollect(GatewayRpc.follow(client, [{ job: a }, { job: b }]))
        assert.deepStrictEqual(Array.from(Chunk.take(events, 2), ({ _tag }) => _tag), ["Queued", "Queued"])
        const end = Option.getOrThrow(Chunk.last(events))
        assert(isTransition(end))
        const [refused] = yield* Stream.runCollect(GatewayRpc.follow(client, [{ job: c, from: end.cursor }]))
        assert(refused?._tag === "WatchFailed")
        assert.strictEqual(refused.error._tag, "JobMismatch")
      })))

  it.effect("check the access of each call", () =>
    calling({ access: GatewayAccess.bearer([Redacted.make("right")]) }, (client) =>
      Effect.gen(function*() {
        const job = yield* submitSecret
        const watch = Stream.runCollect(GatewayRpc.follow(client, [{ job }]))
        for (const call of [watch, client.JobGateway.Snapshot({ job })]) {
          for (const headers of [{}, { authorization: "Bearer wrong" }]) {
            const error = yield* Effect.flip(RpcClient.withHeaders(call as Effect.Effect<unknown, any>, headers))
            assert.strictEqual(error._tag, "AccessDenied")
          }
          yield* RpcClient.withHeaders(call as Effect.Effect<unknown, any>, { authorization: "Bearer right" })
        }
      })))
})

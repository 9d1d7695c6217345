/**
 * The gateway on a server of Node, over sockets that break, and behind `Request` and `Response`.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { assert, describe, it } from "@effect/vitest"
import * as Chunk from "effect/Chunk"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import * as Http from "node:http"
import type * as Net from "node:net"
import { Gateway } from "../../src/gateway/index.js"
import { GatewayOutput } from "../../src/gateway/internal/output.js"
import { Job, JobQueue, JobStream, JobWatcher, Transition } from "../../src/index.js"
import { NodeGateway } from "../../src/node/index.js"
import { TestJobQueue, Worker } from "../../src/testing/index.js"
import { until } from "../fixtures/command.js"
import { closed, connect } from "../fixtures/emulator.js"
import { follow, path, readEvents } from "../fixtures/gateway.js"
import { inFrontOf, noting, quick, quickly, read, serve, submit } from "../fixtures/gatewayServer.js"
import { job as someJob } from "../fixtures/job.js"

/** The request of a client that goes while the gateway waits for news of a job. */
const abandoned = (
  output: Layer.Layer<never>,
  wants: JobWatcher.SubscribeOptions["wants"],
  pathOf: (job: Job.JobRef, from: string) => string,
  leave: (socket: Net.Socket) => void = (socket) => socket.destroy()
) =>
  Effect.gen(function*() {
    const job = yield* submit
    const { cursor } = yield* Transition.derive(Option.none(), yield* JobQueue.status(job), {
      observedAt: yield* DateTime.now
    })
    const begun = yield* Deferred.make<void>()
    const ended = yield* Deferred.make<void>()
    const socket = yield* connect(yield* serve(noting(wants, begun, ended), {}, output))
    const path = pathOf(job, Transition.formatCursor(cursor))
    socket.write(`GET /jobs${path} HTTP/1.1\r\nhost: gateway\r\n\r\n`)
    yield* Deferred.await(begun)
    assert.isFalse(yield* Deferred.isDone(ended))
    leave(socket)
    yield* Deferred.await(ended)
  }).pipe(Effect.provide(TestJobQueue.layer()))

const outputs: ReadonlyArray<readonly [name: string, output: Layer.Layer<never>]> = [
  ["as a stream of bytes", Layer.empty],
  ["with the responses of Node", NodeGateway.layer]
]

describe.each(outputs)("streams that are sent %s", (_, output) => {
  it.scopedLive("a client resumes after its connections were cut, at another gateway behind the same address", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const cuts = [0, 100, 400, 700, 1_000, 1_300, 1_600, 2_000, 2_500]
      const port = yield* inFrontOf([yield* serve(undefined, {}, output), yield* serve(undefined, {}, output)], cuts)
      let connections = 0
      const { events, last } = yield* follow(
        (headers) => {
          connections++
          return read(port, `/jobs${path("events", job)}`, headers)
        },
        Effect.sleep("10 millis")
      )
      assert.strictEqual(last.status, 204)
      assert.isAbove(connections, 5)
      const transitions = events.filter(({ id }) => id !== undefined).map(({ data }) =>
        Schema.decodeUnknownSync(Transition.Transition)(data)
      )
      yield* TestJobQueue.expectMatchesHistory(job, transitions)
      assert.strictEqual(transitions.at(-1)?._tag, "Completed")
    }).pipe(Effect.provide(TestJobQueue.layer({ workers: quick }))))

  it.scopedLive("a client that leaves a stream ends its watch at once", () =>
    abandoned(output, "changes", (job, from) => path("events", job, { from })))

  it.scopedLive("a client that half-closes its connection has left", () =>
    abandoned(output, "changes", (job, from) => path("events", job, { from }), (socket) => socket.end()))

  it.scopedLive("a client that does not wait for a snapshot ends its watch at once", () =>
    abandoned(output, "polls", (job, from) => path("status", job, { from, wait: 60 })))

  it.scopedLive("a server that stops does not wait for its clients", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const scope = yield* Scope.make()
      const port = yield* Scope.extend(serve(undefined, {}, output), scope)
      const socket = yield* connect(port)
      let text = ""
      socket.setEncoding("utf8").on("data", (part: string) => text += part)
      socket.write(`GET /jobs${path("events", job)} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n`)
      yield* until(() => text.includes("Queued"))
      yield* Scope.close(scope, Exit.void)
      yield* closed(socket)
      // a client that connects again, to another replica, continues
      assert.notInclude(text, "event: end")
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.scopedLive("a response has the headers of the middleware, and its connection can be used again", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const port = yield* serve(undefined, {}, output)
      const agent = yield* Effect.acquireRelease(
        Effect.sync(() => new Http.Agent({ keepAlive: true, maxSockets: 1 })),
        (agent) => Effect.sync(() => agent.destroy())
      )
      const sockets = new Set<Net.Socket>()
      for (let i = 0; i < 3; i++) {
        const answer = yield* read(port, `/jobs${path("events", job)}`, {}, {
          agent,
          onSocket: (socket) => sockets.add(socket)
        })
        assert.strictEqual(answer.headers["access-control-allow-origin"], "*")
        assert.strictEqual(readEvents(answer.text).at(-1)?.event, "end")
      }
      assert.strictEqual(sockets.size, 1)
    }).pipe(Effect.provide(TestJobQueue.layer({ workers: quick }))))

  it.scopedLive("a client that has read everything before the stream begins to wait does not delay it", () =>
    Effect.gen(function*() {
      const app = Effect.gen(function*() {
        const send = yield* GatewayOutput
        const bytes = yield* send(yield* HttpServerRequest.HttpServerRequest, (output) =>
          Effect.gen(function*() {
            output.write(new Uint8Array(10_000_000))
            const { room } = output
            yield* Effect.repeat(Effect.sleep("5 millis"), { until: () => output.isIdle })
            yield* Effect.timeoutOption(room, "30 seconds").pipe(
              Effect.map((room) => output.write(new TextEncoder().encode(room._tag)))
            )
          }))
        return HttpServerResponse.stream(bytes)
      })
      const { address } = Context.get(
        yield* HttpServer.serve(app).pipe(
          Layer.provide(output),
          Layer.provideMerge(NodeHttpServer.layer(Http.createServer, { host: "127.0.0.1", port: 0 })),
          Layer.build
        ),
        HttpServer.HttpServer
      )
      const { text } = yield* read(address._tag === "TcpAddress" ? address.port : assert.fail(address.path), "/")
      assert.strictEqual(text.slice(10_000_000), "Some")
    }))

  it.scopedLive("clients that never read cost a buffer of bounded size each", () =>
    Effect.gen(function*() {
      const sockets = new Set<Net.Socket>()
      const channel = "http.server.request.start"
      const onRequest = (message: unknown) => sockets.add((message as { readonly socket: Net.Socket }).socket)
      yield* Effect.acquireRelease(
        Effect.sync(() => subscribe(channel, onRequest)),
        () => Effect.sync(() => unsubscribe(channel, onRequest))
      )
      // a job that progresses as often as it is polled
      let asked = 0
      const next = Effect.map(Effect.sleep("1 millis"), () => {
        const watch: JobWatcher.Watch = { job: someJob, cursor: undefined }
        const status = Job.Running({ job: someJob, info: { progress: ++asked / 100_000 } })
        return Chunk.of<JobWatcher.Notice>({ _tag: "Sample", watch, status, at: DateTime.unsafeMake(0) })
      })
      const watcher = Layer.succeed(JobWatcher.JobWatcher, {
        subscribe: () => Effect.succeed({ add: () => Effect.succeed(true), next }),
        pollingEvents: Stream.empty
      })
      const text = "x".repeat(100_000)
      const port = yield* serve(watcher, { view: () => ({ text }) }, output)
      for (let i = 0; i < 10; i++) {
        const socket = yield* connect(port)
        socket.pause().write(`GET /jobs${path("events", someJob)} HTTP/1.1\r\nhost: gateway\r\n\r\n`)
      }
      let before = 0
      yield* until(() => {
        const isAtRest = sockets.size === 10 && asked === before
        before = asked
        return isAtRest
      })
      for (const { writableLength } of sockets) {
        assert.isAbove(writableLength, 0)
        assert.isAtMost(writableLength, 1024 * 1024)
      }
    }).pipe(Effect.provide(TestJobQueue.layer())))

  it.scopedLive("a client that reads late receives every state, of jobs whose outputs are large", () =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(submit, 20)
      const socket = yield* connect(yield* serve(undefined, {}, output))
      socket.pause()
      socket.write(`GET /jobs${path("events", jobs)} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n`)
      yield* Effect.forEach(jobs, (job) => Stream.runDrain(JobStream.statuses(job)), { concurrency: "unbounded" })
      let text = ""
      socket.setEncoding("utf8").on("data", (part: string) => text += part).resume()
      yield* closed(socket)
      assert.lengthOf(text.match(/^event: Completed$/gm) ?? [], 20)
      assert.lengthOf(text.match(/^event: end$/gm) ?? [], 1)
    }).pipe(
      Effect.provide(Layer.provideMerge(
        Layer.merge(JobWatcher.layer(), quickly),
        TestJobQueue.layer({
          workers: {
            pickup: "10 millis",
            script: Worker.always(Worker.finish("10 millis", { text: "x".repeat(200_000) }))
          }
        })
      ))
    ))
})

it.live("serves `Request` and `Response`", () =>
  Effect.gen(function*() {
    const job = yield* submit
    const queue = yield* JobQueue.JobQueue
    const { dispose, handler } = HttpApp.toWebHandlerLayer(
      Gateway.httpApp(),
      Layer.mergeAll(JobWatcher.layer(), quickly).pipe(Layer.provide(Layer.succeed(JobQueue.JobQueue, queue)))
    )
    const response = yield* Effect.promise(() => handler(new Request(`http://gateway${path("events", job)}`)))
    assert.deepStrictEqual([response.status, response.headers.get("content-type")], [200, "text/event-stream"])
    const events = readEvents(yield* Effect.promise(() => response.text()))
    assert.deepStrictEqual(events.slice(-2).map(({ event }) => event), ["Completed", "end"])
    yield* Effect.promise(dispose)
  }).pipe(Effect.provide(TestJobQueue.layer({ workers: quick }))))

/**
 * The gateway on a server of Node, over sockets that break, and behind `Request` and `Response`.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpApp from "@effect/platform/HttpApp"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import { assert, describe, it } from "@effect/vitest"
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
import * as Http from "node:http"
import * as Net from "node:net"
import { Gateway } from "../../src/gateway/index.js"
import { Cadence, type Job, JobQueue, JobStream, JobWatcher, Transition, WatchPolicy } from "../../src/index.js"
import { NodeGateway } from "../../src/node/index.js"
import { TestJobQueue, Worker } from "../../src/testing/index.js"
import { until } from "../fixtures/command.js"
import { closed, connect } from "../fixtures/emulator.js"
import { type Answer, follow, path, readEvents } from "../fixtures/gateway.js"
import { model } from "../fixtures/job.js"

const submit = Effect.orDie(JobQueue.submit({ model, payload: {} }))

const quick: Worker.Pool = {
  pickup: "50 millis",
  script: Worker.attempts(
    [Worker.progress("50 millis", 0.5), Worker.stopResponding],
    [...Worker.progressInSteps(5, "50 millis"), Worker.finish("50 millis", { answer: 42 })]
  ),
  claimTimeout: "100 millis"
}

const quickly = Layer.succeed(
  WatchPolicy.Default,
  WatchPolicy.defaultPolicy.pipe(WatchPolicy.withCadence(Cadence.fixed("20 millis")))
)

/** How streams are sent. */
type Output = Layer.Layer<never>

/** A server of the gateway, and its port. */
const serve = (
  output: Output,
  watcher: Layer.Layer<JobWatcher.JobWatcher, never, JobQueue.JobQueue> = JobWatcher.layer()
) =>
  HttpRouter.empty.pipe(
    HttpRouter.mountApp("/jobs", Gateway.httpApp({ view: "full" })),
    HttpMiddleware.cors(),
    HttpServer.serve()
  ).pipe(
    Layer.provide([watcher, output]),
    Layer.provide(quickly),
    Layer.provideMerge(NodeHttpServer.layer(Http.createServer, { host: "127.0.0.1", port: 0 })),
    Layer.build,
    Effect.map((context) => Context.get(context, HttpServer.HttpServer).address),
    Effect.map((address) => address._tag === "TcpAddress" ? address.port : assert.fail(address.path))
  )

/** Reads a response up to its end, or until the connection breaks. */
const read = (
  port: number,
  path: string,
  headers: Http.OutgoingHttpHeaders = {},
  agent: Http.Agent | false = false,
  onSocket: (socket: Net.Socket) => void = () => {}
): Effect.Effect<Answer> =>
  Effect.async((resume) => {
    const answer = { status: 200, headers: {}, text: "" } // a connection may break before there is any
    const end = () => resume(Effect.succeed(answer))
    const request = Http.get({ host: "127.0.0.1", port, path, headers, agent }, (response) => {
      answer.status = response.statusCode ?? assert.fail()
      answer.headers = response.headers
      response.setEncoding("utf8").on("data", (text) => answer.text += text).on("error", end).on("end", end)
    })
    request.on("error", end).on("socket", onSocket)
    return Effect.sync(() => request.destroy())
  })

/** A port in front of several, in turn, whose nth connection is cut off after so many bytes of the response. */
const inFrontOf = (ports: ReadonlyArray<number>, cuts: ReadonlyArray<number>) =>
  Effect.acquireRelease(
    Effect.async<Net.Server>((resume) => {
      let nth = 0
      const server = Net.createServer((client) => {
        let left = cuts[nth] ?? Infinity
        const upstream = Net.connect(ports[nth++ % ports.length] ?? assert.fail(), "127.0.0.1")
        client.on("error", () => {}).on("close", () => upstream.destroy()).pipe(upstream)
        upstream.on("error", () => {}).on("close", () => client.destroy()).on("data", (bytes) => {
          client.write(bytes.subarray(0, left))
          left -= bytes.length
          if (left <= 0) client.destroySoon()
        })
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) => Effect.sync(() => server.close())
  ).pipe(Effect.map((server) => (server.address() as Net.AddressInfo).port)) // listening on TCP

/** A watcher that reports when a subscription of a kind begins, and when it has ended. */
const noting = (
  wants: JobWatcher.SubscribeOptions["wants"],
  begun: Deferred.Deferred<void>,
  ended: Deferred.Deferred<void>
) =>
  Layer.effect(
    JobWatcher.JobWatcher,
    Effect.map(JobWatcher.JobWatcher, (watcher) => ({
      ...watcher,
      subscribe: (options) =>
        options.wants !== wants
          ? watcher.subscribe(options)
          : Effect.addFinalizer(() => Deferred.succeed(ended, undefined)).pipe(
            Effect.zipRight(watcher.subscribe(options)),
            Effect.zipLeft(Deferred.succeed(begun, undefined))
          )
    }))
  ).pipe(Layer.provide(JobWatcher.layer()))

/** The request of a client that goes while the gateway waits for news of a job. */
const abandoned = (
  output: Output,
  wants: JobWatcher.SubscribeOptions["wants"],
  pathOf: (job: Job.JobRef, from: string) => string
) =>
  Effect.gen(function*() {
    const job = yield* submit
    const { cursor } = yield* Transition.derive(Option.none(), yield* JobQueue.status(job), {
      observedAt: yield* DateTime.now
    })
    const begun = yield* Deferred.make<void>()
    const ended = yield* Deferred.make<void>()
    const socket = yield* connect(yield* serve(output, noting(wants, begun, ended)))
    const path = pathOf(job, Transition.formatCursor(cursor))
    socket.write(`GET /jobs${path} HTTP/1.1\r\nhost: gateway\r\n\r\n`)
    yield* Deferred.await(begun)
    assert.isFalse(yield* Deferred.isDone(ended))
    socket.destroy()
    yield* Deferred.await(ended)
  }).pipe(Effect.provide(TestJobQueue.layer()))

const outputs: ReadonlyArray<readonly [name: string, output: Output]> = [
  ["as a stream of bytes", Layer.empty],
  ["with the responses of Node", NodeGateway.layer]
]

describe.each(outputs)("streams that are sent %s", (_, output) => {
  it.scopedLive("a client resumes after its connections were cut, at another gateway behind the same address", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const cuts = [0, 100, 400, 700, 1_000, 1_300, 1_600, 2_000, 2_500]
      const port = yield* inFrontOf([yield* serve(output), yield* serve(output)], cuts)
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

  it.scopedLive("a client that does not wait for a snapshot ends its watch at once", () =>
    abandoned(output, "polls", (job, from) => path("status", job, { from, wait: 60 })))

  it.scopedLive("a server that stops does not wait for its clients", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const scope = yield* Scope.make()
      const port = yield* Scope.extend(serve(output), scope)
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
      const port = yield* serve(output)
      const agent = yield* Effect.acquireRelease(
        Effect.sync(() => new Http.Agent({ keepAlive: true, maxSockets: 1 })),
        (agent) => Effect.sync(() => agent.destroy())
      )
      const sockets = new Set<Net.Socket>()
      for (let i = 0; i < 3; i++) {
        const answer = yield* read(port, `/jobs${path("events", job)}`, {}, agent, (socket) => sockets.add(socket))
        assert.strictEqual(answer.headers["access-control-allow-origin"], "*")
        assert.strictEqual(readEvents(answer.text).at(-1)?.event, "end")
      }
      assert.strictEqual(sockets.size, 1)
    }).pipe(Effect.provide(TestJobQueue.layer({ workers: quick }))))

  it.scopedLive("a client that reads late receives every state, of jobs whose outputs are large", () =>
    Effect.gen(function*() {
      const jobs = yield* Effect.replicateEffect(submit, 20)
      const socket = yield* connect(yield* serve(output))
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

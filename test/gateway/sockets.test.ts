/**
 * The gateway on a server of Node, over sockets that break, and behind `Request` and `Response`.
 */
import * as HttpApp from "@effect/platform/HttpApp"
import { assert, it } from "@effect/vitest"
import * as DateTime from "effect/DateTime"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import type { Socket } from "node:net"
import { Gateway } from "../../src/gateway/index.js"
import { type Job, JobQueue, JobWatcher, Transition } from "../../src/index.js"
import { TestJobQueue } from "../../src/testing/index.js"
import { until } from "../fixtures/command.js"
import { closed, connect } from "../fixtures/emulator.js"
import { follow, path, readEvents } from "../fixtures/gateway.js"
import { inFrontOf, noting, quick, quickly, read, serve, submit } from "../fixtures/gatewayServer.js"

it.scopedLive("a client resumes after its connections were cut, at another gateway behind the same address", () =>
  Effect.gen(function*() {
    const job = yield* submit
    const cuts = [0, 100, 400, 700, 1_000, 1_300, 1_600, 2_000, 2_500]
    const port = yield* inFrontOf([yield* serve(), yield* serve()], cuts)
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

/** The request of a client that goes while the gateway waits for news of a job. */
const abandoned = (
  wants: JobWatcher.SubscribeOptions["wants"],
  pathOf: (job: Job.JobRef, from: string) => string,
  leave: (socket: Socket) => void = (socket) => socket.destroy()
) =>
  Effect.gen(function*() {
    const job = yield* submit
    const { cursor } = yield* Transition.derive(Option.none(), yield* JobQueue.status(job), {
      observedAt: yield* DateTime.now
    })
    const begun = yield* Deferred.make<void>()
    const ended = yield* Deferred.make<void>()
    const socket = yield* connect(yield* serve(noting(wants, begun, ended)))
    const path = pathOf(job, Transition.formatCursor(cursor))
    socket.write(`GET /jobs${path} HTTP/1.1\r\nhost: gateway\r\n\r\n`)
    yield* Deferred.await(begun)
    assert.isFalse(yield* Deferred.isDone(ended))
    leave(socket)
    yield* Deferred.await(ended)
  }).pipe(Effect.provide(TestJobQueue.layer()))

it.scopedLive("a client that leaves a stream ends its watch at once", () =>
  abandoned("changes", (job, from) => path("events", job, { from })))

it.scopedLive("a client that half-closes its connection has left", () =>
  abandoned("changes", (job, from) => path("events", job, { from }), (socket) => socket.end()))

it.scopedLive("a client that does not wait for a snapshot ends its watch at once", () =>
  abandoned("polls", (job, from) => path("status", job, { from, wait: 60 })))

it.scopedLive("a server that stops does not wait for its clients", () =>
  Effect.gen(function*() {
    const job = yield* submit
    const scope = yield* Scope.make()
    const port = yield* Scope.extend(serve(), scope)
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

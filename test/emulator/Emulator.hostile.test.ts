import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Http from "node:http"
import type * as Net from "node:net"
import * as Server from "../../src/emulator/internal/server.js"
import { bearer, closed, connect, emulate, get, json, refused, statusOf, submitted } from "../fixtures/emulator.js"

const model = "my-org/video-generator"

interface Answer {
  readonly status: number
  readonly body: string
  readonly text: string
}

/** The response up to the close of the connection. */
const answerOf = (socket: Net.Socket): Effect.Effect<Answer> =>
  Effect.async((resume) => {
    let text = ""
    socket.setEncoding("utf8").on("data", (data: unknown) => text += String(data))
    socket.once("close", () => {
      const [head = "", body = ""] = text.split("\r\n\r\n")
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(head)?.[1] ?? 0)
      resume(Effect.succeed({ status, body, text }))
    })
  })

/** Checks for an error response with the service's error body, and a closed connection. */
const saysNo = ({ body: written, status, text }: Answer, expected: number, code: string): void => {
  assert.strictEqual(status, expected, text)
  const body = JSON.parse(written)
  assert.deepStrictEqual(Object.keys(body).sort(), ["code", "message", "type"], text)
  assert.strictEqual(body.code, code)
  assert.strictEqual(body.type, "invalid_request_error")
  assert.isNotEmpty(body.message)
  assert.match(text, /^connection: close\r$/im)
  assert.match(text, /^content-type: application\/json\r$/im)
}

const write = (socket: Net.Socket, text: string): Effect.Effect<void> =>
  Effect.async((resume) => {
    socket.write(text, () => resume(Effect.void))
  })

/** A server with one shortened timeout, which responds to every request with its URL. */
const impatient = (with_: Partial<typeof Server.defaultPatience>): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.async<Http.Server>((resume) => {
      const server = Server.make({ patience: { ...Server.defaultPatience, ...with_ } })
      server.on("request", (request, response) => {
        const answer = () => response.end(request.url)
        request.resume().on("end", () => setTimeout(answer, request.url === "/slow" ? 1_500 : 0))
      })
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  ).pipe(Effect.map((server) => (server.address() as Net.AddressInfo).port))

describe("the emulator with misbehaving clients", () => {
  it.scopedLive("rejects invalid HTTP with an error response", () =>
    Effect.gen(function*() {
      const running = yield* emulate()
      const wrong: ReadonlyArray<readonly [text: string, status: number, code: string]> = [
        ["hello\r\n\r\n", 400, "invalid_http"],
        ["\u0016\u0003\u0001\u0002\u0000\u0001\u0000", 400, "invalid_http"],
        ["GET / HTTP/9.9\r\n\r\n", 400, "invalid_http"],
        [`GET / HTTP/1.1\r\nHost: x\r\n${"a".repeat(20_000)}: b\r\n\r\n`, 431, "headers_too_large"],
        [`GET /${"a".repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 431, "headers_too_large"],
        ["CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n", 405, "method_not_allowed"],
        [`POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\n${bearer}Content-Length: x\r\n\r\n`, 400, "invalid_http"],
        [
          `POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\n${bearer}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
          400,
          "invalid_http"
        ],
        [
          `POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\n${bearer}Expect: a miracle\r\nContent-Length: 2\r\n\r\n{}`,
          417,
          "expectation_failed"
        ]
      ]
      for (const [text, status, code] of wrong) {
        const socket = yield* connect(running.port)
        const answer = answerOf(socket)
        const [got] = yield* Effect.all([answer, write(socket, text)], { concurrency: 2 })
        saysNo(got, status, code)
      }
      assert.strictEqual(json(yield* running.ask(get("metrics", { model }))).total_jobs, 0)
    }))

  it.scopedLive("sends 100 Continue to a client that expects it", () =>
    Effect.gen(function*() {
      const running = yield* emulate()
      const body = JSON.stringify({ model, payload: {} })
      const socket = yield* connect(running.port)
      let text = ""
      socket.setEncoding("utf8").on("data", (data: unknown) => text += String(data))
      const seen = (what: string): Effect.Effect<void> =>
        Effect.suspend(() => text.includes(what) ? Effect.void : Effect.zipRight(Effect.sleep("5 millis"), seen(what)))
      const length = Buffer.byteLength(body)
      socket.write(
        `POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\n${bearer}Expect: 100-continue\r\nContent-Length: ${length}\r\n\r\n`
      )
      yield* seen("HTTP/1.1 100 Continue")
      socket.write(body)
      yield* seen("requestId")
    }))

  it.scopedLive("survives clients that request an upgrade or a tunnel, and disconnect", () =>
    Effect.gen(function*() {
      const running = yield* emulate()
      const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
      for (
        const text of [
          `GET /v1/queue/metrics?model=m HTTP/1.1\r\nHost: x\r\n${bearer}${upgrade}\r\n`,
          `GET /internal/v1/queue/retrieve?model=m&timeout=60s HTTP/1.1\r\nHost: x\r\n${bearer}${upgrade}\r\n`,
          "CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
          "garbage\r\n\r\n"
        ]
      ) {
        for (let i = 0; i < 20; i++) {
          const socket = yield* connect(running.port)
          yield* write(socket, text)
          if (i % 2 === 0) yield* running.ask(get("metrics", { model }))
          socket.resetAndDestroy()
          yield* running.ask(get("metrics", { model }))
        }
      }
      yield* submitted(running, { model })
    }))

  it.scopedLive("rejects a body that is too deeply nested, and loses no job", () =>
    Effect.gen(function*() {
      const running = yield* emulate()
      const id = yield* submitted(running, { model })
      const deep = "[".repeat(100_000) + "]".repeat(100_000)
      const bodies = [
        ["/v1/queue/submit", `{"model":"${model}","payload":{"a":${deep}}}`],
        [
          "/internal/v1/videos/status",
          `{"model":"${model}","request_id":"${id}","status":"done","payload":{"a":${deep}}}`
        ]
      ] as const
      for (const [path, body] of bodies) {
        const error = refused(yield* running.ask({ method: "POST", path, body }), 400)
        assert.strictEqual(error.message, "the body must not be nested deeper than 1000 levels")
      }
      assert.strictEqual(json(yield* running.ask(get("metrics", { model }))).total_jobs, 1)
    }))

  it.scopedLive("responds to pipelined requests in order", () =>
    Effect.gen(function*() {
      const running = yield* emulate()
      const ids = yield* Effect.forEach(Array.from({ length: 50 }), () => submitted(running, { model }))
      const socket = yield* connect(running.port)
      const last = `GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`
      const requests = ids.map((id) =>
        `GET ${get("status", { model, request_id: id }).path} HTTP/1.1\r\nHost: x\r\n${bearer}\r\n`
      )
      const [{ text }] = yield* Effect.all([answerOf(socket), write(socket, requests.join("") + last)], {
        concurrency: 2
      })
      const answered = Array.from(text.matchAll(/"request_id":"([^"]+)"/g), ([, id]) => id)
      assert.deepStrictEqual(answered, ids)
      assert.match(text, /HTTP\/1\.1 404/)
    }))

  it.scopedLive("serves other clients during a thousand silent connections and a hundred partial requests", () =>
    Effect.gen(function*() {
      const running = yield* emulate()
      yield* Effect.all(Array.from({ length: 1_000 }, () => connect(running.port)), { concurrency: 50 })
      yield* Effect.forEach(
        Array.from({ length: 100 }),
        () =>
          Effect.tap(
            connect(running.port),
            (socket) =>
              write(socket, `POST /v1/queue/submit HTTP/1.1\r\nHost: x\r\n${bearer}Content-Length: 100\r\n\r\n{"model"`)
          )
      )
      const ids = yield* Effect.all(
        Array.from({ length: 200 }, () => submitted(running, { model })),
        { concurrency: 20 }
      )
      for (const id of ids) assert.strictEqual((yield* statusOf(running, model, id)).status, "pending")
    }))

  it.scopedLive("serves a connection that is silent at first", () =>
    Effect.gen(function*() {
      const running = yield* emulate()
      const socket = yield* connect(running.port)
      yield* submitted(running, { model })
      const [{ status }] = yield* Effect.all([
        answerOf(socket),
        write(socket, "GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      ], { concurrency: 2 })
      assert.strictEqual(status, 404)
    }))

  describe("with short timeouts", () => {
    it.scopedLive("responds to slow headers with 408", () =>
      Effect.gen(function*() {
        const port = yield* impatient({ headers: Duration.millis(300) })
        const socket = yield* connect(port)
        const trickle = Effect.forever(Effect.delay(write(socket, "X-Slow: 1\r\n"), "50 millis"))
        yield* write(socket, "GET / HTTP/1.1\r\nHost: x\r\n")
        saysNo(yield* Effect.raceFirst(answerOf(socket), trickle), 408, "request_timeout")
      }))

    it.scopedLive("responds to a slow body with 408", () =>
      Effect.gen(function*() {
        const port = yield* impatient({ headers: Duration.millis(300), request: Duration.millis(300) })
        const socket = yield* connect(port)
        yield* write(socket, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        const trickle = Effect.forever(Effect.delay(write(socket, " "), "50 millis"))
        saysNo(yield* Effect.raceFirst(answerOf(socket), trickle), 408, "request_timeout")
      }))

    it.scopedLive("closes an idle connection, but not one that waits for its response", () =>
      Effect.gen(function*() {
        const port = yield* impatient({ idle: Duration.millis(200) })
        const idle = yield* connect(port)
        idle.resume()
        yield* write(idle, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n")
        yield* closed(idle)
        const waiting = yield* connect(port)
        const request = "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        const [{ body, status }] = yield* Effect.all([answerOf(waiting), write(waiting, request)], { concurrency: 2 })
        assert.strictEqual(status, 200)
        assert.include(body, "/slow")
      }))
  })

  it("has finite default timeouts", () => {
    for (const patience of Object.values(Server.defaultPatience)) {
      assert.isTrue(Duration.between(patience, { minimum: "10 seconds", maximum: "5 minutes" }))
    }
    const server = Server.make()
    assert.strictEqual(server.headersTimeout, Duration.toMillis(Server.defaultPatience.headers))
    assert.strictEqual(server.requestTimeout, Duration.toMillis(Server.defaultPatience.request))
    assert.strictEqual(server.keepAliveTimeout, Duration.toMillis(Server.defaultPatience.idle))
  })
})

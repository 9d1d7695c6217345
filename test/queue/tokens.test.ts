/**
 * The token is sent, and appears nowhere else: in no error, log or span, however they are printed, and whatever the
 * response contains.
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import { assert, describe, it } from "@effect/vitest"
import { JobStream, QueueError } from "effect-queue-status"
import * as Cause from "effect/Cause"
import * as EffectConsole from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as LogLevel from "effect/LogLevel"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as TestClock from "effect/TestClock"
import { Console } from "node:console"
import { Writable } from "node:stream"
import { inspect } from "node:util"
import { maxBodyLength } from "../../src/model/internal/limits.js"
import * as Clients from "../fixtures/clients.js"
import * as CollectingTracer from "../fixtures/collectingTracer.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { calls, document, job, operations } from "../fixtures/job.js"
import { provideQueue } from "../fixtures/watched.js"

const { answer, breakOff, reset, silence, stall } = HostileServer

const tokens = {
  "a usual token": "tgp_v1_Zq8x7Secret0123456789",
  "a token that needs escapes": `tok"en\\with+/odd=<&>'~chars`
}

// -----------------------------------------------------------------------------
// the search
// -----------------------------------------------------------------------------

const plain = (text: string) =>
  text
    .replace(/\\+u00([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)))
    .replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)))
    .replace(/&#([0-9]+);/g, (_, decimal) => String.fromCharCode(Number(decimal)))
    .replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&quot;/g, "\"").replace(/&amp;/g, "&")
    .replaceAll("\\", "")

/** The parts of a text that have `length` characters. */
const parts = (text: string, length: number): ReadonlyArray<string> =>
  Array.from({ length: Math.max(0, text.length - length + 1) }, (_, at) => text.slice(at, at + length))

/** Whether a text contains `length` successive characters of another text. */
const shares = (text: string, other: string, length: number): boolean => {
  // fast for most texts: every part of `length` characters contains one of these parts
  const stride = Math.ceil(length / 2)
  const some = parts(other, length - stride + 1).filter((_, at) => at % stride === 0)
  return some.some((part) => text.includes(part)) && parts(other, length).some((part) => text.includes(part))
}

const base64s = (token: string): ReadonlyArray<string> =>
  ["", "x", "xy"].flatMap((before) => {
    const bytes = Buffer.from(before + token)
    return [bytes.toString("base64"), bytes.toString("base64url")].map((text) => text.slice(4, -4))
  })

/**
 * Whether a text contains the token, or eight characters of it: unchanged, in the escapes of JSON, of `inspect`, of
 * URLs and of HTML, escaped any number of times, in base64 or in hex.
 */
const reveals = (text: string, token: string): boolean => {
  const decoded = plain(text)
  return shares(text, token, 8) ||
    shares(decoded, token, 8) ||
    shares(decoded, plain(token), 8) ||
    base64s(token).some((form) => shares(decoded, form, 13)) ||
    shares(decoded.toLowerCase(), Buffer.from(token).toString("hex"), 16)
}

const inspected = (value: unknown): string =>
  inspect(value, {
    depth: null,
    showHidden: true,
    showProxy: true,
    getters: true,
    maxStringLength: null,
    maxArrayLength: null
  })

/** All texts that a call makes visible, each with its source. */
const look = <A, E>(
  call: Effect.Effect<A, E>
): Effect.Effect<
  { readonly exit: Exit.Exit<A, E>; readonly seen: ReadonlyArray<readonly [how: string, text: string]> }
> =>
  Effect.gen(function*() {
    const seen: Array<readonly [string, string]> = []
    const sink = (how: string) => {
      const stream = new Writable({
        write(chunk, _encoding, done) {
          seen.push([how, String(chunk)])
          done()
        }
      })
      return new Console(stream, stream)
    }
    const keep = <Output>(how: string, logger: Logger.Logger<unknown, Output>, show: (output: Output) => string) =>
      Logger.add(Logger.map(logger, (output) => {
        seen.push([how, show(output)])
      }))
    const loggers = Layer.mergeAll(
      Logger.remove(Logger.defaultLogger),
      keep("Logger.stringLogger", Logger.stringLogger, String),
      keep("Logger.logfmtLogger", Logger.logfmtLogger, String),
      keep("Logger.jsonLogger", Logger.jsonLogger, String),
      keep("Logger.structuredLogger", Logger.structuredLogger, (output) =>
        `${inspected(output)}${JSON.stringify(output)}`),
      Logger.add(Logger.prettyLogger({ mode: "tty", colors: false })),
      Logger.add(Logger.prettyLogger({ mode: "browser" }))
    )
    const { spans, tracer } = CollectingTracer.make()
    const console = yield* EffectConsole.consoleWith(Effect.succeed)
    const exit = yield* call.pipe(
      Effect.tapErrorCause((cause) =>
        Effect.all([
          Effect.logError(cause),
          Effect.logError("the call failed", cause),
          Effect.logError(Cause.squash(cause)),
          Effect.annotateLogs(Effect.logError("the call failed"), { error: Cause.squash(cause) })
        ])
      ),
      Effect.exit,
      Effect.withSpan("app"),
      Effect.withTracer(tracer),
      Effect.provide(loggers),
      Logger.withMinimumLogLevel(LogLevel.All),
      EffectConsole.withConsole({ ...console, unsafe: sink("a pretty logger") })
    )
    seen.push(["the spans", inspected(spans)])
    seen.push(["the spans as JSON", JSON.stringify(spans.map((span) => [...span.attributes, span.events, span.exit]))])
    if (Exit.isFailure(exit)) {
      const { cause } = exit
      const error = Cause.squash(cause)
      assert(error instanceof Error)
      seen.push(
        ["inspect", inspected(error)],
        ["inspect of the exit", inspected(exit)],
        ["inspect of the cause", inspected(cause)],
        ["JSON.stringify", JSON.stringify(error)],
        ["JSON.stringify of the exit", JSON.stringify(exit)],
        ["String", String(error)],
        ["message", error.message],
        ["stack", error.stack ?? ""],
        ["cause", inspected(error.cause)],
        ["Cause.pretty", Cause.pretty(cause, { renderErrorCause: true })],
        ["Cause.prettyErrors", inspected(Cause.prettyErrors(cause))]
      )
      sink("console.log").log("failed:", error, { error }, [exit])
      sink("console.error").error(cause)
    }
    return { exit, seen }
  })

const revealed = (seen: ReadonlyArray<readonly [string, string]>, token: string) =>
  seen.filter(([, text]) => reveals(text, token)).map(([how, text]) => {
    const at = Math.max(0, text.indexOf(token.slice(0, 4)) - 100)
    return `${how}: ${text.slice(at, at + 300)}`
  })

// -----------------------------------------------------------------------------
// responses that contain the token
// -----------------------------------------------------------------------------

const html = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\"", "&quot;")

const escapes = (text: string, upper = false): string =>
  Array.from(text, (char) => {
    const hex = char.charCodeAt(0).toString(16).padStart(4, "0")
    return `\\u${upper ? hex.toUpperCase() : hex}`
  }).join("")

interface Scenario {
  readonly name: string
  /** Receives the text to repeat. */
  readonly handler: (token: string) => HostileServer.Handler
  readonly operation?: QueueError.Operation
  /** The error keeps the text around the repeated token, so the token must be removed from it. */
  readonly kept?: boolean
  /** The response never ends. */
  readonly stalls?: boolean
}

const echoes: ReadonlyArray<readonly [how: string, body: (token: string) => string]> = [
  ["message", (token) => JSON.stringify({ message: `Incorrect API key provided: ${token}.` })],
  ["each field", (token) => JSON.stringify({ code: token, type: token, param: token, message: token })],
  ["a wrapped error", (token) => JSON.stringify({ error: { message: `bad key "${token}"`, code: `k:${token}:k` } })],
  ["an error that is a text", (token) => JSON.stringify({ error: `Bearer ${token}` })],
  ["escapes", (token) => `{"message":"bad key ${escapes(token)}"}`],
  ["escapes in capitals", (token) => `{"message":"bad key ${escapes(token, true)}"}`],
  [
    "some escapes",
    (token) =>
      `{"message":"bad key ${escapes(token.slice(0, 1))}${
        JSON.stringify(token.slice(1)).slice(1, -1).replaceAll("/", "\\/").replaceAll("+", "\\u002B")
      }"}`
  ],
  ["JSON in JSON", (token) => JSON.stringify({ message: JSON.stringify({ authorization: `Bearer ${token}` }) })],
  ["HTML", (token) => `<html><body><h1>403</h1><p>token=${token}</p><!-- ${token} --></body></html>`],
  ["HTML, twice, far behind", (token) => `<html>${"<p>x</p>".repeat(2_000)}${token}${token}</html>`],
  ["plain text", (token) => `no: authorization: Bearer ${token}\r\n`],
  ["a key", (token) => JSON.stringify({ [token]: token, message: "no" })],
  ["a URL", (token) => `no: /login?key=${encodeURIComponent(token)}&again=${escapes(token).replaceAll("\\u00", "%")}`],
  ["an HTML attribute", (token) => JSON.stringify({ message: `key ${html(token)}` })],
  [
    "HTML, each character as a number",
    (token) => `key ${Array.from(token, (char) => `&#${char.charCodeAt(0)};`).join("")}`
  ],
  ["base64", (token) => JSON.stringify({ message: `Basic ${Buffer.from(`x:${token}`).toString("base64")}` })],
  ["base64 of the header", (token) => JSON.stringify({ message: Buffer.from(`Bearer ${token}`).toString("base64") })],
  ["base64url", (token) => JSON.stringify({ message: Buffer.from(token).toString("base64url") })],
  ["hex", (token) => JSON.stringify({ message: Buffer.from(token).toString("hex") })],
  ["hex in capitals", (token) => JSON.stringify({ message: Buffer.from(token).toString("hex").toUpperCase() })],
  ["where the read part of the body ends", (token) => `${" ".repeat(64 * 1024 - 24)}${token}`],
  ["where the kept part of the body ends", (token) => `${" ".repeat(maxBodyLength - 10)}${token}`]
]

const scenarios: ReadonlyArray<Scenario> = [
  ...[400, 401, 403, 404, 409, 413, 418, 422, 429, 500, 501, 502, 503].map((status): Scenario => ({
    name: `${status} that repeats it in its message`,
    handler: (token) => answer(status, { message: `the key was ${token}` }),
    kept: true
  })),
  // the two errors that keep different fields
  ...[401, 418].flatMap((status) =>
    echoes.map(([how, body]): Scenario => ({
      name: `${status} that repeats it in ${how}`,
      handler: (token) => answer(status, body(token)),
      kept: status === 418 ? !/^HTML, twice/.test(how) : !/^(a key|HTML, twice|where the kept)/.test(how)
    }))
  ),
  ...echoes.map(([how, body]): Scenario => ({
    name: `200 that repeats it in ${how}`,
    handler: (token) => answer(200, body(token)),
    kept: !/^(HTML, twice|where the read)/.test(how)
  })),
  ...operations.map((operation): Scenario => ({
    name: `200 of ${operation} that repeats it instead of an answer`,
    handler: (token) => answer(200, { error: { message: token } }),
    operation,
    kept: true
  })),
  {
    name: "200 with it where a number belongs",
    handler: (token) => answer(200, { ...document, retries: `Bearer ${token}`, created_at: token, priority: [token] }),
    kept: true
  },
  {
    name: "409 of cancel with it and no status",
    handler: (token) => answer(409, { message: token }),
    operation: "cancel",
    kept: true
  },
  {
    name: "409 of cancel with it where the status belongs",
    handler: (token) => answer(409, { status: { is: token } }),
    operation: "cancel",
    kept: true
  },
  {
    name: "x-request-id that repeats it",
    handler: (token) => answer(500, "", { "x-request-id": `req ${token} req` }),
    kept: true
  },
  {
    name: "200 with an x-request-id that repeats it, and no sense",
    handler: (token) => answer(200, "", { "x-request-id": token })
  },
  {
    name: "other headers that repeat it",
    handler: (token) =>
      answer(429, "", {
        "authorization": `Bearer ${token}`,
        "retry-after": token,
        "retry-after-ms": token,
        "set-cookie": [`token=${token}; Path=/`, token],
        "www-authenticate": `Bearer error="invalid_token", token="${token}"`,
        "x-debug": token
      })
  },
  {
    name: "a redirect that repeats it",
    handler: (token) => answer(300, "", { location: `/login?token=${encodeURIComponent(token)}&raw=${token}` })
  },
  {
    name: "a reason phrase that repeats it",
    handler: (token) => (response) => response.writeHead(500, `Bad ${token}`).end()
  },
  {
    name: "an answer that is no HTTP and repeats it",
    handler: (token) => (response) => response.socket?.end(`${token}\r\nauthorization: Bearer ${token}\r\n\r\n`)
  },
  {
    name: "a header that is no header and repeats it",
    handler: (token) => (response) =>
      response.socket?.end(`HTTP/1.1 200 OK\r\n${token}\u0000: ${token}\r\n\r\n${token}`)
  },
  {
    name: "a refusal that breaks off within it",
    handler: (token) => breakOff(500, `the key ${token.slice(0, -3)}`),
    kept: true
  },
  { name: "a refusal that breaks off after it", handler: (token) => breakOff(500, `the key ${token}`), kept: true },
  { name: "an answer that breaks off after it", handler: (token) => breakOff(200, `{"message":"${token}`) },
  { name: "a reset after it", handler: (token) => reset(`{"message":"${token}`) },
  { name: "a reset", handler: () => reset() },
  { name: "silence", handler: () => silence, stalls: true },
  { name: "a body that stalls after it", handler: (token) => stall(200, `{"message":"${token}`), stalls: true },
  { name: "a refusal that stalls after it", handler: (token) => stall(500, `{"message":"${token}`), stalls: true }
]

const connect = (baseUrl: string, token: string) => Clients.make({ apiKey: Redacted.make(token), baseUrl })

// The errors of a client do not depend on the token, and the removal of the token does not depend on the client: one
// token for each client is enough.
const clients = [
  ["undici", Clients.overUndici, "a usual token"],
  ["fetch", Clients.overFetch, "a token that needs escapes"],
  ["the transport for Node", Clients.onNode, "a token that needs escapes"]
] as const

for (const [client, layer, kind] of clients) {
  const token = tokens[kind]
  describe(`${kind}, over ${client}, is not shown by`, () => {
    for (const { handler, kept, name, operation, stalls } of scenarios) {
      it.scoped(name, () =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(handler(token))
          const queue = yield* connect(server.url, token)
          const fiber = yield* Effect.fork(look(calls[operation ?? "status"](queue)))
          yield* server.until("the request is there", () => server.requests.length === 1)
          if (stalls) yield* TestClock.adjust("30 seconds")
          const { exit, seen } = yield* Fiber.join(fiber)
          assert.strictEqual(server.requests[0]?.headers.authorization, `Bearer ${token}`)
          assert(Exit.isFailure(exit) && Cause.isFailType(exit.cause), inspect(exit))
          assert(QueueError.isQueueError(exit.cause.error))
          assert.deepStrictEqual(revealed(seen, token), [])
          const encoded = JSON.stringify(yield* Schema.encode(QueueError.QueueError)(exit.cause.error))
          assert.isFalse(reveals(encoded, token), encoded)
          // otherwise the response repeats nothing, and this test proves nothing
          if (kept) assert.include(encoded, "<redacted>")
        }).pipe(Effect.provide(layer)))
    }

    it.scopedLive("a port without a listener", () =>
      Effect.gen(function*() {
        const port = yield* HostileServer.closedPort
        const queue = yield* connect(`http://127.0.0.1:${port}`, token)
        const { exit, seen } = yield* look(queue.status(job))
        assert(Exit.isFailure(exit))
        assert.deepStrictEqual(revealed(seen, token), [])
      }).pipe(Effect.provide(layer)))

    it.scopedLive("a call that succeeds, in its spans and logs", () =>
      Effect.gen(function*() {
        const server = yield* HostileServer.make(
          answer(200, document, { "x-request-id": token, "authorization": `Bearer ${token}` })
        )
        const queue = yield* connect(server.url, token)
        const { exit, seen } = yield* look(queue.status(job))
        assert(Exit.isSuccess(exit))
        assert.include(seen.map(([, text]) => text).join(), "JobQueue.status")
        assert.deepStrictEqual(revealed(seen, token), [])
      }).pipe(Effect.provide(layer)))

    it.scopedLive("a call that is interrupted, in its spans and logs", () =>
      Effect.gen(function*() {
        const server = yield* HostileServer.make(silence)
        const queue = yield* connect(server.url, token)
        const arrived = server.until("the request is there", () => server.requests.length === 1)
        const { seen } = yield* look(Effect.raceFirst(queue.status(job), arrived))
        assert.include(seen.map(([, text]) => text).join(), "JobQueue.status")
        assert.deepStrictEqual(revealed(seen, token), [])
      }).pipe(Effect.provide(layer)))

    it.scopedLive("a watch that ends with its last snapshot and a previous error", () =>
      Effect.gen(function*() {
        const refuses = (status: number) => answer(status, { message: `the key was ${token}` })
        const answers = [answer(200, document), refuses(503), refuses(401)]
        const server = yield* HostileServer.make((...call) => answers[call[2]]?.(...call))
        const queue = yield* connect(server.url, token)
        const pace = { cadence: Schedule.spaced("50 millis"), retry: Schedule.recurs(1) }
        const { exit, seen } = yield* look(
          provideQueue(queue)(JobStream.result(job, pace))
        )
        assert(Exit.isFailure(exit) && Cause.isFailType(exit.cause), inspect(exit))
        const { error } = exit.cause
        assert(error._tag === "AccessDenied")
        assert.strictEqual(error.lastSeen?.status._tag, "Running")
        assert.include(error.previousError, "<redacted>")
        assert.deepStrictEqual(revealed(seen, token), [])
        const encoded = JSON.stringify(yield* Schema.encode(QueueError.QueueError)(error))
        assert.isFalse(reveals(encoded, token), encoded)
      }).pipe(Effect.provide(layer)))

    it.scopedLive("requests that are not sent", () =>
      Effect.gen(function*() {
        const queue = yield* connect("http://127.0.0.1:1", token)
        for (
          const input of [
            { model: "", payload: {} },
            { model: "m", payload: { a: 1n } },
            { model: "m", payload: {}, priority: 0.5 }
          ]
        ) {
          const { exit, seen } = yield* look(queue.submit(input))
          assert(Exit.isFailure(exit))
          assert.deepStrictEqual(revealed(seen, token), [])
        }
      }).pipe(Effect.provide(layer)))

    it.scopedLive("the service itself", () =>
      Effect.gen(function*() {
        const queue = yield* connect("http://127.0.0.1:1", token)
        assert.isFalse(reveals(inspected(queue), token))
        assert.isFalse(reveals(inspected(queue.status(job)), token))
      }).pipe(Effect.provide(layer)))
  })
}

describe("the search", () => {
  for (const [kind, token] of Object.entries(tokens)) {
    it(`finds ${kind} in every spelling`, () => {
      for (const [how, body] of echoes) {
        assert.isTrue(reveals(body(token).slice(0, 64 * 1024), token), how)
        assert.isTrue(reveals(inspected({ body: body(token) }), token), how)
        assert.isTrue(reveals(JSON.stringify({ body: body(token) }), token), how)
      }
      assert.isFalse(reveals(inspected({ token: token.slice(0, 7), end: token.slice(-7) }), token))
    })

    it.scopedLive(`finds ${kind} in the errors and spans of the platform's own client`, () =>
      Effect.gen(function*() {
        const port = yield* HostileServer.closedPort
        const client = yield* HttpClient.HttpClient
        const request = HttpClientRequest.get(`http://127.0.0.1:${port}/`).pipe(
          HttpClientRequest.bearerToken(Redacted.make(token))
        )
        const { seen } = yield* look(client.execute(request))
        const how = revealed(seen, token).join("\n")
        for (const way of ["the spans", "inspect", "JSON.stringify", "console.log"]) assert.include(how, `${way}: `)
      }).pipe(Effect.provide(FetchHttpClient.layer)))
  }
})

describe("a token of a few letters", () => {
  it.scopedLive("is not treated as a secret, and does not corrupt messages", () =>
    Effect.gen(function*() {
      const server = yield* HostileServer.make(answer(404, { message: "no such job, says the devil" }))
      const queue = yield* connect(server.url, "dev")
      const failed = yield* Effect.flip(queue.status(job))
      assert.strictEqual((failed as QueueError.JobNotFound).detail, "no such job, says the devil")
    }).pipe(Effect.provide(Clients.overFetch)))
})

import { afterEach, assert, beforeEach, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { build } from "esbuild"
import { getEventListeners } from "node:events"
import { fileURLToPath } from "node:url"
import { inspect } from "node:util"
import { gzipSync } from "node:zlib"
import { vi } from "vitest"
import { type ErrorTag, type Options, watch, type WatchEvent } from "../../src/browser/index.js"
import { Job, Transition } from "../../src/index.js"
import { TestJobQueue } from "../../src/testing/index.js"
import { inFrontOf, quick, serve, submit } from "../fixtures/gatewayServer.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { job, model } from "../fixtures/job.js"

const { answer } = HostileServer

/** The events of a watch up to its end, and the error that it throws. */
const collect = (
  options: Options
): Effect.Effect<{ readonly events: ReadonlyArray<WatchEvent>; readonly error: any }> =>
  Effect.promise(async () => {
    const events: Array<WatchEvent> = []
    try {
      for await (const event of watch(options)) events.push(event)
      return { events, error: undefined }
    } catch (error) {
      return { events, error }
    }
  })

const isTransition = (event: WatchEvent) => "cursor" in event

const name = Job.format(job)

it.scopedLive("jobs are followed across cut connections to several gateways, without gaps or repeats", () =>
  Effect.gen(function*() {
    const jobs = [yield* submit, yield* submit]
    const gateways = [yield* serve(), yield* serve()]
    for (const watched of [jobs.slice(0, 1), jobs]) {
      const port = yield* inFrontOf(gateways, [400, 700, 1_000, 1_300, 1_600, 2_000, 2_500])
      const url = `http://127.0.0.1:${port}/jobs/`
      const { error, events } = yield* collect({ url, job: watched.map(Job.format) })
      assert.isUndefined(error)
      assert.isAbove(events.filter(({ _tag }) => _tag === "Disconnected").length, 4)
      const transitions = events.filter(isTransition).map((event) =>
        Schema.decodeUnknownSync(Transition.Transition)(event)
      )
      for (const job of watched) {
        const own = transitions.filter((transition) => transition.job.requestId === job.requestId)
        yield* TestJobQueue.expectMatchesHistory(job, own)
        assert.strictEqual(own.at(-1)?._tag, "Completed")
      }
      // the id of any transition continues after it
      const half = events.filter(isTransition).at(3) ?? assert.fail()
      const rest = yield* collect({ url, job: watched.map(Job.format), from: half.id })
      const continued = rest.events.filter(isTransition)
      assert.isAbove(continued.length, 0)
      const before = new Set(events.filter(isTransition).slice(0, 4).map(({ cursor }) => cursor))
      for (const { cursor } of continued) assert.isFalse(before.has(cursor))
    }
  }).pipe(Effect.provide(TestJobQueue.layer({ workers: quick }))))

/** An event stream that shortens the reconnection time of its client. */
const streaming = (text: string): HostileServer.Handler => (response) => {
  response.writeHead(200, { "content-type": "text/event-stream", "connection": "close" })
  response.end(`retry: 1\n\n${text}`)
}

const event = (name: string, data: unknown, id?: string) =>
  `${id === undefined ? "" : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`

const error = (tag: string) => ({ _tag: tag, message: `the message of ${tag}` })

/** Follows a job at a server with these responses, in order. */
const following = (
  handlers: ReadonlyArray<HostileServer.Handler>,
  options: Partial<Options> = {}
) =>
  Effect.gen(function*() {
    const server = yield* HostileServer.make((response, request, index) =>
      (handlers[index] ?? assert.fail("another request"))(response, request, index)
    )
    return { ...(yield* collect({ url: `${server.url}/jobs`, job: name, ...options })), server }
  })

const end = streaming(event("end", { _tag: "End" }))

describe("errors", () => {
  it.scopedLive("of the gateway are thrown, with their tags", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [HostileServer.Handler, ErrorTag, httpStatus?: number]> = [
        [answer(404, error("JobNotFound")), "JobNotFound", 404],
        [answer(401, error("AccessDenied")), "AccessDenied", 401],
        [answer(503, error("RateLimited")), "RateLimited", 503],
        [streaming(event("watch-failed", { _tag: "WatchFailed", error: error("Stalled") })), "Stalled"],
        // another service at this URL
        [answer(404, "<h1>Not Found</h1>"), "UnexpectedResponse", 404],
        [answer(404, "null"), "UnexpectedResponse", 404],
        [answer(404, { _tag: "JobNotFound" }), "UnexpectedResponse", 404],
        [answer(200, "<h1>Welcome</h1>"), "UnexpectedResponse", 200]
      ]
      for (const [handler, tag, httpStatus] of cases) {
        const { error, server } = yield* following([handler], { job: [name, name] })
        assert.deepInclude(error, { name: "WatchError", _tag: tag, httpStatus })
        assert.include(error.message, tag === "UnexpectedResponse" ? `HTTP ${httpStatus}` : `the message of ${tag}`)
        assert.strictEqual(error.details?._tag, tag === "UnexpectedResponse" ? undefined : tag)
        assert.strictEqual(server.requests.length, 1)
      }
    }))

  it.scopedLive("of one of several jobs are emitted as events", () =>
    Effect.gen(function*() {
      const failed = { _tag: "WatchFailed", job: { ...job }, error: error("JobNotFound") }
      const text = event("watch-failed", failed) + event("end", { _tag: "End" })
      const { error: thrown, events } = yield* following([streaming(text)], { job: [name, `${model}/2`] })
      assert.isUndefined(thrown)
      assert.deepStrictEqual<unknown>(events, [{ _tag: "Connected" }, failed])
    }))

  it.scopedLive("that are transient cause a retry, after the server's Retry-After", () =>
    Effect.gen(function*() {
      const busy: HostileServer.Handler = (response) =>
        response.writeHead(503, { "retry-after": "1" }).end(JSON.stringify(error("TooManyConnections")))
      const { events, server, ...outcome } = yield* following([
        streaming(event("Queued", { _tag: "Queued", cursor: "a" }, "a") + event("Trouble", { _tag: "Trouble" })),
        (response) => response.destroy(),
        answer(502, "<h1>Bad Gateway</h1>"),
        answer(500, error("InternalError")),
        busy,
        end
      ], { from: "before" })
      assert.isUndefined(outcome.error)
      assert.deepStrictEqual(events.map(({ _tag }) => _tag), [
        ...["Connected", "Queued", "Trouble", "Disconnected", "Disconnected", "Disconnected", "Disconnected"],
        ...["Disconnected", "Connected"]
      ])
      assert.deepStrictEqual<unknown>(events.slice(1, 3), [{ _tag: "Queued", cursor: "a", id: "a" }, {
        _tag: "Trouble"
      }])
      const reasons = events.flatMap((event) => event._tag === "Disconnected" ? [event.reason] : [])
      assert.deepStrictEqual([reasons[0], ...reasons.slice(2)], [
        "the stream ended",
        "HTTP 502",
        "HTTP 500",
        "HTTP 503"
      ])
      const pauses = events.flatMap((event) => event._tag === "Disconnected" ? [event.retryIn] : [])
      assert.strictEqual(pauses[4], 1_000)
      for (const pause of pauses.slice(0, 4)) assert.isBelow(pause, 10)
      assert.deepStrictEqual(server.requests.map(({ headers }) => headers["last-event-id"]), [
        ...["before", "a", "a", "a", "a", "a"]
      ])
    }))
})

it.scopedLive("a response of a proxy that asks to try again is no error, and its Retry-After is for the next try alone", () =>
  Effect.gen(function*() {
    const statuses = [408, 429, 500, 425]
    const { events, ...outcome } = yield* following([
      streaming(""),
      ...statuses.map((status) => answer(status, "", status === 425 ? { "retry-after": "1" } : {})),
      (response) => response.destroy(),
      end
    ])
    assert.isUndefined(outcome.error)
    const tries = events.flatMap((event) => event._tag === "Disconnected" ? [event] : [])
    assert.deepStrictEqual(tries.slice(1, 5).map(({ reason }) => reason), statuses.map((status) => `HTTP ${status}`))
    assert.deepStrictEqual(tries.map(({ retryIn }) => retryIn >= 1_000), [false, false, false, false, true, false])
  }))

it.scopedLive("a response without content is the end: there is nothing after the id", () =>
  Effect.gen(function*() {
    const { error, events } = yield* following([answer(204)], { from: "the end" })
    assert.deepStrictEqual([error, events], [undefined, []])
  }))

it.scopedLive("a break within an error response is no error of the gateway", () =>
  Effect.gen(function*() {
    const cut: HostileServer.Handler = (response) => {
      const body = JSON.stringify(error("JobNotFound"))
      response.writeHead(404, { "content-length": body.length }).write(body.slice(0, 10), () => response.destroy())
    }
    const { events, ...outcome } = yield* following([streaming(""), cut, end])
    assert.isUndefined(outcome.error)
    assert.deepStrictEqual(events.map(({ _tag }) => _tag), [
      ...["Connected", "Disconnected", "Disconnected", "Connected"]
    ])
  }))

it.scopedLive("a token is sent in a header, and requested again for each connection", () =>
  Effect.gen(function*() {
    let nth = 0
    const { server } = yield* following([streaming(""), end], { token: () => Promise.resolve(`token-${++nth}`) })
    assert.deepStrictEqual(server.requests.map(({ headers, url }) => [headers.authorization, url.includes("token")]), [
      ["Bearer token-1", false],
      ["Bearer token-2", false]
    ])
    for (const { headers } of server.requests) {
      assert.deepInclude(headers, { "accept": "text/event-stream", "cache-control": "no-cache" })
    }
  }))

it.scopedLive("a token or an id that can't be in a header is refused, before a request, and not shown", () =>
  Effect.gen(function*() {
    for (const text of ["a secret\nof two lines", "a secret\0", "a secret \u20ac"]) {
      for (const options of [{ from: text }, { token: text }, { token: () => Promise.resolve(text) }]) {
        const { error, events, server } = yield* following([], { ...options, signal: AbortSignal.timeout(10_000) })
        assert.instanceOf(error, TypeError)
        assert.notInclude(inspect(error), "a secret")
        assert.deepStrictEqual([events, server.requests], [[], []])
      }
    }
  }))

it.scopedLive("a token that can't be had is requested again", () =>
  Effect.gen(function*() {
    const tokens = [() => "token", () => assert.fail("no token yet"), () => Promise.reject("nor now"), () => "token"]
    const { events } = yield* following([streaming(""), end], { token: () => tokens.shift()!() })
    assert.deepStrictEqual(events.map((event) => event._tag === "Disconnected" ? event.reason : event._tag), [
      ...["Connected", "the stream ended", "no token yet", "nor now", "Connected"]
    ])
  }))

it.scopedLive("a connection may be silent for longer than a timer can run, or for ever", () =>
  Effect.gen(function*() {
    const late: HostileServer.Handler = (response) => {
      response.writeHead(200, { "content-type": "text/event-stream", "connection": "close" }).write("retry: 1\n\n")
      setTimeout(() => response.end(event("end", {})), 100)
    }
    for (const maxSilence of [2 ** 31, Infinity]) {
      const { events } = yield* following([late, late, late], { maxSilence })
      assert.deepStrictEqual(events.map(({ _tag }) => _tag), ["Connected"], `${maxSilence}`)
    }
  }))

it.scopedLive("a duration that is none is refused, before a request", () =>
  Effect.gen(function*() {
    for (const maxSilence of [NaN, 0, -1]) {
      const { error, server } = yield* following([], { maxSilence })
      assert.instanceOf(error, RangeError)
      assert.include(String(error), `maxSilence is ${maxSilence}`)
      assert.strictEqual(server.requests.length, 0)
    }
  }))

it.live("a URL that is none is refused, and not tried again and again", () =>
  Effect.gen(function*() {
    // here there is no page that a path could be relative to
    for (const url of ["/jobs", "https://user:password@gateway.example"]) {
      const { error, events } = yield* collect({ url, job: name, signal: AbortSignal.timeout(1_000) })
      assert.instanceOf(error, TypeError)
      assert.deepStrictEqual(events, [])
    }
  }))

it.scopedLive("a consumer that aborts or stops closes the connection", () =>
  Effect.gen(function*() {
    const server = yield* HostileServer.make((response) => {
      response.writeHead(200, { "content-type": "text/event-stream" })
      response.write(`retry: 60000\n\n${event("Queued", { _tag: "Queued", cursor: "a" }, "a")}`)
    })
    const options = { url: server.url, job: name }
    yield* Effect.promise(async () => {
      for await (const { _tag } of watch(options)) if (_tag === "Queued") break
    })
    yield* server.until("the connection is closed", () => server.open.size === 0)
    // while the consumer waits for an event
    const controller = new AbortController()
    const reason = new Error("the user has left")
    const waiting = yield* Effect.fork(collect({ ...options, signal: controller.signal }))
    yield* server.until("the second request is there", () => server.requests.length === 2)
    controller.abort(reason)
    assert.strictEqual((yield* waiting).error, reason)
    yield* server.until("its connection is closed", () => server.open.size === 0)
    // while the client waits to reconnect
    const pausing = new AbortController()
    const url = `http://127.0.0.1:${yield* HostileServer.closedPort}`
    const { error } = yield* Effect.promise(async () => {
      try {
        for await (const { _tag } of watch({ url, job: name, signal: pausing.signal })) {
          if (_tag === "Disconnected") setImmediate(() => pausing.abort(reason))
        }
        return { error: undefined }
      } catch (error) {
        return { error }
      }
    })
    assert.strictEqual(error, reason)
    assert.strictEqual((yield* collect({ ...options, signal: AbortSignal.abort(reason) })).error, reason)
    assert.strictEqual(server.requests.length, 2)
  }))

it.live("an abort ends the watch at once while a token is awaited, and without one if there is none yet", () =>
  Effect.gen(function*() {
    const reason = new Error("the user has left")
    const controller = new AbortController()
    let tokens = 0
    const token = () => {
      tokens++
      setImmediate(() => controller.abort(reason))
      return new Promise<string>(() => {})
    }
    const options = { url: "http://127.0.0.1:1", job: name, token, signal: controller.signal }
    assert.deepStrictEqual(yield* collect(options), { events: [], error: reason })
    assert.deepStrictEqual(yield* collect(options), { events: [], error: reason })
    assert.strictEqual(tokens, 1)
  }))

it.live("many watches may share a signal, without a warning of Node", () =>
  Effect.promise(async () => {
    const warnings: Array<Error> = []
    const onWarning = (warning: Error) => warnings.push(warning)
    process.on("warning", onWarning)
    const controller = new AbortController()
    const { signal } = controller
    const watches = Array.from({ length: 11 }, () => watch({ url: "http://127.0.0.1:1/jobs", job: name, signal }))
    for (const events of watches) assert.strictEqual((await events.next()).value?._tag, "Disconnected")
    const ends = watches.map((events) => events.next())
    await new Promise((resolve) => setTimeout(resolve, 50))
    controller.abort()
    for (const { status } of await Promise.allSettled(ends)) assert.strictEqual(status, "rejected")
    process.off("warning", onWarning)
    assert.deepStrictEqual(warnings, [])
  }))

it.scopedLive("no event comes after an abort, also if it was received before", () =>
  Effect.gen(function*() {
    const queued = ["a", "b"].map((id) => event("Queued", { _tag: "Queued", cursor: id }, id)).join("")
    const server = yield* HostileServer.make(streaming(queued + event("end", {})))
    const reason = new Error("the user has left")
    for (const last of ["Connected", "Queued"]) {
      const controller = new AbortController()
      const seen: Array<string> = []
      const error = yield* Effect.promise(async () => {
        try {
          for await (const { _tag } of watch({ url: server.url, job: name, signal: controller.signal })) {
            seen.push(_tag)
            if (_tag === last) controller.abort(reason)
          }
        } catch (error) {
          return error
        }
      })
      assert.strictEqual(error, reason)
      assert.strictEqual(seen.at(-1), last)
    }
  }))

describe("with the timers of a test", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })
  })

  afterEach(() => {
    vi.useRealTimers()
    vi.restoreAllMocks()
    vi.unstubAllGlobals()
  })

  /** Responds to requests in order: with the beginning of a body, or not at all. Returns the signals of the requests. */
  const respond = (...beginnings: ReadonlyArray<readonly [status: number, text: string] | undefined>) => {
    const signals: Array<AbortSignal> = []
    vi.stubGlobal("fetch", (_: string, init: RequestInit) =>
      new Promise((resolve, reject) => {
        const signal = init.signal ?? assert.fail()
        const [status, text] = beginnings[signals.push(signal) - 1] ?? []
        const body = new ReadableStream({
          start: (controller) => {
            if (text !== undefined) controller.enqueue(new TextEncoder().encode(text))
            signal.addEventListener("abort", () => controller.error(new Error("aborted")))
          }
        })
        const headers = { "content-type": status === 200 ? "text/event-stream" : "application/json" }
        if (status !== undefined) resolve(new Response(body, { status, headers }))
        else signal.addEventListener("abort", () => reject(signal.reason))
      }))
    return signals
  }

  it("a connection may be silent for 45 s by default, and is tried again after 2 s; an abort leaves no timer", async () => {
    respond()
    const controller = new AbortController()
    const events = watch({ url: "http://gateway", job: name, signal: controller.signal })
    const first = events.next()
    await vi.advanceTimersByTimeAsync(44_999)
    assert.strictEqual(vi.getTimerCount(), 1)
    await vi.advanceTimersByTimeAsync(1)
    const disconnected = { _tag: "Disconnected", reason: "silent for 45000 ms", retryIn: 2_000 }
    assert.deepStrictEqual<unknown>((await first).value, disconnected)
    const second = events.next()
    await vi.advanceTimersByTimeAsync(1_999)
    assert.strictEqual(vi.getTimerCount(), 1)
    controller.abort("the user has left")
    assert.strictEqual(await second.catch((error) => error), "the user has left")
    assert.strictEqual(vi.getTimerCount(), 0)
  })

  it("a silent connection is closed; a slow consumer does not count as silence", async () => {
    const queued = ["a", "b"].map((id) => event("Queued", { _tag: "Queued", cursor: id }, id)).join("")
    const signals = respond([200, `retry: 1\n\n${queued}`], undefined, [401, "{"])
    const events = watch({ url: "http://gateway", job: name, maxSilence: 100 })
    for (const tag of ["Connected", "Queued", "Queued"]) {
      assert.strictEqual((await events.next()).value?._tag, tag)
      // the consumer takes a while
      await vi.advanceTimersByTimeAsync(1_000)
    }
    for (const signal of [0, 1, 2]) {
      const next = events.next()
      // a pause of some milliseconds from the second one on
      await vi.advanceTimersByTimeAsync(99)
      assert.isFalse(signals[signal]?.aborted)
      await vi.advanceTimersByTimeAsync(20)
      assert.deepInclude((await next).value, { _tag: "Disconnected", reason: "silent for 100 ms" })
      assert.isTrue(signals[signal]?.aborted)
    }
  })

  it("the pauses grow up to 30 s, spread, and begin anew after a connection", async () => {
    vi.spyOn(Math, "random").mockReturnValue(0.5)
    const controller = new AbortController()
    let tries = 0
    vi.stubGlobal("fetch", () =>
      ++tries === 7
        ? Promise.resolve(new Response("", { headers: { "content-type": "text/event-stream" } }))
        : tries === 8
        ? Promise.resolve(new Response("", { status: 503, headers: { "retry-after": "9999999" } }))
        : Promise.reject(new Error("no network")))
    const pauses: Array<number> = []
    const events = watch({ url: "http://gateway", job: name, signal: controller.signal })
    while (tries < 8) {
      const next = events.next()
      await vi.runAllTimersAsync()
      const { value } = await next
      if (value?._tag === "Disconnected") pauses.push(value.retryIn)
    }
    assert.deepStrictEqual(pauses, [2_000, 3_000, 6_000, 12_000, 22_500, 22_500, 2_000, 86_400_000])
    assert.lengthOf(getEventListeners(controller.signal, "abort"), 0)
    // while the consumer has the event
    controller.abort("the user has left")
    assert.strictEqual(await events.next().catch((error) => error), "the user has left")
  })

  it("a reconnection time of nonsense is ignored", async () => {
    for (const retry of ["-5", "", "soon", "0", "NaN", "-Infinity"]) {
      vi.stubGlobal(
        "fetch",
        () => Promise.resolve(new Response(`retry: ${retry}\n\n`, { headers: { "content-type": "text/event-stream" } }))
      )
      const events = watch({ url: "http://gateway", job: name })
      assert.deepStrictEqual((await events.next()).value, { _tag: "Connected" })
      const disconnected = { _tag: "Disconnected", reason: "the stream ended", retryIn: 2_000 }
      assert.deepStrictEqual<unknown>((await events.next()).value, disconnected)
      await events.return()
    }
  })
})

it("is less than 2 kB, and needs no package", async () => {
  const { metafile, outputFiles: [file] } = await build({
    entryPoints: [fileURLToPath(new URL("../../src/browser/index.ts", import.meta.url))],
    bundle: true,
    format: "esm",
    target: "es2022",
    platform: "browser",
    minify: true,
    metafile: true,
    write: false
  })
  for (const input of Object.keys(metafile.inputs)) assert.match(input, /src\/browser\//)
  const size = gzipSync(file?.contents ?? assert.fail(), { level: 9 }).length
  assert.isAbove(size, 500)
  assert.isBelow(size, 2_000)
})

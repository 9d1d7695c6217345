/**
 * The queue behind a real HTTP server on this machine: for clients that know nothing of this library, and for tests of
 * what happens on the wire.
 *
 * @since 0.1.0
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
// @effect-diagnostics nodeBuiltinImport:off
import type * as HttpApiError from "@effect/platform/HttpApiError"
import * as HttpServer from "@effect/platform/HttpServer"
import type * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Http from "node:http"
import type { Socket } from "node:net"
import { formatIssues } from "../internal/checkRequest.js"
import { ref } from "../Job.js"
import * as QueueApi from "../QueueApi.js"
import type { Operation } from "../QueueError.js"
import type { Fault } from "../testing/Fault.js"
import * as Exchanges from "../testing/internal/exchanges.js"
import * as LocalQueue from "../testing/internal/localQueue.js"
import * as Refusal from "../testing/internal/refusal.js"
import { defaultSeed } from "../testing/internal/seeded.js"
import * as Wire from "../testing/internal/wire.js"
import type { Pool } from "../testing/Worker.js"

/**
 * - `host` and `port`: where to listen; `127.0.0.1`, and a port that is free, unless given.
 * - `workers`: who does the jobs. Without it they wait for ever.
 * - `faults`: what goes wrong on the wire, as in the queue in memory.
 * - `seed`: what the times of workers and the chances of faults are made from. Request ids differ all the same.
 * - `apiKeys`: the bearer tokens that are good. Without it every token is, so long as it is not blank.
 * - `maxBodyBytes`: a larger body is refused with 413; `defaultMaxBodyBytes` unless given.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  readonly host?: string | undefined
  readonly port?: number | undefined
  readonly workers?: Pool | ReadonlyArray<Pool> | undefined
  readonly faults?: ReadonlyArray<Fault> | undefined
  readonly seed?: string | number | undefined
  readonly apiKeys?: ReadonlyArray<Redacted.Redacted> | undefined
  readonly maxBodyBytes?: number | undefined
}

/**
 * 8 MiB.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultMaxBodyBytes: number = 8 * 1024 * 1024

/**
 * A request as it arrived, at so many milliseconds since the epoch; `url` is its path and query.
 *
 * @since 0.1.0
 * @category models
 */
export interface LoggedRequest {
  readonly at: number
  readonly method: string
  readonly url: string
}

/**
 * How many requests the log keeps: the latest 10,000.
 *
 * @since 0.1.0
 * @category constants
 */
export const maxLoggedRequests = 10_000

/**
 * - `baseUrl`: what a client must be told, `http://127.0.0.1:…/v1`.
 * - `requests`: the latest requests, oldest first.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  readonly baseUrl: string
  readonly requests: Effect.Effect<ReadonlyArray<LoggedRequest>>
}

/**
 * A running emulator.
 *
 * @since 0.1.0
 * @category context
 */
export class Emulator extends Context.Tag("effect-queue-status/emulator/Emulator")<Emulator, Service>() {}

// -----------------------------------------------------------------------------
// answers that say no
// -----------------------------------------------------------------------------

class Refused extends Data.TaggedError("Refused")<
  Refusal.Refusal & { readonly headers?: { readonly [name: string]: string } }
> {}

const invalid = (code: string, message: string, param?: string): Refused =>
  new Refused({
    status: 400,
    body: { code, type: "invalid_request_error", message, ...(param !== undefined && { param }) }
  })

const unauthorized = new Refused(Refusal.unauthorized)

const tooLarge = (maxBodyBytes: number): Refused =>
  new Refused({
    status: 413,
    body: {
      code: "body_too_large",
      type: "invalid_request_error",
      message: `the body must not be larger than ${maxBodyBytes} bytes`
    }
  })

const refusal = ({ body, headers, status }: Refused): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.unsafeJson(body, { status, headers: headers ?? {} })

const serverError = refusal(
  new Refused({
    status: 500,
    body: { code: "internal_error", type: "server_error", message: "the emulator has failed; this is a bug in it" }
  })
)

// -----------------------------------------------------------------------------
// the API
// -----------------------------------------------------------------------------

const Api = QueueApi.QueueApi.prefix("/v1")

const documentPath = "/openapi.json"

// What answers a GET answers a HEAD.
const methods: ReadonlyMap<string, string> = new Map([
  [documentPath, "GET, HEAD"],
  ...Object.values(Api.groups).flatMap(({ endpoints }) =>
    Object.values(endpoints).map(({ method, path }) => [path, method === "GET" ? "GET, HEAD" : method] as const)
  )
])

const bearer = /^Bearer +(\S.*)$/i

const authorization = (apiKeys: ReadonlyArray<Redacted.Redacted> | undefined) => {
  const good = apiKeys === undefined ? undefined : new Set(apiKeys.map(Redacted.value))
  return Layer.succeed(QueueApi.Authorization, {
    // what the builder hands in has its first seven letters cut off, whatever they were
    bearer: () =>
      Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) => {
        const token = bearer.exec(headers["authorization"] ?? "")?.[1]?.trim()
        return token !== undefined && (good === undefined || good.has(token)) ? Effect.void : Effect.die(unauthorized)
      })
  })
}

// How much of a body that is too large is read all the same, so that its sender gets to read the answer.
const drainBytes = 64 * 1024 * 1024

const readBody = (
  request: HttpServerRequest.HttpServerRequest,
  maxBodyBytes: number
): Effect.Effect<string, Refused> =>
  Effect.suspend(() => {
    const chunks: Array<Uint8Array> = []
    let size = 0
    return request.stream.pipe(
      Stream.tap((chunk) =>
        Effect.sync(() => {
          size += chunk.length
          if (size <= maxBodyBytes) chunks.push(chunk)
          else chunks.length = 0
        })
      ),
      Stream.takeUntil(() => size > Math.max(drainBytes, maxBodyBytes)),
      Stream.runDrain,
      Effect.mapError(() => invalid("incomplete_body", "the body broke off")),
      Effect.flatMap(() =>
        size > maxBodyBytes
          ? Effect.fail(tooLarge(maxBodyBytes))
          : Effect.succeed(new TextDecoder().decode(Buffer.concat(chunks)))
      )
    )
  })

const parseJson = Schema.decode(Schema.parseJson())

const readJson = <A, I>(schema: Schema.Schema<A, I>) => {
  const decode = Schema.decodeUnknown(schema, { errors: "all" })
  return (request: HttpServerRequest.HttpServerRequest, maxBodyBytes: number): Effect.Effect<A, Refused> =>
    readBody(request, maxBodyBytes).pipe(
      Effect.flatMap((text) =>
        Effect.mapError(
          parseJson(text),
          () => invalid("invalid_json", text.trim() === "" ? "the body is empty" : "the body is not JSON")
        )
      ),
      Effect.flatMap((value) =>
        Effect.mapError(decode(value), (error) => invalid("invalid_request", formatIssues(error)))
      )
    )
}

const readSubmit = readJson(QueueApi.SubmitRequest)
const readCancel = readJson(QueueApi.CancelRequest)
const readClear = readJson(QueueApi.ClearRequest)

const toResponse = (
  { body, headers, status, then }: Wire.Answer,
  socket: Socket
): HttpServerResponse.HttpServerResponse => {
  const options = { status, headers }
  const bytes = new TextEncoder().encode(body)
  if (then !== undefined) {
    // once that half is out; a stream that fails would end the body as if it were whole
    const breakOff = Effect.sync(() => socket.destroySoon())
    const rest = Effect.zipRight(then === "breaks" ? breakOff : Effect.void, Effect.never)
    return HttpServerResponse.stream(Stream.concat(Stream.make(bytes), Stream.fromEffect(rest)), options)
  }
  return Wire.isBodiless(status)
    ? HttpServerResponse.empty(options)
    : HttpServerResponse.uint8Array(bytes, { ...options, contentType: headers["content-type"] ?? "text/plain" })
}

/** Answers a call, through whatever goes wrong with it. */
const makeCalled = (faults: Wire.Faults) => {
  const counts = new Map<Operation, number>()
  return (
    operation: Operation,
    about: { readonly model: string; readonly requestId?: string | undefined },
    exchange: Wire.Exchange
  ): Effect.Effect<HttpServerResponse.HttpServerResponse, never, HttpServerRequest.HttpServerRequest> =>
    Effect.gen(function*() {
      const nth = (counts.get(operation) ?? 0) + 1
      counts.set(operation, nth)
      const at = yield* Clock.currentTimeMillis
      const { socket } = NodeHttpServerRequest.toIncomingMessage(yield* HttpServerRequest.HttpServerRequest)
      const { model, requestId } = about
      const happenings = faults.to({ operation, nth, at, model, requestId, end: undefined })
      return yield* Wire.disturb(happenings, exchange)(Wire.truth).pipe(
        Effect.map((answer) => toResponse(answer, socket)),
        Effect.catchTag("Disconnected", () => {
          socket.destroy()
          return Effect.never
        })
      )
    })
}

const handlers = (queue: LocalQueue.LocalQueue, faults: Wire.Faults, maxBodyBytes: number) =>
  HttpApiBuilder.group(Api, "queue", (endpoints) => {
    const exchanges = Exchanges.make(queue)
    const called = makeCalled(faults)
    return endpoints
      .handleRaw("status", ({ urlParams }) => {
        const job = ref(urlParams.model, urlParams.request_id)
        return called("status", job, exchanges.status(job))
      })
      .handleRaw("submit", ({ request }) =>
        readSubmit(request, maxBodyBytes).pipe(
          Effect.orDie,
          Effect.flatMap((request) => called("submit", request, exchanges.submit(request)))
        ))
      .handleRaw("cancel", ({ request }) =>
        readCancel(request, maxBodyBytes).pipe(
          Effect.orDie,
          Effect.flatMap(({ model, requestId }) => {
            const job = ref(model, requestId)
            return called("cancel", job, exchanges.cancel(job))
          })
        ))
      .handleRaw("clear", ({ request }) =>
        readClear(request, maxBodyBytes).pipe(
          Effect.orDie,
          Effect.flatMap(({ model }) => called("clear", { model }, exchanges.clear(model)))
        ))
      .handleRaw("metrics", ({ urlParams: { model } }) => called("metrics", { model }, exchanges.metrics(model)))
  })

// What the builder does with a request that is wrong is not what the service does: say it as the service would.
const answerFailure = (
  request: HttpServerRequest.HttpServerRequest,
  cause: Cause.Cause<unknown>
): Effect.Effect<HttpServerResponse.HttpServerResponse> => {
  if (Cause.isInterrupted(cause)) return Effect.interrupt
  const failure = Cause.squash(cause)
  if (failure instanceof Refused) return Effect.succeed(refusal(failure))
  const tag = typeof failure === "object" && failure !== null && "_tag" in failure ? failure._tag : undefined
  switch (tag) {
    case "HttpApiDecodeError": {
      const { issues } = failure as HttpApiError.HttpApiDecodeError
      const message = issues.map(({ message, path }) => `${path.map(String).join(".")}: ${message}`).join("; ")
      const param = issues[0]?.path[0]
      return Effect.succeed(refusal(invalid("invalid_request", message, param === undefined ? param : String(param))))
    }
    case "RouteNotFound": {
      const path = request.url.split("?", 1)[0] ?? ""
      const allow = methods.get(path)
      return Effect.succeed(refusal(
        allow === undefined
          ? new Refused({
            status: 404,
            body: { code: "not_found", type: "not_found_error", message: `there is nothing at ${path}` }
          })
          : new Refused({
            status: 405,
            headers: { allow },
            body: {
              code: "method_not_allowed",
              type: "invalid_request_error",
              message: `${path} takes ${allow}, not ${request.method}`
            }
          })
      ))
    }
    default:
      return Effect.as(Effect.logError("a request to the emulator failed", cause), serverError)
  }
}

// -----------------------------------------------------------------------------
// the server
// -----------------------------------------------------------------------------

/**
 * Starts an emulator; it stops, with every connection to it, when its scope closes. The document of its API is at
 * `/openapi.json`.
 *
 * @example
 * import { JobQueue, JobStream } from "effect-queue-status"
 * import { Emulator } from "effect-queue-status/emulator"
 * import { Worker } from "effect-queue-status/testing"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect, Layer, Redacted } from "effect"
 *
 * const QueueOnThisMachine = Layer.effect(
 *   JobQueue.JobQueue,
 *   Effect.flatMap(Emulator.Emulator, ({ baseUrl }) => JobQueue.make({ baseUrl, apiKey: Redacted.make("any") }))
 * ).pipe(
 *   Layer.provide(Emulator.layer({
 *     workers: { script: Worker.always(Worker.finish("200 millis", { answer: 42 })) }
 *   })),
 *   Layer.provide(FetchHttpClient.layer)
 * )
 *
 * const program = Effect.gen(function*() {
 *   const job = yield* JobQueue.submit({ model: "my-org/thinker", payload: {} })
 *   return yield* JobStream.result(job)
 * }).pipe(Effect.provide(QueueOnThisMachine))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<Emulator, HttpServerError.ServeError> =>
  Layer.scoped(
    Emulator,
    Effect.gen(function*() {
      const maxBodyBytes = options.maxBodyBytes ?? defaultMaxBodyBytes
      const { seed = defaultSeed } = options
      const queue = LocalQueue.make({
        workers: options.workers,
        random: yield* Effect.random,
        seed,
        recording: options.faults !== undefined
      })
      const faults = new Wire.Faults(seed, yield* Clock.currentTimeMillis)
      for (const fault of options.faults ?? []) faults.add(fault)
      const log: Array<LoggedRequest> = []
      const host = options.host ?? "127.0.0.1"

      const server = Http.createServer()
      const httpServer = yield* NodeHttpServer.make(() => server, { host, port: options.port ?? 0 })
      // closing a server waits for its connections to end by themselves
      yield* Effect.addFinalizer(() => Effect.sync(() => server.closeAllConnections()))

      const noteAndMend = HttpApiBuilder.middleware(Effect.succeed((app) =>
        Effect.gen(function*() {
          const request = yield* HttpServerRequest.HttpServerRequest
          const at = yield* Clock.currentTimeMillis
          log.push({ at, method: request.method, url: request.url })
          if (log.length > maxLoggedRequests) log.shift()
          return yield* Effect.catchAllCause(app, (cause) => answerFailure(request, cause))
        })
      ))

      yield* HttpApiBuilder.serve().pipe(
        Layer.provide(
          HttpApiBuilder.middlewareOpenApi({ path: documentPath, additionalPropertiesStrategy: "allow" })
        ),
        Layer.provide(noteAndMend),
        Layer.provide(HttpApiBuilder.api(Api)),
        Layer.provide(handlers(queue, faults, maxBodyBytes)),
        Layer.provide(authorization(options.apiKeys)),
        Layer.provide(Layer.succeed(HttpServer.HttpServer, httpServer)),
        Layer.provide(NodeHttpServer.layerContext),
        Layer.build
      )

      const { address } = httpServer
      // a server that was given a port has no other address
      const port = address._tag === "TcpAddress" ? address.port : 0
      return Emulator.of({
        baseUrl: `http://${host.includes(":") ? `[${host}]` : host}:${port}/v1`,
        requests: Effect.sync(() => log.slice())
      })
    })
  )

/**
 * The queue behind a real HTTP server on this machine: for clients that do not use this library, and for tests of the
 * behavior on the wire.
 *
 * @since 0.1.0
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as HttpApiBuilder from "@effect/platform/HttpApiBuilder"
// @effect-diagnostics nodeBuiltinImport:off
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerError from "@effect/platform/HttpServerError"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Socket } from "node:net"
import { withoutDecodeError } from "../api/internal/withoutDecodeError.js"
import * as QueueApi from "../api/QueueApi.js"
import { steady } from "../model/internal/time.js"
import { JobStatus, ref } from "../model/Job.js"
import type { Operation } from "../model/QueueError.js"
import { reasonOf } from "../queue/internal/response.js"
import * as QueueWire from "../queue/internal/wire.js"
import type { Fault } from "../testing/Fault.js"
import * as Faults from "../testing/internal/fault.js"
import * as HttpResponses from "../testing/internal/httpResponses.js"
import { defaultSeed } from "../testing/internal/seededRandom.js"
import * as SimulatedQueue from "../testing/internal/simulatedQueue.js"
import * as Wire from "../testing/internal/wireResponse.js"
import type { Pool } from "../testing/Worker.js"
import * as Refused from "./internal/errorResponses.js"
import { withBody } from "./internal/requestBody.js"
import * as Server from "./internal/server.js"
import * as WorkerApi from "./internal/workerApi.js"

/**
 * The options of the emulator.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The address to listen on. Defaults to `127.0.0.1`. */
  readonly host?: string | undefined
  /** The port to listen on. Defaults to a free one. Fails with `ServeError` if it is out of range. */
  readonly port?: number | undefined
  /** Simulated workers, which run the jobs. Defaults to none: jobs wait for external workers. */
  readonly workers?: Pool | ReadonlyArray<Pool> | undefined
  /** Faults of the wire, as for the queue in memory. Defaults to none. */
  readonly faults?: ReadonlyArray<Fault> | undefined
  /**
   * The seed of the workers' times and the faults' probabilities. Request ids differ nevertheless. Defaults to a fixed
   * seed.
   */
  readonly seed?: string | number | undefined
  /** How long a job can be requested after its end. Defaults to one day. */
  readonly retention?: Duration.DurationInput | undefined
  /** A certificate and its key, as PEM, for clients that require HTTPS. Fails with `ServeError` if it is invalid. */
  readonly tls?: { readonly cert: string; readonly key: string } | undefined
  /** The accepted bearer tokens. Defaults to every token that is not blank. */
  readonly apiKeys?: ReadonlyArray<Redacted.Redacted> | undefined
}

/**
 * A logged request.
 *
 * @since 0.1.0
 * @category models
 */
export interface LoggedRequest {
  /** When the request arrived, in milliseconds since the epoch. */
  readonly at: number
  /** The HTTP method. */
  readonly method: string
  /** The path and the query. */
  readonly url: string
}

const maxLoggedRequests = 10_000

/**
 * The addresses of a running emulator, and the log of its requests.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** The base URL for a client, such as `http://127.0.0.1:8080/v1`. */
  readonly baseUrl: string
  /** The origin for a worker, such as `http://127.0.0.1:8080`. */
  readonly origin: string
  /** The latest requests, oldest first, at most 10,000. */
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
// the API
// -----------------------------------------------------------------------------

const Api = withoutDecodeError(QueueApi.QueueApi.prefix("/v1").add(WorkerApi.WorkerApi))

const documentPath = "/openapi.json"

const methods: ReadonlyMap<string, ReadonlyArray<string>> = new Map([
  [documentPath, ["GET", "HEAD"]],
  ...Object.values(Api.groups).flatMap(({ endpoints }) =>
    Object.values(endpoints).map(({ method, name, path }) =>
      // a GET endpoint also accepts HEAD, except `retrieve`, which claims a job
      [path, method === "GET" && name !== "retrieve" ? ["GET", "HEAD"] : [method]] as const
    )
  )
])

const bearer = /^Bearer +(\S.*)$/i

const authorization = (apiKeys: ReadonlyArray<Redacted.Redacted> | undefined) => {
  const good = apiKeys && new Set(apiKeys.map(Redacted.value))
  return Layer.succeed(QueueApi.Authorization, {
    // the builder passes the header without its first seven letters, whatever they were
    bearer: () =>
      Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) => {
        const token = bearer.exec(headers["authorization"] ?? "")?.[1]?.trim()
        return token !== undefined && (good === undefined || good.has(token))
          ? Effect.void
          : Effect.die(new Refused.Refused({ response: Wire.unauthorized }))
      })
  })
}

const toResponse = (
  { body, headers, status, then }: Wire.WireResponse,
  socket: Socket
): HttpServerResponse.HttpServerResponse => {
  const options = { status, headers }
  const bytes = new TextEncoder().encode(body)
  if (then !== undefined) {
    // after the first half was sent; a failing stream would end the body as if it were complete
    const breakOff = Effect.sync(() => socket.destroySoon())
    const rest = Effect.zipRight(then === "breaks" ? breakOff : Effect.void, Effect.never)
    return HttpServerResponse.stream(Stream.concat(Stream.make(bytes), Stream.fromEffect(rest)), options)
  }
  return Wire.isBodiless(status)
    ? HttpServerResponse.empty(options)
    : HttpServerResponse.uint8Array(bytes, { ...options, contentType: headers["content-type"] ?? "text/plain" })
}

const handlers = (queue: SimulatedQueue.SimulatedQueue, faults: Faults.Faults) => {
  const responses = HttpResponses.make(queue)
  const called = <Input extends Faults.CallInput>(operation: Operation, respond: (input: Input) => Faults.Respond) =>
    Effect.fnUntraced(function*(input: Input) {
      const { socket } = NodeHttpServerRequest.toIncomingMessage(yield* HttpServerRequest.HttpServerRequest)
      const { active } = faults.begin(operation, input, steady(yield* Effect.clock).time)
      return yield* Faults.respondWith(active, respond(input)).pipe(
        Effect.map((response) => toResponse(response, socket)),
        Effect.catchTag("Disconnected", () => {
          socket.destroy()
          return Effect.never
        })
      )
    })
  const status = called("status", responses.status)
  const clear = called("clear", responses.clear)
  const metrics = called("metrics", responses.metrics)
  return HttpApiBuilder.group(Api, "queue", (endpoints) =>
    endpoints
      .handleRaw("status", ({ urlParams }) => status(ref(urlParams.model, urlParams.request_id)))
      .handleRaw("submit", withBody(QueueWire.SubmitRequest, called("submit", responses.submit)))
      .handleRaw("cancel", withBody(QueueWire.CancelRequest, called("cancel", responses.cancel)))
      .handleRaw("clear", withBody(QueueWire.ClearRequest, ({ model }) => clear(model)))
      .handleRaw("metrics", ({ urlParams }) => metrics(urlParams.model)))
}

const encodeStatus = Schema.encodeSync(JobStatus)

// The status document, with `inputs` renamed to `payload`, without the fields that a claim implies.
const taskOf = (status: JobStatus) => {
  const { done_at: _done, inputs: _inputs, outputs: _outputs, status: _status, ...rest } = encodeStatus(status)
  return { ...rest, payload: status.inputs }
}

const workerHandlers = (queue: SimulatedQueue.SimulatedQueue) =>
  HttpApiBuilder.group(Api, "worker", (endpoints) =>
    endpoints
      .handleRaw("retrieve", ({ request, urlParams }) => {
        const { socket } = NodeHttpServerRequest.toIncomingMessage(request)
        return queue.retrieve({
          model: urlParams.model,
          patience: Duration.toMillis(urlParams.timeout ?? Duration.zero),
          timeout: Duration.toMillis(urlParams.claim_timeout ?? WorkerApi.defaultClaimTimeout),
          isThere: () => !socket.destroyed
        }).pipe(
          Effect.map(Option.match({ onNone: () => ({}), onSome: (status) => ({ data: taskOf(status) }) })),
          Effect.map((body) => HttpServerResponse.unsafeJson(body))
        )
      })
      .handleRaw(
        "update",
        withBody(
          WorkerApi.UpdateRequest,
          Effect.fnUntraced(function*({ info, model, payload, requestId, status }) {
            const job = ref(model, requestId)
            if (Option.isNone(yield* queue.find(job))) {
              return yield* Effect.die(new Refused.Refused({ response: Wire.noSuchJob(job) }))
            }
            yield* queue.update({
              ref: job,
              status,
              ...(info != null && { info }),
              ...(payload != null && status !== "running" && { outputs: payload })
            })
            return HttpServerResponse.unsafeJson({})
          })
        )
      ))

// -----------------------------------------------------------------------------
// the server
// -----------------------------------------------------------------------------

/**
 * Starts an emulator. It stops, and closes every connection, when its scope closes. Its OpenAPI document is at
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
      const { seed = defaultSeed } = options
      const queue = SimulatedQueue.make({
        workers: options.workers,
        random: yield* Effect.random,
        seed,
        recording: options.faults !== undefined,
        retention: Duration.toMillis(options.retention ?? "1 day")
      })
      const faults = new Faults.Faults(seed, steady(yield* Effect.clock).time)
      for (const fault of options.faults ?? []) faults.add(fault)
      const log: Array<LoggedRequest> = []

      const server = yield* Effect.try({
        try: () => Server.make({ tls: options.tls }),
        catch: (cause) =>
          new HttpServerError.ServeError({ cause: new Error(`the certificate or its key: ${reasonOf(cause)}`) })
      })
      const { httpServer, origin } = yield* Server.listen(server, {
        host: options.host ?? "127.0.0.1",
        port: options.port ?? 0
      })

      const logAndRoute = HttpApiBuilder.middleware(Effect.succeed((app) =>
        Effect.gen(function*() {
          const request = yield* HttpServerRequest.HttpServerRequest
          const at = yield* Clock.currentTimeMillis
          log.push({ at, method: request.method, url: request.url })
          if (log.length > maxLoggedRequests) log.shift()
          yield* Refused.route(methods, request)
          return yield* app
        }).pipe(Effect.catchAllCause(Refused.toResponse))
      ))

      yield* HttpApiBuilder.serve().pipe(
        Layer.provide([
          HttpApiBuilder.middlewareOpenApi({ path: documentPath, additionalPropertiesStrategy: "allow" }),
          logAndRoute
        ]),
        Layer.provide(HttpApiBuilder.api(Api)),
        Layer.provide([handlers(queue, faults), workerHandlers(queue)]),
        Layer.provide(authorization(options.apiKeys)),
        Layer.provide([Layer.succeed(HttpServer.HttpServer, httpServer), NodeHttpServer.layerContext]),
        Layer.build
      )

      // Handles an upgrade like any other request, with the same timeouts.
      server.removeAllListeners("upgrade")

      return { baseUrl: `${origin}/v1`, origin, requests: Effect.sync(() => log.slice()) }
    })
  )

/**
 * Serves the status of jobs over HTTP: one service watches, any number of others, browsers and shells follow.
 *
 * | route | response |
 * | --- | --- |
 * | `GET /events?job=MODEL/REQUEST_ID` | the transitions of the job, and the troubles of watching it, as server-sent events or NDJSON; of up to 20 jobs, if `job` is repeated |
 * | `GET /status?job=MODEL/REQUEST_ID` | the latest snapshot of the job, as the status document of the queue |
 *
 * Both accept a cursor, `from=…`, and continue after it. Nothing is stored for a client, so any replica can continue. All
 * requests share the pollers of the `JobWatcher`. The policy of a watch is that of the app, `WatchPolicy.Default`.
 *
 * The option `access` decides who may watch which job; see `GatewayAccess`.
 *
 * @since 0.1.0
 */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { rules } from "../model/internal/rules.js"
import { pauseOf } from "../policy/internal/pauses.js"
import type { JobWatcher } from "../watch/JobWatcher.js"
import type { Access } from "./GatewayAccess.js"
import { Heartbeats, open } from "./internal/connection.js"
import { Connections } from "./internal/connections.js"
import { respondToDefects } from "./internal/defects.js"
import { encodersBy } from "./internal/encoder.js"
import { limitOf } from "./internal/limit.js"
import { GatewayOutput } from "./internal/output.js"
import { isOpen, maxJobs, parseQuery, pathOf, type Query } from "./internal/request.js"
import * as Response from "./internal/response.js"
import { latest } from "./internal/snapshot.js"
import { encodeError, encodersOf, type View } from "./internal/view.js"

/**
 * The options of a gateway.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * What clients receive of a job.
   *
   * - `slim`: transitions without their snapshots, snapshots without `inputs`, and without `outputs` before the job ends.
   *   An error has no text of the service. The default.
   * - `full`: everything.
   * - A function: the JSON for each transition; for a snapshot, that of the last transition that it shows. A
   *   `GatewayClient` needs one of the other two.
   */
  readonly view?: View | undefined
  /** Who may watch which job. Without it, everyone who reaches the gateway may watch every job. */
  readonly access?: Access | undefined
  /**
   * The interval of heartbeats on a stream, for proxies that close idle connections: at least 50 milliseconds. Defaults to 15
   * seconds.
   */
  readonly heartbeat?: Duration.DurationInput | undefined
  /** How many requests may be open. Others are rejected with 503 and `Retry-After`. Defaults to 1,000. */
  readonly maxConnections?: number | undefined
  /**
   * How many requests of one client may be open. Others are rejected with 429 and `Retry-After`. With `access`, a client is
   * a token; without it, or without a token, it is a remote address. Behind a proxy, that is the proxy's address, unless
   * `HttpMiddleware.xForwardedHeaders` is applied. Defaults to no limit.
   */
  readonly maxConnectionsPerClient?: number | undefined
}

/**
 * Creates the gateway. It can be served (`HttpServer.serve`), mounted under a prefix (`HttpRouter.mountApp`), or made a
 * handler for `Request` and `Response` (`HttpApp.toWebHandlerLayer`). `maxConnections` applies to each gateway created. Throws
 * a `RangeError` if a limit is neither a positive integer nor `Infinity`.
 *
 * A request that its client abandons ends its watch at once. So that a stop of the server need not wait for the streams,
 * provide the server after the watcher, as in the example: then the watcher, which ends them, stops first.
 *
 * @example
 * import { JobQueue, JobWatcher } from "effect-queue-status"
 * import { Gateway } from "effect-queue-status/gateway"
 * import { FetchHttpClient, HttpRouter, HttpServer } from "@effect/platform"
 * import { NodeHttpServer } from "@effect/platform-node"
 * import { Layer } from "effect"
 * import { createServer } from "node:http"
 *
 * const WatcherLive = JobWatcher.layer().pipe(
 *   Layer.provide(JobQueue.layer()),
 *   Layer.provide(FetchHttpClient.layer)
 * )
 *
 * const app = HttpRouter.empty.pipe(HttpRouter.mountApp("/jobs", Gateway.httpApp()))
 *
 * const main = HttpServer.serve(app).pipe(
 *   Layer.provide(WatcherLive),
 *   Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 8080 }))
 * )
 *
 * @since 0.1.0
 * @category constructors
 */
export const httpApp = (options: Options = {}): HttpApp.Default<never, JobWatcher | Scope.Scope> => {
  const encoders = encodersOf(options.view)
  const encoderFor = encodersBy(encoders)
  const heartbeats = new Heartbeats(Duration.millis(pauseOf(options.heartbeat ?? "15 seconds")))
  const access = options.access ?? (() => Effect.void)
  const connections = new Connections(
    limitOf("maxConnections", options.maxConnections ?? 1_000),
    limitOf("maxConnectionsPerClient", options.maxConnectionsPerClient ?? Infinity)
  )

  // a token that is not valid is denied at once, and counts no longer
  const clientOf = ({ token }: Query, request: HttpServerRequest.HttpServerRequest): string | undefined =>
    options.access !== undefined && Option.isSome(token)
      ? `token ${Redacted.value(token.value.value)}`
      : Option.getOrUndefined(request.remoteAddress)

  const events = Effect.fnUntraced(function*(query: Query, request: HttpServerRequest.HttpServerRequest) {
    if (!query.jobs.some(isOpen)) return Response.noNews
    const encoder = encoderFor(request.headers["accept"])
    const send = yield* GatewayOutput
    const write = yield* open(query, encoder, heartbeats)
    return Response.stream(encoder.format.contentType, yield* send(request, write))
  })

  const status = Effect.fnUntraced(function*({ jobs: [known], wait }: Query) {
    const snapshot = yield* latest(known, Duration.seconds(wait))
    if (Option.isNone(snapshot)) return Response.noNews
    const { at, status } = snapshot.value
    return Response.json(encoders.snapshot(status, at, yield* rules), 200, {
      age: String(Math.max(0, Math.floor(DateTime.distance(at, yield* DateTime.now) / 1_000)))
    })
  })

  return Effect.gen(function*() {
    const request = yield* HttpServerRequest.HttpServerRequest
    const path = pathOf(request)
    if (path !== "/events" && path !== "/status") return Response.routeNotFound
    if (request.method !== "GET") return Response.methodNotAllowed
    const query = parseQuery(request, path === "/events" ? maxJobs : 1)
    if (Either.isLeft(query)) return Response.ofError(query.left, encodeError(query.left))
    const { jobs, token } = query.right
    const rejected = yield* connections.open(clientOf(query.right, request))
    if (rejected !== undefined) return yield* Response.tooManyConnections(rejected)
    return yield* Effect.forEach(jobs, ({ job }) => access(token, job), { discard: true }).pipe(
      Effect.zipRight(path === "/events" ? events(query.right, request) : status(query.right)),
      Effect.catchAll((error) => Effect.succeed(Response.ofError(error, encoders.error(error))))
    )
  }).pipe(respondToDefects("a request to the gateway"), Effect.interruptible)
}

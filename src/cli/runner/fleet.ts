// @effect-diagnostics strictEffectProvide:off
// What the processes of a fleet do. A module of its own, since it would slow down the start of every other command.
import { Sharding } from "@effect/cluster/Sharding"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type { SocketServerError } from "@effect/platform/SocketServer"
import * as PgClient from "@effect/sql-pg/PgClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ClusterWatcher from "../../cluster/ClusterWatcher.js"
import * as Fleet from "../../cluster/Fleet.js"
import * as Gateway from "../../gateway/Gateway.js"
import * as NodeGateway from "../../node/NodeGateway.js"
import * as WatchPolicy from "../../policy/WatchPolicy.js"
import * as Exit from "../exit.js"
import { listen, token } from "../serve/command.js"
import { print } from "../terminal.js"
import { jsonLine } from "../text.js"

const fromError = (error: SqlError | SocketServerError): Exit.ExitWith =>
  error._tag === "SqlError"
    ? new Exit.ExitWith({ code: Exit.codes.gaveUp, message: `the database: ${Exit.reasonOf(error)}` })
    : Exit.usage(`can't listen for other runners: ${Exit.reasonOf(error)}`)

/** The database that the environment configures. */
const Database = Layer.unwrapEffect(
  Config.redacted("DATABASE_URL").pipe(
    Effect.mapError(() => Exit.usage("DATABASE_URL is not set: it is the PostgreSQL database of the fleet")),
    Effect.map((url) => Layer.mapError(PgClient.layer({ url }), fromError))
  )
)

const health = Effect.gen(function*() {
  const { isShutdown } = yield* Sharding
  return (yield* isShutdown)
    ? HttpServerResponse.unsafeJson({ status: "stopping" }, { status: 503 })
    : HttpServerResponse.unsafeJson({ status: "ok", share: yield* ClusterWatcher.share })
})

const app = HttpRouter.empty.pipe(
  HttpRouter.mountApp("/jobs", Gateway.httpApp()),
  HttpRouter.get("/metrics", Effect.flatMap(Effect.promise(() => import("./metrics.js")), ({ response }) => response))
)

interface Settings {
  readonly json: boolean
  readonly host: string
  readonly port: number
  readonly runnerHost: string
  readonly runnerPort: number
  readonly rate: number
  readonly every: Duration.Duration | undefined
}

/** What a runner needs, but for the queue. */
const layer = ({ every, rate, runnerHost, runnerPort }: Settings) =>
  ClusterWatcher.layer({ pollsPerSecond: rate }).pipe(
    Layer.provide(Layer.succeed(
      WatchPolicy.Default,
      every ? WatchPolicy.withCadence(WatchPolicy.defaultPolicy, every) : WatchPolicy.defaultPolicy
    )),
    Layer.provideMerge(Layer.mapError(Fleet.layer({ host: runnerHost, port: runnerPort }), fromError)),
    Layer.provide(Database)
  )

export const run = (settings: Settings) =>
  Effect.gen(function*() {
    const { host, json, port } = settings
    // what checks the health of a process has no token
    const open = HttpRouter.mountApp(HttpRouter.empty, "/health", health)
    const url = yield* listen({ host, port, token: yield* token }, app, open).pipe(
      Effect.provide(yield* Layer.build(NodeGateway.layer))
    )
    yield* Console.error(
      `The gateway is at ${url}/jobs, /health and /metrics beside it. SIGTERM hands the jobs to the other runners.`
    )
    yield* print(json ? jsonLine({ gateway: `${url}/jobs` }) : `${url}/jobs`)
    return yield* Effect.never
  }).pipe(Effect.scoped, Effect.provide(layer(settings)))

export const migrate = Fleet.migrate.pipe(Effect.mapError(fromError), Effect.provide(Database))

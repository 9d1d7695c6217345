// `queue-status runner`, a process of a fleet, and `queue-status migrate`, which creates the tables of a fleet.
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import { Sharding } from "@effect/cluster/Sharding"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import type { SocketServerError } from "@effect/platform/SocketServer"
import * as PgClient from "@effect/sql-pg/PgClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as ClusterWatcher from "../../cluster/ClusterWatcher.js"
import * as Fleet from "../../cluster/Fleet.js"
import * as Gateway from "../../gateway/Gateway.js"
import * as NodeGateway from "../../node/NodeGateway.js"
import * as WatchPolicy from "../../policy/WatchPolicy.js"
import * as Exit from "../exit.js"
import { checked, every, host, json, port } from "../options.js"
import { listen, token } from "../serve/command.js"
import { print } from "../terminal.js"
import { jsonLine } from "../text.js"

const fromError = (error: SqlError | SocketServerError): Exit.ExitWith =>
  error._tag === "SqlError"
    ? new Exit.ExitWith({ code: Exit.codes.gaveUp, message: `the database: ${Exit.reasonOf(error)}` })
    : Exit.usage(`can't listen for other runners: ${Exit.reasonOf(error)}`)

/** The database that the environment configures. */
export const Database = Layer.unwrapEffect(
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
  // what this needs would slow down the start of every command
  HttpRouter.get("/metrics", Effect.flatMap(Effect.promise(() => import("./metrics.js")), ({ response }) => response))
)

const options = {
  json,
  host,
  port: port(8080),
  runnerHost: Options.text("runner-host").pipe(
    Options.withDescription(
      "the address of this machine that the other runners reach; by default RUNNER_HOST, or 127.0.0.1"
    ),
    Options.withFallbackConfig(Config.withDefault(Config.string("RUNNER_HOST"), "127.0.0.1"))
  ),
  runnerPort: checked(
    Options.integer("runner-port").pipe(
      Options.withDescription("the port for the other runners; by default RUNNER_PORT, or 34431"),
      Options.withFallbackConfig(Config.withDefault(Config.integer("RUNNER_PORT"), 34_431))
    ),
    (port) => port > 0 && port <= 65_535,
    "--runner-port: must be from 1 to 65535"
  ),
  rate: checked(Options.float("rate"), (rate) => rate > 0, "--rate: must be more than 0").pipe(
    Options.withDescription("how many polls a second the whole fleet may make; by default 100"),
    Options.withDefault(100)
  ),
  every
}

/** What a runner needs, but for the queue. */
export const layer = ({ every, rate, runnerHost, runnerPort }: Command.Command.ParseConfig<typeof options>) =>
  ClusterWatcher.layer({ pollsPerSecond: rate }).pipe(
    Layer.provide(Layer.succeed(
      WatchPolicy.Default,
      Option.match(every, {
        onNone: () => WatchPolicy.defaultPolicy,
        onSome: (interval) => WatchPolicy.withCadence(WatchPolicy.defaultPolicy, interval)
      })
    )),
    Layer.provideMerge(Layer.mapError(Fleet.layer({ host: runnerHost, port: runnerPort }), fromError)),
    Layer.provide(Database)
  )

export const command = Command.make("runner", options, (settings) =>
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
  }).pipe(Effect.scoped)).pipe(Command.withDescription(
    "Polls jobs as one process of a fleet, which shares the PostgreSQL database of DATABASE_URL, and serves the gateway. " +
      "Any runner answers for every job."
  ))

export const migrate = Command.make("migrate", {}, () => Effect.mapError(Fleet.migrate, fromError)).pipe(
  Command.withDescription("Creates the tables of a fleet in the database of DATABASE_URL.")
)

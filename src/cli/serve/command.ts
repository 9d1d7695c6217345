// `queue-status serve`: the gateway and the board.
// @effect-diagnostics nodeBuiltinImport:off
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as HttpMiddleware from "@effect/platform/HttpMiddleware"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { createServer } from "node:http"
import { isIPv4 } from "node:net"
import { isEverywhere } from "../../emulator/internal/server.js"
import * as Board from "../../gateway/Board.js"
import * as Gateway from "../../gateway/Gateway.js"
import * as LearnedCadence from "../../policy/LearnedCadence.js"
import * as JobQueue from "../../queue/JobQueue.js"
import * as JobStream from "../../watch/JobStream.js"
import * as JobWatcher from "../../watch/JobWatcher.js"
import { emulatedQueue } from "../emulator/queue.js"
import { defaultProfile, toPool } from "../emulator/workerProfile.js"
import * as Exit from "../exit.js"
import { host, json, port } from "../options.js"
import { print } from "../terminal.js"
import { jsonLine } from "../text.js"

const isLoopback = (host: string): boolean =>
  ["localhost", "::1", "[::1]"].includes(host) || (isIPv4(host) && host.startsWith("127."))

const app = HttpRouter.empty.pipe(
  HttpRouter.mountApp("/jobs", Gateway.httpApp()),
  HttpRouter.mountApp("/", Board.httpApp)
)

// The page of another site could reach this machine by a name of its own, and read what is served here.
const onlyLocal = HttpMiddleware.make((app) =>
  Effect.flatMap(
    HttpServerRequest.HttpServerRequest,
    ({ headers }) =>
      URL.canParse(`http://${headers["host"]}`) && isLoopback(new URL(`http://${headers["host"]}`).hostname)
        ? app
        : HttpServerResponse.text("this server is for this machine alone\n", { status: 403 })
  )
)

/** A queue on this machine, with simulated workers. */
export const EmulatedQueue = JobWatcher.layer().pipe(
  Layer.provideMerge(emulatedQueue({ workers: toPool(defaultProfile), retention: "10 minutes" })),
  Layer.provideMerge(LearnedCadence.layer({ minSamples: 3 }))
)

const models = ["my-org/video-generator", "my-org/upscaler", "my-org/music-generator"]

const submitAndWatch = Effect.gen(function*() {
  const nth = yield* Random.nextIntBetween(0, models.length)
  const job = yield* Effect.mapError(JobQueue.submit({ model: models[nth]!, payload: {} }), Exit.fromError)
  yield* JobStream.transitions(job).pipe(Stream.runDrain, Effect.ignoreLogged, Effect.forkScoped)
})

const simulatedJobs = Effect.zipRight(
  Effect.replicateEffect(submitAndWatch, 12, { discard: true }),
  Effect.schedule(submitAndWatch, Schedule.spaced("2 seconds"))
)

export interface Settings {
  readonly host: string
  readonly port: number
  readonly isPublic: boolean
  /** Whether to submit jobs. */
  readonly isSimulated: boolean
  readonly json: boolean
}

/** Serves an app until the scope closes, to this machine alone unless it is public. Returns its address. */
export const listen = <R>(
  app: HttpRouter.HttpRouter<never, R>,
  settings: Pick<Settings, "host" | "isPublic" | "port">
) =>
  Effect.gen(function*() {
    const { host, isPublic } = settings
    if (!isLoopback(host) && !isPublic) {
      return yield* Exit.usage(
        `--host ${host}: other machines could read the status and the outputs of jobs, as there is no access control; ` +
          "--public allows that"
      )
    }
    const node = createServer()
    const server = yield* Effect.mapError(
      NodeHttpServer.make(() => node, settings),
      Exit.fromServeError(settings)
    )
    // closing a server waits for its connections to end
    yield* Effect.addFinalizer(() => Effect.sync(() => node.closeAllConnections()))
    yield* Effect.provideService(
      HttpServer.serveEffect(isPublic ? app : onlyLocal(app)),
      HttpServer.HttpServer,
      server
    )
    return server.address
  })

export const serve = (settings: Settings) =>
  Effect.gen(function*() {
    const board = yield* Layer.build(Board.layer())
    const address = yield* Effect.provide(listen(app, settings), board)
    yield* announce(address, settings)
    const jobs = settings.isSimulated ? simulatedJobs : Effect.void
    return yield* Effect.provide(Effect.zipRight(jobs, Effect.never), board)
  }).pipe(Effect.scoped)

/** The URL of a server, for this machine. */
export const urlOf = (address: HttpServer.Address, host: string): string => {
  const port = address._tag === "TcpAddress" ? address.port : 0
  return `http://${isEverywhere(host) ? "localhost" : host.includes(":") ? `[${host}]` : host}:${port}`
}

const announce = (address: HttpServer.Address, { host, json }: Settings) =>
  Effect.gen(function*() {
    const url = urlOf(address, host)
    yield* Console.error([
      `The board is at ${url}/, the gateway at ${url}/jobs.`,
      ...(isLoopback(host) ? [] : ["There is no access control: whoever can reach this address can read them."]),
      "Ctrl-C stops both; the jobs continue."
    ].join("\n"))
    yield* print(json ? jsonLine({ board: `${url}/`, gateway: `${url}/jobs` }) : `${url}/`)
  })

export const isPublic = Options.boolean("public").pipe(
  Options.withDescription("listens at an address that other machines can reach, without access control")
)

const options = {
  json,
  host,
  port: port(8080),
  isPublic,
  isSimulated: Options.boolean("emulate").pipe(
    Options.withDescription("runs a queue on this machine, with simulated workers and jobs")
  )
}

export const command = Command.make("serve", options, serve).pipe(Command.withDescription(
  "Serves a page that shows jobs, and the gateway, by which other services, browsers and shells follow them. Prints the " +
    "address of the page when it is ready."
))

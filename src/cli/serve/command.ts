// `queue-status serve`: the gateway and the board.
// @effect-diagnostics nodeBuiltinImport:off
import * as Command from "@effect/cli/Command"
import * as Options from "@effect/cli/Options"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpRouter from "@effect/platform/HttpRouter"
import * as HttpServer from "@effect/platform/HttpServer"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Encoding from "effect/Encoding"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { createServer } from "node:http"
import { isIPv4 } from "node:net"
import * as Emulator from "../../emulator/Emulator.js"
import * as Server from "../../emulator/internal/server.js"
import * as Board from "../../gateway/Board.js"
import * as Gateway from "../../gateway/Gateway.js"
import { parseToken } from "../../gateway/internal/request.js"
import { isOneOf } from "../../gateway/internal/secret.js"
import * as NodeGateway from "../../node/NodeGateway.js"
import * as LearnedCadence from "../../policy/LearnedCadence.js"
import { forkScoped } from "../../queue/internal/fiber.js"
import * as JobQueue from "../../queue/JobQueue.js"
import * as JobStream from "../../watch/JobStream.js"
import * as JobWatcher from "../../watch/JobWatcher.js"
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

/** The token of a request: a bearer token, or the password that a browser has asked for. */
const tokenOf = (authorization: string | undefined): Redacted.Redacted =>
  Option.match(parseToken(authorization), {
    onSome: ({ value }) => value,
    onNone: () => {
      const [, value = ""] = authorization?.match(/^basic +(\S+)$/i) ?? []
      const credentials = Either.getOrElse(Encoding.decodeBase64String(value), () => "")
      return Redacted.make(credentials.replace(/^[^:]*:/, ""))
    }
  })

const unauthorized = HttpServerResponse.text("a token is required: the password, or a bearer token\n", {
  status: 401,
  headers: { "www-authenticate": `Basic realm="queue-status", charset="UTF-8"` }
})

const forbidden = HttpServerResponse.text("this server is for this machine alone\n", { status: 403 })

/** Requires the token, which a browser keeps as the password. Without one, answers this machine alone. */
const guarded = <E, R>(token: Redacted.Redacted | undefined, app: HttpApp.Default<E, R>): HttpApp.Default<E, R> =>
  Effect.flatMap(HttpServerRequest.HttpServerRequest, ({ headers }) => {
    if (token !== undefined) {
      const isGiven = isOneOf([token], tokenOf(headers["authorization"]))
      return Effect.if(isGiven, { onTrue: () => app, onFalse: () => unauthorized })
    }
    // The page of another site could reach this machine by a name of its own, and read what is served here.
    const url = `http://${headers["host"]}`
    return URL.canParse(url) && isLoopback(new URL(url).hostname) ? app : forbidden
  })

/** Three jobs of a model are enough for a rough time left. */
export const Learned = LearnedCadence.layer({ minSamples: 3 })

/** A queue on this machine, over HTTP. */
export const emulatedQueue = (options: Emulator.Options): Layer.Layer<JobQueue.JobQueue> =>
  Layer.effect(
    JobQueue.JobQueue,
    Effect.flatMap(Emulator.Emulator, ({ baseUrl }) => JobQueue.make({ baseUrl, apiKey: Redacted.make("any") }))
  ).pipe(
    Layer.provide([Emulator.layer(options), NodeHttpClient.layerUndici]),
    Layer.orDie // that there is no free port on this machine is as unexpected as a bug
  )

/** A queue on this machine, with simulated workers. */
export const EmulatedQueue = JobWatcher.layer().pipe(
  Layer.provideMerge(emulatedQueue({ workers: toPool(defaultProfile), retention: "10 minutes" })),
  Layer.provideMerge(Learned)
)

const models = ["my-org/video-generator", "my-org/upscaler", "my-org/music-generator"] as const

const submitAndWatch = Effect.gen(function*() {
  const model = yield* Random.choice(models)
  const job = yield* JobQueue.submit({ model, payload: {} })
  yield* JobStream.transitions(job).pipe(Stream.runDrain, Effect.ignoreLogged, forkScoped)
})

const simulatedJobs = Effect.zipRight(
  Effect.replicateEffect(submitAndWatch, 12, { discard: true }),
  Effect.schedule(submitAndWatch, Schedule.spaced("2 seconds"))
)

const options = {
  json,
  host,
  port: port(8080),
  isSimulated: Options.boolean("emulate").pipe(
    Options.withDescription("runs a queue on this machine, with simulated workers and jobs")
  )
}

/** The users of the page and the gateway must have the token. Without it, only this machine can reach them. */
type Settings = Command.Command.ParseConfig<typeof options> & { readonly token: Redacted.Redacted | undefined }

/**
 * Serves an app until the scope closes, and returns its URL for this machine. The app requires the token, or is for this
 * machine alone; the routes beside it are open.
 */
export const listen = <E, R, E2 = never, R2 = never>(
  { host, port, token }: Pick<Settings, "host" | "port" | "token">,
  app: HttpApp.Default<E, R>,
  open: HttpRouter.HttpRouter<E2, R2> = HttpRouter.empty
) =>
  Effect.gen(function*() {
    if (!isLoopback(host) && token === undefined) {
      return yield* Exit.usage(
        `--host ${host}: other machines could read the status and the outputs of jobs; set JOB_GATEWAY_TOKEN to a token ` +
          "that they must have"
      )
    }
    const { httpServer, origin } = yield* Effect.mapError(
      Server.listen(createServer(), { host, port }),
      Exit.fromServeError({ host, port })
    )
    yield* Effect.provideService(
      HttpServer.serveEffect(HttpRouter.mountApp(open, "/", guarded(token, app))),
      HttpServer.HttpServer,
      httpServer
    )
    return origin
  })

export const serve = (settings: Settings) =>
  Effect.gen(function*() {
    const context = yield* Layer.build(Layer.merge(Board.layer(), NodeGateway.layer))
    const url = yield* Effect.provide(listen(settings, app), context)
    yield* Console.error([
      `The board is at ${url}/, the gateway at ${url}/jobs.`,
      ...(settings.token ? ["Both ask for the token of JOB_GATEWAY_TOKEN; a browser, for a password."] : []),
      "Ctrl-C stops both; the jobs continue."
    ].join("\n"))
    yield* print(settings.json ? jsonLine({ board: `${url}/`, gateway: `${url}/jobs` }) : `${url}/`)
    if (settings.isSimulated) yield* Effect.provide(simulatedJobs, context)
    return yield* Effect.never
  }).pipe(Effect.scoped)

/** The token that the environment configures. */
export const token: Config.Config<Redacted.Redacted | undefined> = Config.nonEmptyString("JOB_GATEWAY_TOKEN").pipe(
  Config.map(Redacted.make),
  Config.withDefault(undefined)
)

export const command = Command.make(
  "serve",
  options,
  (options) => Effect.flatMap(token, (token) => serve({ ...options, token }))
).pipe(Command.withDescription(
  "Serves a page that shows jobs, and the gateway, by which other services, browsers and shells follow them. Prints the " +
    "address of the page when it is ready. With JOB_GATEWAY_TOKEN, both require this token."
))

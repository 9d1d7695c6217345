/**
 * The remote queue over HTTP for Node programs that poll often: the same service as `JobQueue.make`, with the same
 * errors, and polls that cost little more than the network.
 *
 * - All calls share one bounded pool of connections, which is closed with its scope.
 * - `status` uses the pool directly. A response that is byte for byte the same as the last one about the job is not
 *   decoded again: the same snapshot object is returned, so that a comparison by reference succeeds.
 * - A large response is requested with gzip, and decompressed outside of the main thread.
 * - A poll has a span only if the tracer is enabled; within a watch it is not.
 *
 * @since 0.1.0
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Undici from "@effect/platform-node/Undici"
import * as Config from "effect/Config"
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { checkCount, invalid, resolve, unwrap } from "../queue/internal/options.js"
import { makeStatus } from "../queue/internal/statusCall.js"
import { paths, readHeaders } from "../queue/internal/wire.js"
import * as JobQueue from "../queue/JobQueue.js"
import { PollRequest } from "./internal/pollRequest.js"

const defaultConnections = 64

/**
 * The options of `JobQueue.make`, and those of the connections.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends JobQueue.Options {
  /**
   * The maximum number of connections. Defaults to 64, which allows 1,280 requests a second with responses that take 50
   * ms. Calls wait for a free connection in order of arrival; the wait counts toward their `requestTimeout`.
   */
  readonly connections?: number | undefined
  /**
   * The dispatcher of undici that sends the requests, for example a `ProxyAgent`, or an `Agent` with its own
   * certificates. The caller closes it, and `connections` does not apply to it.
   *
   * Defaults to a pool of connections to the service, or, if `HTTPS_PROXY` or `HTTP_PROXY` is configured, to the proxy.
   * `NO_PROXY` lists the hosts that are reached directly.
   */
  readonly dispatcher?: Undici.Dispatcher | undefined
}

// As in curl, a proxy without a scheme speaks HTTP, and the names may be in lower case.
const proxy = (name: string): Config.Config<string> =>
  Config.string(name.toLowerCase()).pipe(
    Config.orElse(() => Config.string(name)),
    Config.withDefault(""),
    Config.map((url) => url === "" || url.includes("://") ? url : `http://${url}`),
    Config.mapOrFail((url) =>
      url === "" || (/^https?:/i.test(url) && URL.canParse(url))
        ? Either.right(url)
        // not the value: it may contain a password
        : Either.left(invalid(name)("the proxy must be a URL that begins with http:// or https://"))
    )
  )

const proxies = Config.all({
  httpProxy: proxy("HTTP_PROXY"),
  httpsProxy: proxy("HTTPS_PROXY"),
  noProxy: Config.string("no_proxy").pipe(Config.orElse(() => Config.string("NO_PROXY")), Config.withDefault(""))
})

// Bun replaces undici by a stub whose pools can neither send nor be closed.
const checkDispatcher = <A extends Undici.Dispatcher>(dispatcher: A): Either.Either<A, ConfigError.ConfigError> =>
  typeof dispatcher.dispatch === "function" && typeof dispatcher.destroy === "function"
    ? Either.right(dispatcher)
    : Either.left(ConfigError.Unsupported(
      ["dispatcher"],
      "the undici of this runtime can't send requests: use JobQueue.layer() with FetchHttpClient.layer instead"
    ))

const makeDispatcher = (
  origin: string,
  connections: number
): Effect.Effect<Undici.Dispatcher, ConfigError.ConfigError, Scope.Scope> =>
  Effect.flatMap(proxies, (proxies) =>
    Effect.acquireRelease(
      Effect.suspend(() =>
        checkDispatcher(
          proxies.httpProxy === "" && proxies.httpsProxy === ""
            ? new Undici.Pool(origin, { connections })
            : new Undici.EnvHttpProxyAgent({ ...proxies, connections })
        )
      ),
      (dispatcher) => Effect.promise(() => dispatcher.destroy())
    ))

/**
 * Creates the queue, with its own pool of connections, which is closed with the scope. Fails with a `ConfigError` if an
 * option is invalid; the error never contains the token.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<JobQueue.Service, ConfigError.ConfigError, Scope.Scope> =>
  Effect.gen(function*() {
    const settings = yield* resolve(options)
    const { apiKey, baseUrl, maxResponseBytes } = settings
    const connections = yield* checkCount("connections", options.connections ?? defaultConnections)
    const { origin, pathname } = new URL(baseUrl)
    const dispatcher = options.dispatcher === undefined
      ? yield* makeDispatcher(origin, connections)
      : yield* checkDispatcher(options.dispatcher)
    const path = `${pathname.replace(/\/$/, "")}${paths.status}`
    const headersWith = (headers: { readonly [name: string]: string }): Array<string> =>
      Object.entries({ authorization: `Bearer ${Redacted.value(apiKey)}`, ...readHeaders, ...headers }).flat()
    const plain = headersWith({})
    const compressed = headersWith({ "accept-encoding": "gzip" })
    return yield* JobQueue.makeOver(
      settings,
      NodeHttpClient.makeUndici(dispatcher),
      (connection) =>
        makeStatus<Undici.Dispatcher.DispatchOptions>(connection, (outcomes) => ({
          prepare: ({ model, requestId }) => ({
            method: "GET",
            origin,
            path: `${path}?${new URLSearchParams([["request_id", requestId], ["model", model]])}`,
            headers: plain,
            // replaced by our own timeout
            headersTimeout: 0,
            bodyTimeout: 0
          }),
          send: (entry, report) => {
            const request = new PollRequest(entry, outcomes, maxResponseBytes, report)
            dispatcher.dispatch(entry.isLarge ? { ...entry.request, headers: compressed } : entry.request, request)
            return request.stop
          }
        }))
    )
  })

/**
 * A layer of the queue. By default the token comes from `TOGETHER_API_KEY`, and the base URL, if set, from
 * `TOGETHER_BASE_URL`.
 *
 * @example
 * import { JobQueue } from "effect-queue-status"
 * import { NodeJobQueue } from "effect-queue-status/node"
 * import { Effect } from "effect"
 *
 * const main = JobQueue.metrics("my-org/video-generator").pipe(Effect.provide(NodeJobQueue.layer()))
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<JobQueue.JobQueue, ConfigError.ConfigError> =>
  Layer.scoped(JobQueue.JobQueue, make(options))

/**
 * A layer of the queue with options that are read from the configuration, as `JobQueue.layerConfig`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options> = {}
): Layer.Layer<JobQueue.JobQueue, ConfigError.ConfigError> =>
  Layer.scoped(JobQueue.JobQueue, Effect.flatMap(unwrap(options), make))

/**
 * Watches jobs through a gateway, another service of yours that polls them.
 *
 * The layers provide the same `JobWatcher` as a watcher that polls the remote service: programs do not change. Deadlines,
 * retries and cadences are those of the program; each of its polls is a short request to the gateway, which answers from
 * its own poller of the job.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { format } from "../model/Job.js"
import { QueueError } from "../model/QueueError.js"
import { withNoStore } from "../queue/internal/noStore.js"
import { resolveRequest, resolveToken, resolveUrl, unwrap } from "../queue/internal/options.js"
import * as Answer from "../queue/internal/response.js"
import { type Scrub, scrubber } from "../queue/internal/scrubber.js"
import { makeStatus } from "../queue/internal/statusCall.js"
import { statusOnly } from "../queue/internal/statusOnly.js"
import { overHttp } from "../queue/internal/statusOverHttp.js"
import { readHeaders } from "../queue/internal/wire.js"
import * as PollingWatcher from "../watch/internal/pollingWatcher.js"
import * as JobWatcher from "../watch/JobWatcher.js"

/**
 * The options of a watcher behind a gateway, and of its requests to the gateway.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends JobWatcher.Options {
  /** The URL of the gateway, with the prefix under which it is mounted: `https://jobs.example.com/jobs`. */
  readonly url: string
  /**
   * The token that `GatewayAccess.bearer` or `GatewayAccess.watchTokens` of the gateway accepts. Whitespace around it is
   * removed.
   */
  readonly token?: Redacted.Redacted | undefined
  /** The maximum duration of a request, headers and body. Defaults to 30 seconds. */
  readonly requestTimeout?: Duration.DurationInput | undefined
  /** The maximum size of a response body, in bytes, which includes the outputs of a job. Defaults to 64 MiB. */
  readonly maxResponseBytes?: number | undefined
}

const decodeError = Schema.decodeUnknownEither(QueueError)

const toError = (about: Answer.About, response: Answer.Response, scrub: Scrub): QueueError => {
  // the access of the gateway may repeat the token
  const error = Answer.decode(scrub(response.text), decodeError)
  if (Either.isRight(error)) return error.right
  // no gateway says this: it is not there, or a proxy answers in its place
  return response.httpStatus === 404
    ? Answer.undecoded(about, response, error.left, scrub)
    : Answer.fromRefusal(about, response, scrub)
}

/**
 * Creates a watcher that asks a gateway. Fails with a `ConfigError` if an option is invalid.
 *
 * A gateway cannot cancel a job. For a deadline with `cancel-pending`, provide a `JobQueue` as well, which the watcher then
 * uses for that; otherwise the error of the deadline reports that the job could not be canceled.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<JobWatcher.Service, ConfigError, HttpClient.HttpClient | Scope.Scope> =>
  Effect.gen(function*() {
    const url = yield* resolveUrl("url", options.url)
    const { maxResponseBytes, requestTimeout } = yield* resolveRequest(options)
    const token = options.token && (yield* resolveToken(["token"], options.token))
    const scrub = token === undefined ? identity : scrubber(token)
    const client = withNoStore(yield* HttpClient.HttpClient)
    const { status } = yield* makeStatus(
      { scrub, requestTimeout, maxResponseBytes, hasAnswered: false, toError },
      overHttp(
        { traced: HttpClient.withTracerDisabledWhen(client, () => true), untraced: client },
        maxResponseBytes,
        (job) =>
          HttpClientRequest.get(`/status?${new URLSearchParams({ job: format(job) })}`, { headers: readHeaders }).pipe(
            HttpClientRequest.prependUrl(url),
            token === undefined ? identity : HttpClientRequest.bearerToken(token)
          )
      )
    )
    return yield* PollingWatcher.make(yield* statusOnly("a gateway", status), options)
  })

/**
 * A watcher that asks a gateway.
 *
 * @example
 * import { JobStream } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { GatewayClient } from "effect-queue-status/gateway"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect, Layer, Stream } from "effect"
 *
 * const WatcherLive = GatewayClient.layer({ url: "http://127.0.0.1:8080/jobs" }).pipe(
 *   Layer.provide(FetchHttpClient.layer)
 * )
 *
 * const log = (job: Job.JobRef) =>
 *   JobStream.transitions(job).pipe(
 *     Stream.runForEach((transition) => Effect.log(transition._tag)),
 *     Effect.provide(WatcherLive)
 *   )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options): Layer.Layer<JobWatcher.JobWatcher, ConfigError, HttpClient.HttpClient> =>
  Layer.scoped(JobWatcher.JobWatcher, make(options))

/**
 * The same, with options that are read from the configuration.
 *
 * @example
 * import { GatewayClient } from "effect-queue-status/gateway"
 * import { Config } from "effect"
 *
 * const WatcherLive = GatewayClient.layerConfig({ url: Config.string("JOB_GATEWAY_URL") })
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options>
): Layer.Layer<JobWatcher.JobWatcher, ConfigError, HttpClient.HttpClient> =>
  Layer.scoped(JobWatcher.JobWatcher, Effect.flatMap(unwrap(options), make))

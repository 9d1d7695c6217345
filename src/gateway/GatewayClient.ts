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
import * as Config from "effect/Config"
import type { ConfigError } from "effect/ConfigError"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { format } from "../model/Job.js"
import type { JobRef, JobStatus } from "../model/Job.js"
import { InvalidRequest, QueueError, ResponseTimeout } from "../model/QueueError.js"
import type { Operation } from "../model/QueueError.js"
import { withNoStore } from "../queue/internal/noStore.js"
import { resolve } from "../queue/internal/options.js"
import { checkRef } from "../queue/internal/request.js"
import * as Answer from "../queue/internal/response.js"
import * as JobQueue from "../queue/JobQueue.js"
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
  /** The maximum duration of a request, headers and body. Defaults to 30 seconds. */
  readonly requestTimeout?: Duration.DurationInput | undefined
  /** The maximum size of a response body, in bytes, which includes the outputs of a job. Defaults to 64 MiB. */
  readonly maxResponseBytes?: number | undefined
}

const decodeResponse = Schema.decodeUnknownEither(Schema.Struct({ status: Schema.Unknown }))
const decodeSnapshot: Answer.Decode<JobStatus> = (json) =>
  Either.flatMap(decodeResponse(json), ({ status }) => Answer.decodeStatus(status))

const decodeError = Schema.decodeUnknownEither(QueueError)

const toStatus = (about: Answer.About, response: Answer.Response): Either.Either<JobStatus, QueueError> => {
  const isOk = Answer.isOk(response.httpStatus)
  const decoded = isOk
    ? Answer.decode(response.text, decodeSnapshot)
    : Either.flatMap(Answer.decode(response.text, decodeError), Either.left)
  if (Either.isRight(decoded)) return Either.right(decoded.right)
  const error = decoded.left
  if (error._tag !== "ParseError") return Either.left(error)
  // no gateway says this: it is not there, or a proxy answers in its place
  return Either.left(
    isOk || response.httpStatus === 404
      ? Answer.undecoded(about, response, error, identity)
      : Answer.fromRefusal(about, response, identity)
  )
}

const notHere = (operation: Operation, model: string, job?: JobRef) =>
  Effect.fail(
    new InvalidRequest({
      operation,
      model,
      ...(job !== undefined && { job }),
      detail: "a gateway serves the status of jobs alone: provide a JobQueue"
    })
  )

const statusOnly: Omit<JobQueue.Service, "status"> = {
  submit: ({ model }) => notHere("submit", model),
  cancel: (job) => notHere("cancel", job.model, job),
  clear: (model) => notHere("clear", model),
  metrics: (model) => notHere("metrics", model)
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
    const { baseUrl, maxResponseBytes, requestTimeout } = yield* resolve({
      apiKey: Redacted.make("unused"), // a gateway has no token of its own
      baseUrl: options.url,
      requestTimeout: options.requestTimeout,
      maxResponseBytes: options.maxResponseBytes
    })
    const client = (yield* HttpClient.HttpClient).pipe(
      HttpClient.mapRequest(HttpClientRequest.prependUrl(baseUrl)),
      withNoStore,
      HttpClient.withTracerDisabledWhen(() => true)
    )
    let hasAnswered = false
    const status = Effect.fnUntraced(function*(input: JobRef) {
      const job = yield* checkRef("status", input)
      const about: Answer.About = { operation: "status", model: job.model, job }
      return yield* client.get("/status", { urlParams: { job: format(job) } }).pipe(
        // a client that fails on a status code (`filterStatusOk`) still has a response
        Effect.catchTag("ResponseError", ({ response }) => Effect.succeed(response)),
        Effect.tap(() => {
          hasAnswered = true
        }),
        Effect.flatMap((response) => Answer.read(about, response, maxResponseBytes)),
        Effect.mapError((error) =>
          error._tag === "ResponseTooLarge"
            ? error
            : Answer.unreachable(about, error.cause, error.reason, hasAnswered, identity)
        ),
        Effect.flatMap((response) => toStatus(about, response)),
        Effect.timeoutFail({
          duration: requestTimeout,
          onTimeout: () => new ResponseTimeout({ ...about, after: requestTimeout })
        })
      )
    })
    const others = Option.getOrElse(yield* Effect.serviceOption(JobQueue.JobQueue), () => statusOnly)
    return yield* Effect.provideService(JobWatcher.make(options), JobQueue.JobQueue, { ...others, status })
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
  Layer.scoped(JobWatcher.JobWatcher, Effect.flatMap(Config.unwrap(options), make))

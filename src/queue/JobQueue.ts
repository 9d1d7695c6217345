/**
 * The remote queue as a service, and its layers over HTTP.
 *
 * Each call is made once: it succeeds, or fails with a `QueueError` that shows what to do. The caller retries where
 * that is safe; `JobStream` retries polls.
 *
 * @since 0.1.0
 */
import * as HttpBody from "@effect/platform/HttpBody"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import { type JobRef, type JobStatus, ref } from "../model/Job.js"
import { type QueueError, ResponseTimeout } from "../model/QueueError.js"
import { makeWithin } from "./internal/fiber.js"
import { outside, withNoStore } from "./internal/noStore.js"
import { type Options as QueueOptions, resolve, type Settings, unwrap } from "./internal/options.js"
import { checkModel, checkRef, checkSubmit, type Submit } from "./internal/request.js"
import * as Answer from "./internal/response.js"
import { scrubber } from "./internal/scrubber.js"
import { sendOnce } from "./internal/sendOnce.js"
import { annotate } from "./internal/span.js"
import { type Connection, makeStatus } from "./internal/statusCall.js"
import { overHttp } from "./internal/statusOverHttp.js"
import * as Wire from "./internal/wire.js"

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * A job to submit.
 *
 * @since 0.1.0
 * @category models
 */
export interface SubmitRequest extends Submit {}

/**
 * The result of a cancel. Only a pending job can be canceled; `NotCanceled` has the status of any other (`running`,
 * `done`, `failed`, or `canceled` if it was canceled before). Neither is an error.
 *
 * @since 0.1.0
 * @category models
 */
export type CancelResult = Data.TaggedEnum<{
  Canceled: {}
  NotCanceled: { readonly status: string }
}>

/**
 * Creates a `CancelResult`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const CancelResult = Data.taggedEnum<CancelResult>()

/**
 * The number of jobs of a model in the queue.
 *
 * @since 0.1.0
 * @category models
 */
export interface QueueMetrics {
  /** The number of running jobs. */
  readonly running: number
  /** The number of waiting jobs. */
  readonly waiting: number
  /** The sum of the two, as reported by the service. */
  readonly total: number
}

/**
 * The calls of the queue. Every implementation, over HTTP or in memory, fails in the same ways.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Returns a snapshot of a job. */
  readonly status: (job: JobRef) => Effect.Effect<JobStatus, QueueError>
  /**
   * Adds a job. The request is sent once, even if the HTTP client follows redirects or retries. A failed call may have
   * created a job: see `QueueError.mayHaveArrived`, and `JobRun.submit`, which handles that.
   */
  readonly submit: (request: SubmitRequest) => Effect.Effect<JobRef, QueueError>
  /** Cancels a pending job. Any other job is left unchanged. */
  readonly cancel: (job: JobRef) => Effect.Effect<CancelResult, QueueError>
  /** Cancels every pending job of a model, and returns their number. */
  readonly clear: (model: string) => Effect.Effect<number, QueueError>
  /** Returns the number of waiting and running jobs of a model. */
  readonly metrics: (model: string) => Effect.Effect<QueueMetrics, QueueError>
  /** How far the service's clock is ahead of ours, in milliseconds; 0 while it is not known to differ. @internal */
  readonly clockAhead?: (() => number) | undefined
}

/**
 * The remote queue.
 *
 * @example
 * import { JobQueue } from "effect-queue-status"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Effect, Layer } from "effect"
 *
 * const program = Effect.gen(function*() {
 *   const job = yield* JobQueue.submit({ model: "my-org/video-generator", payload: { prompt: "a cat at the piano" } })
 *   return yield* JobQueue.status(job)
 * })
 *
 * const main = program.pipe(Effect.provide(JobQueue.layer().pipe(Layer.provide(FetchHttpClient.layer))))
 *
 * @since 0.1.0
 * @category context
 */
export class JobQueue extends Context.Tag("effect-queue-status/JobQueue")<JobQueue, Service>() {}

// -----------------------------------------------------------------------------
// over HTTP
// -----------------------------------------------------------------------------

/**
 * The options of the queue over HTTP. Defaults come from the configuration or are constants.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options extends QueueOptions {}

/**
 * Creates the queue over the `HttpClient` in the context. Fails with a `ConfigError` if an option is invalid; the error
 * never contains the token.
 *
 * @example
 * import { JobQueue } from "effect-queue-status"
 * import { FetchHttpClient } from "@effect/platform"
 * import { Layer, Redacted } from "effect"
 *
 * const QueueLive = Layer.effect(
 *   JobQueue.JobQueue,
 *   JobQueue.make({ apiKey: Redacted.make("my-token"), requestTimeout: "10 seconds" })
 * ).pipe(Layer.provide(FetchHttpClient.layer))
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (options: Options = {}): Effect.Effect<Service, ConfigError.ConfigError, HttpClient.HttpClient> =>
  Effect.flatMap(
    resolve(options),
    (settings) => Effect.flatMap(HttpClient.HttpClient, (client) => makeOver(settings, client))
  )

/** Creates the queue over a client. `statusOver` replaces the status call over the same client. @internal */
export const makeOver = (
  { apiKey, baseUrl, maxResponseBytes, requestTimeout }: Settings,
  httpClient: HttpClient.HttpClient,
  statusOver?: (connection: Connection) => ReturnType<typeof makeStatus>
): Effect.Effect<Service> =>
  Effect.gen(function*() {
    const scrub = scrubber(apiKey)
    const connection = { scrub, requestTimeout, maxResponseBytes, hasAnswered: false, toError: Answer.fromRefusal }
    const untraced = withNoStore(httpClient)
    const client = untraced.pipe(
      // Trace ids stay private, and a span of the request would contain its token; our own spans suffice.
      HttpClient.withTracerPropagation(false),
      HttpClient.withTracerDisabledWhen(({ method }) => method === "GET")
    )

    const prepare = (request: HttpClientRequest.HttpClientRequest): HttpClientRequest.HttpClientRequest =>
      request.pipe(
        HttpClientRequest.prependUrl(baseUrl),
        HttpClientRequest.bearerToken(apiKey),
        HttpClientRequest.setHeaders(request.method === "GET" ? Wire.readHeaders : Wire.requestHeaders)
      )

    const { clockAhead, status } = yield* statusOver?.(connection) ?? makeStatus(
      connection,
      overHttp(
        { traced: client, untraced },
        maxResponseBytes,
        ({ model, requestId }) => prepare(get(Wire.paths.status, { request_id: requestId, model }))
      )
    )

    /** Sends a request and reads the whole response. */
    const respond = (about: Answer.About, request: HttpClientRequest.HttpClientRequest) =>
      Effect.gen(function*() {
        const response = yield* outside(Answer.execute(client, prepare(request)))
        connection.hasAnswered = true
        const { headers, status } = response
        const body = yield* Answer.readBody(response, headers, maxResponseBytes)
        if (body === undefined) return yield* Answer.tooLarge(about, status, maxResponseBytes)
        return yield* Answer.toResponse(status, headers, body)
      })

    /** Sends an encoded request, and decodes the response. A request that is not safe to repeat is sent once. */
    const call = <A>(
      about: Answer.About,
      request: HttpClientRequest.HttpClientRequest,
      decode: Answer.Decode<A>,
      decodeConflict?: Answer.Decode<A>
    ): Effect.Effect<A, QueueError> => {
      const exchange = (request.method === "GET" ? respond(about, request) : sendOnce(respond(about, request))).pipe(
        Effect.mapError((error) =>
          error._tag === "ResponseTooLarge"
            ? error
            : Answer.unreachable(about, error.cause, error.reason, connection.hasAnswered, scrub)
        ),
        Effect.flatMap((response) => {
          const { httpStatus, text } = response
          const expected = Answer.isOk(httpStatus) ? decode : httpStatus === 409 ? decodeConflict : undefined
          return expected === undefined
            ? Effect.fail(Answer.fromRefusal(about, response, scrub))
            : Either.mapLeft(Answer.decode(text, expected), (error) => Answer.undecoded(about, response, error, scrub))
        })
      )
      const onTimeout = Effect.failSync(() => new ResponseTimeout({ ...about, after: requestTimeout }))
      return Effect.flatMap(makeWithin, (within) => within(exchange, Duration.toMillis(requestTimeout), onTimeout))
    }

    return JobQueue.of({
      status,
      clockAhead,

      submit: Effect.fn("JobQueue.submit")(function*(input) {
        const request = yield* checkSubmit(input)
        yield* annotate(request.model)
        const { requestId } = yield* call(
          { operation: "submit", model: request.model },
          post(Wire.paths.submit, encodeSubmit(request)),
          decodeSubmitted
        )
        yield* annotate(request.model, requestId)
        return ref(request.model, requestId)
      }),

      cancel: Effect.fn("JobQueue.cancel")(function*(input) {
        const job = yield* checkRef("cancel", input)
        yield* annotate(job.model, job.requestId)
        return yield* call(
          { operation: "cancel", model: job.model, job },
          post(Wire.paths.cancel, encodeCancel(job)),
          decodeCanceled,
          decodeNotCanceled
        )
      }),

      clear: Effect.fn("JobQueue.clear")(function*(input) {
        const model = yield* checkModel("clear", input)
        yield* annotate(model)
        const { canceledCount } = yield* call(
          { operation: "clear", model },
          post(Wire.paths.clear, encodeClear({ model })),
          decodeCleared
        )
        return canceledCount
      }),

      metrics: Effect.fn("JobQueue.metrics")(function*(input) {
        const model = yield* checkModel("metrics", input)
        yield* annotate(model)
        return yield* call({ operation: "metrics", model }, get(Wire.paths.metrics, { model }), decodeMetrics)
      })
    })
  })

const get = (path: string, urlParams: { readonly [name: string]: string }) =>
  HttpClientRequest.get(`${path}?${new URLSearchParams(urlParams)}`)

const post = (path: string, json: string) =>
  HttpClientRequest.post(path, { body: HttpBody.text(json, "application/json") })

// checked values can be encoded
const encodeSubmit = Schema.encodeSync(Schema.parseJson(Wire.SubmitRequest))
const encodeCancel = Schema.encodeSync(Schema.parseJson(Wire.CancelRequest))
const encodeClear = Schema.encodeSync(Schema.parseJson(Wire.ClearRequest))

const decodeSubmitted = Schema.decodeUnknownEither(Wire.SubmitResponse)
const decodeCleared = Schema.decodeUnknownEither(Wire.ClearResponse)
const decodeMetrics = Schema.decodeUnknownEither(Wire.Metrics)

const isCanceled = Schema.decodeUnknownEither(Wire.CancelResponse)
const decodeCanceled: Answer.Decode<CancelResult> = (json) =>
  Either.map(isCanceled(json), () => CancelResult.Canceled())

const isRefused = Schema.decodeUnknownEither(Wire.CancelConflict)
const decodeNotCanceled: Answer.Decode<CancelResult> = (json) => Either.map(isRefused(json), CancelResult.NotCanceled)

/**
 * A layer of the queue. By default the token comes from `TOGETHER_API_KEY`, and the base URL, if set, from
 * `TOGETHER_BASE_URL`.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<JobQueue, ConfigError.ConfigError, HttpClient.HttpClient> => Layer.effect(JobQueue, make(options))

/**
 * A layer of the queue with options that are read from the configuration.
 *
 * @example
 * import { JobQueue } from "effect-queue-status"
 * import { Config } from "effect"
 *
 * const QueueLive = JobQueue.layerConfig({
 *   apiKey: Config.redacted("QUEUE_TOKEN"),
 *   requestTimeout: Config.duration("QUEUE_REQUEST_TIMEOUT").pipe(Config.withDefault("10 seconds"))
 * })
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (
  options: Config.Config.Wrap<Options> = {}
): Layer.Layer<JobQueue, ConfigError.ConfigError, HttpClient.HttpClient> =>
  Layer.effect(JobQueue, Effect.flatMap(unwrap(options), make))

// -----------------------------------------------------------------------------
// accessors
// -----------------------------------------------------------------------------

/**
 * Returns a snapshot of a job.
 *
 * @since 0.1.0
 * @category accessors
 */
export const status = (job: JobRef): Effect.Effect<JobStatus, QueueError, JobQueue> =>
  Effect.flatMap(JobQueue, (queue) => queue.status(job))

/**
 * Adds a job to the queue of its model, and returns its reference. The request is sent once: `JobRun.submit` retries
 * where that is safe, and reports if it is unknown whether there is a job.
 *
 * @since 0.1.0
 * @category accessors
 */
export const submit = (request: SubmitRequest): Effect.Effect<JobRef, QueueError, JobQueue> =>
  Effect.flatMap(JobQueue, (queue) => queue.submit(request))

/**
 * Cancels a pending job. Any other job is left unchanged, and its status is returned.
 *
 * @since 0.1.0
 * @category accessors
 */
export const cancel = (job: JobRef): Effect.Effect<CancelResult, QueueError, JobQueue> =>
  Effect.flatMap(JobQueue, (queue) => queue.cancel(job))

/**
 * Cancels every pending job of a model, and returns their number.
 *
 * @since 0.1.0
 * @category accessors
 */
export const clear = (model: string): Effect.Effect<number, QueueError, JobQueue> =>
  Effect.flatMap(JobQueue, (queue) => queue.clear(model))

/**
 * Returns the number of waiting and running jobs of a model.
 *
 * @since 0.1.0
 * @category accessors
 */
export const metrics = (model: string): Effect.Effect<QueueMetrics, QueueError, JobQueue> =>
  Effect.flatMap(JobQueue, (queue) => queue.metrics(model))

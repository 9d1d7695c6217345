/**
 * Sends the transitions of jobs to HTTP endpoints of others, as signed webhooks (https://www.standardwebhooks.com).
 *
 * A delivery is a job and the name of an endpoint. For each delivery:
 *
 * - Each transition is sent until the endpoint accepts it (2xx), in order: the next one is not sent before.
 * - A restart continues after the last accepted transition. The store has its cursor, and no message: the watch derives
 *   the transitions that are missing.
 * - A transition may be sent more than once, with the same `webhook-id`. Progress may be skipped.
 * - A delivery that stopped (`DeliveryError`) keeps its place. It continues after a restart, or when it is registered
 *   again.
 *
 * Where several processes share a store, each delivery is held by one of them; see `WebhookStore`.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import type * as Arr from "effect/Array"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { TaggedError } from "../model/internal/taggedError.js"
import { Millis } from "../model/internal/timestamp.js"
import { format, isName, JobRef } from "../model/Job.js"
import type { WatchError } from "../model/QueueError.js"
import * as Transition from "../model/Transition.js"
import { pauseOf } from "../policy/internal/pauses.js"
import { logDefects } from "../queue/internal/defects.js"
import { fork, forkIn, forkScoped, runtime as currentRuntime } from "../queue/internal/fiber.js"
import { outside, withNoStore } from "../queue/internal/noStore.js"
import { clip } from "../queue/internal/request.js"
import { execute, isOk, readBody, reasonOf } from "../queue/internal/response.js"
import { parseRetryAfter } from "../queue/internal/retryAfter.js"
import { Client } from "../queue/internal/webhookClient.js"
import * as JobStream from "../watch/JobStream.js"
import { JobWatcher } from "../watch/JobWatcher.js"
import { type Message, messageOf, requestOf } from "./internal/webhookMessage.js"
import { type Delivery, keyOf, OutboxError, WebhookStore } from "./WebhookStore.js"

/**
 * An attempt to send a transition failed: the endpoint did not accept it (`httpStatus`), or there was no response.
 *
 * @since 0.1.0
 * @category errors
 */
export class AttemptFailed extends TaggedError<AttemptFailed>()(
  "AttemptFailed",
  {
    endpoint: Schema.String,
    httpStatus: Schema.optional(Schema.Int),
    retryAfter: Schema.optional(Millis),
    reason: Schema.String
  },
  ({ endpoint, reason }) => `webhook endpoint ${endpoint}: ${reason}`
) {}

/**
 * A transition was given up: every attempt failed, and the retry policy ended. `lastError` is the error of the last
 * attempt.
 *
 * @since 0.1.0
 * @category errors
 */
export class DeliveryFailed extends TaggedError<DeliveryFailed>()(
  "DeliveryFailed",
  { endpoint: Schema.String, job: JobRef, attempts: Schema.Int, lastError: AttemptFailed },
  ({ attempts, job, lastError }) => `${format(job)}: given up after ${attempts} attempts: ${lastError.message}`
) {}

/**
 * The endpoint answered with 410, to this delivery or another one: nothing is sent to it until it is enabled.
 *
 * @since 0.1.0
 * @category errors
 */
export class EndpointDisabled extends TaggedError<EndpointDisabled>()(
  "EndpointDisabled",
  { endpoint: Schema.String },
  ({ endpoint }) => `webhook endpoint ${endpoint}: disabled, it answered 410`
) {}

/**
 * The app knows no endpoint of this name.
 *
 * @since 0.1.0
 * @category errors
 */
export class EndpointUnknown extends TaggedError<EndpointUnknown>()(
  "EndpointUnknown",
  { endpoint: Schema.String },
  ({ endpoint }) => `webhook endpoint ${endpoint}: unknown`
) {}

/**
 * Why a delivery stopped.
 *
 * @since 0.1.0
 * @category errors
 */
export type DeliveryError = DeliveryFailed | EndpointDisabled | EndpointUnknown | OutboxError | WatchError

/**
 * An endpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface Endpoint {
  /** The URL that the transitions are sent to. It appears in no error, log or span. */
  readonly url: string
  /**
   * The secrets, each in base64, with or without `whsec_` before it. Each one signs: while a secret is replaced, give the
   * new one and the old one, until the receiver has the new one.
   */
  readonly secrets: Arr.NonEmptyReadonlyArray<Redacted.Redacted>
}

/**
 * The options of webhooks.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Returns the endpoint of a name, or `None` if there is none (any more). It is called before each attempt: a new URL or
   * secret applies to the next one.
   */
  readonly endpoint: (name: string) => Effect.Effect<Option.Option<Endpoint>>
  /**
   * When to try again. No delay is shorter than a `Retry-After` or 50 milliseconds, or longer than a day. Defaults to
   * `defaultRetry`.
   */
  readonly retry?: Schedule.Schedule<unknown, AttemptFailed> | undefined
  /** The maximum duration of an attempt, up to the status of the response. Defaults to 20 seconds. */
  readonly timeout?: Duration.DurationInput | undefined
  /** Called when a delivery has stopped before the end of its job. Defaults to a warning in the log. */
  readonly onStopped?: ((error: DeliveryError, delivery: Delivery) => Effect.Effect<void>) | undefined
}

/**
 * The service that delivers webhooks.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /**
   * Begins to deliver the transitions of a job to an endpoint, from its first one, or continues a delivery that stopped.
   * Returns when the store has the delivery, which then survives a crash. It remains there until the endpoint has accepted
   * the last transition of the job.
   */
  readonly register: (job: JobRef, endpoint: string) => Effect.Effect<void, OutboxError>
  /** Ends a delivery, and removes it from the store. */
  readonly unregister: (job: JobRef, endpoint: string) => Effect.Effect<void, OutboxError>
  /** Enables an endpoint that answered 410, and continues its deliveries. */
  readonly enable: (endpoint: string) => Effect.Effect<void, OutboxError>
}

/**
 * The webhooks.
 *
 * @since 0.1.0
 * @category context
 */
export class Webhooks extends Context.Tag("effect-queue-status/Webhook/Webhooks")<Webhooks, Service>() {}

export { Client }

/**
 * The default retry policy: 6 retries, after pauses of 5 seconds, 5 minutes, 30 minutes, 2, 5 and 10 hours, plus or minus
 * a fifth.
 *
 * @since 0.1.0
 * @category constants
 */
export const defaultRetry: Schedule.Schedule<unknown, AttemptFailed> = Schedule.jittered(
  Schedule.fromDelays("5 seconds", "5 minutes", "30 minutes", "2 hours", "5 hours", "10 hours")
)

// Of a response to a webhook only the status counts. A short body is read so that the connection can be reused.
const maxResponseBytes = 64 * 1024

const withinLimits = <Out>(self: Schedule.Schedule<Out, AttemptFailed>) =>
  self.pipe(
    Schedule.passthrough,
    Schedule.modifyDelay(({ retryAfter = Duration.zero }, delay) =>
      Duration.millis(pauseOf(Duration.max(delay, retryAfter)))
    )
  )

const warn = (error: DeliveryError, { endpoint, job }: Delivery): Effect.Effect<void> =>
  Effect.logWarning(`webhooks of ${format(job)} to ${endpoint} stopped: ${error.message}`)

/** A call whose names every store can keep: what is no Unicode has no encoding. */
const withNames = (names: ReadonlyArray<string>, call: () => Effect.Effect<void, OutboxError>) =>
  Effect.uninterruptible(Effect.suspend(() =>
    names.every(isName)
      ? call()
      : new OutboxError({ reason: "a name must not be blank, and must be well-formed Unicode" })
  ))

/**
 * Creates the service, and continues the deliveries of the store. They stop when the scope is closed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options
): Effect.Effect<Service, OutboxError, JobWatcher | Client | WebhookStore | Scope.Scope> =>
  Effect.gen(function*() {
    const timeout = Duration.decode(options.timeout ?? "20 seconds")
    const retry = withinLimits(options.retry ?? defaultRetry)
    const onStopped = options.onStopped ?? warn
    const client = (yield* Client).pipe(withNoStore, HttpClient.withTracerDisabledWhen(() => true))
    const store = yield* WebhookStore
    const scope = yield* Scope.Scope
    const fibers = new Map<string, Fiber.RuntimeFiber<unknown>>()
    const watcher = yield* JobWatcher
    const runtime = yield* currentRuntime

    const attempt = Effect.fnUntraced(function*(delivery: Delivery, message: Message) {
      const { endpoint: name } = delivery
      const failed = (reason: string, response: Pick<AttemptFailed, "httpStatus" | "retryAfter"> = {}) =>
        new AttemptFailed({ endpoint: name, reason: clip(reason), ...response })
      const endpoint = yield* options.endpoint(name)
      if (Option.isNone(endpoint)) return yield* new EndpointUnknown({ endpoint: name })
      const request = yield* Effect.mapError(requestOf(message, endpoint.value), (reason) => failed(reason))
      const state = yield* store.check(delivery)
      if (state === "Lost") return yield* Effect.interrupt
      if (state === "Disabled") return yield* new EndpointDisabled({ endpoint: name })
      const response = yield* outside(execute(client, request)).pipe(
        Effect.mapError(({ cause, reason }) => failed(reasonOf(cause) ?? reason)),
        Effect.timeoutFail({
          duration: timeout,
          onTimeout: () => failed(`no response within ${Duration.format(timeout)}`)
        })
      )
      const { headers, status: httpStatus } = response
      if (httpStatus === 410) yield* store.disable(name)
      yield* Effect.ignore(Effect.timeout(readBody(response, headers, maxResponseBytes), timeout))
      if (isOk(httpStatus)) return
      if (httpStatus === 410) return yield* new EndpointDisabled({ endpoint: name })
      const retryAfter = Option.getOrUndefined(parseRetryAfter(headers, yield* Clock.currentTimeMillis))
      return yield* failed(`HTTP ${httpStatus}`, { httpStatus, ...(retryAfter !== undefined && { retryAfter }) })
    })

    const send = (delivery: Delivery, transition: Transition.Transition) =>
      Effect.suspend(() => {
        let attempts = 0
        return Effect.zipRight(Effect.sync(() => attempts++), attempt(delivery, messageOf(transition))).pipe(
          Effect.map(Either.right),
          // a value for now: the schedule is about failed attempts alone
          Effect.catchIf((error) => error._tag !== "AttemptFailed", (error) => Effect.succeed(Either.left(error))),
          Effect.retry(retry),
          Effect.mapError((lastError) => new DeliveryFailed({ ...delivery, attempts, lastError })),
          Effect.flatten
        )
      })

    const stopped = (error: DeliveryError, delivery: Delivery) =>
      // while the store fails, it cannot keep this
      Effect.ignore(store.stop(delivery)).pipe(
        // in a fiber of its own: it may register the delivery again
        Effect.zipRight(
          Effect.suspend(() => onStopped(error, delivery)).pipe(
            Effect.catchAllCause(logDefects("the onStopped of webhooks")),
            forkIn(scope)
          )
        ),
        Effect.uninterruptible
      )

    /** The fibers that send nothing more. What the store has of their deliveries changes before they end. */
    const ending = new WeakSet<object>()

    const deliver = (delivery: Delivery) =>
      Effect.suspend(() => store.accepted(delivery)).pipe(
        Effect.flatMap((accepted) =>
          Stream.runForEach(
            JobStream.transitions(delivery.job, { from: Option.getOrUndefined(accepted) }),
            (transition) =>
              Effect.zipRight(
                send(delivery, transition),
                // the store has no use for the cursor of the end
                Transition.isTerminal(transition) ? Effect.void : store.accept(delivery, transition.cursor)
              )
          )
        ),
        Effect.ensuring(Effect.withFiberRuntime((fiber) => Effect.sync(() => ending.add(fiber)))),
        Effect.flatMap(() => store.remove(delivery)),
        Effect.catchAll((error) => stopped(error, delivery)),
        // else the next `hold` would start it again
        Effect.tapDefect(() => Effect.ignore(store.stop(delivery))),
        Effect.catchAllCause(logDefects("a webhook delivery")),
        Effect.provideService(JobWatcher, watcher)
      )

    const begin = (key: string, delivery: Delivery) =>
      // not by the fiber of a call, whose references it would have
      Effect.uninterruptible(Effect.map(Fiber.join(fork(runtime, forkIn(scope)(deliver(delivery)))), (fiber) => {
        fibers.set(key, fiber)
        fiber.addObserver(() => fibers.delete(key))
      }))

    const end = (key: string) => Effect.suspend(() => Fiber.interrupt(fibers.get(key) ?? Fiber.void))

    const inTurn = (yield* Effect.makeSemaphore(1)).withPermits(1)

    /** Starts the deliveries that this process holds, and ends those that it does not. */
    const reconcile = inTurn(Effect.gen(function*() {
      // one that ends from here on may still be in what the store returns
      const running = new Set(fibers.keys())
      const held = new Map((yield* store.hold).map((delivery) => [keyOf(delivery), delivery]))
      for (const key of running) if (!held.has(key)) yield* end(key)
      for (const [key, delivery] of held) if (!running.has(key)) yield* begin(key, delivery)
    }))

    /** Starts what a call has let continue: a delivery may have stopped before the call, and its fiber not ended. */
    const start = Effect.suspend(() =>
      Effect.forEach(fibers.values(), (fiber) => ending.has(fiber) ? Fiber.await(fiber) : Effect.void, {
        discard: true
      })
    ).pipe(Effect.zipRight(reconcile))

    yield* reconcile
    if (Option.isSome(store.holdInterval)) {
      const interval = store.holdInterval.value
      yield* reconcile.pipe(
        Effect.timeoutFail({
          duration: interval,
          onTimeout: () => new OutboxError({ reason: `no response within ${Duration.format(interval)}` })
        }),
        Effect.tapError(({ message }) => Effect.logWarning(message)),
        Effect.tapErrorCause(logDefects("the store of the webhooks")),
        // other processes may soon hold the deliveries
        Effect.catchAllCause(() => Fiber.interruptAll(fibers.values())),
        Effect.schedule(Schedule.spaced(interval)),
        forkScoped
      )
    }
    return Webhooks.of({
      register: (job, endpoint) =>
        withNames([endpoint, job.model, job.requestId], () => Effect.zipRight(store.add({ job, endpoint }), start)),
      unregister: (job, endpoint) =>
        // in turn: until the store has removed the delivery, a registration of another one would start it again
        inTurn(
          withNames(
            [endpoint, job.model, job.requestId],
            () => Effect.zipRight(end(keyOf({ job, endpoint })), store.remove({ job, endpoint }))
          )
        ),
      enable: (endpoint) => withNames([endpoint], () => Effect.zipRight(store.enable(endpoint), start))
    })
  })

/**
 * A layer of the service.
 *
 * @example
 * import * as NodeContext from "@effect/platform-node/NodeContext"
 * import { JobWatcher } from "effect-queue-status"
 * import { Webhook, WebhookStore } from "effect-queue-status/gateway"
 * import { NodeJobQueue, NodeWebhookClient } from "effect-queue-status/node"
 * import { Config, Effect, Layer, Option } from "effect"
 *
 * const WebhooksLive = Layer.unwrapEffect(
 *   Effect.map(Config.redacted("WEBHOOK_SECRET"), (secret) =>
 *     Webhook.layer({
 *       endpoint: (name) =>
 *         Effect.succeed(
 *           name === "billing" ? Option.some({ url: "https://billing.example.com/jobs", secrets: [secret] }) : Option.none()
 *         )
 *     }))
 * ).pipe(
 *   Layer.provide(WebhookStore.layerFileSystem("webhooks")),
 *   Layer.provide([NodeContext.layer, NodeWebhookClient.layer()]),
 *   Layer.provide(JobWatcher.layer()),
 *   Layer.provide(NodeJobQueue.layer())
 * )
 *
 * const program = Webhook.register(
 *   { model: "my-org/video-generator", requestId: "019ba379-92da-71e4-ac40-d98059fd67c7" },
 *   "billing"
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options
): Layer.Layer<Webhooks, OutboxError, JobWatcher | Client | WebhookStore> => Layer.scoped(Webhooks, make(options))

/**
 * Begins to deliver the transitions of a job to an endpoint, or continues a delivery that stopped.
 *
 * @since 0.1.0
 * @category accessors
 */
export const register = (job: JobRef, endpoint: string): Effect.Effect<void, OutboxError, Webhooks> =>
  Effect.flatMap(Webhooks, (webhooks) => webhooks.register(job, endpoint))

/**
 * Ends a delivery, and removes it from the store.
 *
 * @since 0.1.0
 * @category accessors
 */
export const unregister = (job: JobRef, endpoint: string): Effect.Effect<void, OutboxError, Webhooks> =>
  Effect.flatMap(Webhooks, (webhooks) => webhooks.unregister(job, endpoint))

/**
 * Enables an endpoint that answered 410, and continues its deliveries.
 *
 * @since 0.1.0
 * @category accessors
 */
export const enable = (endpoint: string): Effect.Effect<void, OutboxError, Webhooks> =>
  Effect.flatMap(Webhooks, (webhooks) => webhooks.enable(endpoint))

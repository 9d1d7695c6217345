/**
 * The gateway as RPC: the events and snapshots of jobs for other Effect programs, decoded.
 *
 * The procedures are a group of `@effect/rpc`, so they can be served over HTTP or WebSockets, by themselves or merged with
 * those of an app. Use a serialization with framing, `RpcSerialization.layerNdjson`: another one sends a stream at its end.
 *
 * @since 0.1.0
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Rpc from "@effect/rpc/Rpc"
import * as RpcClient from "@effect/rpc/RpcClient"
import { RpcClientError } from "@effect/rpc/RpcClientError"
import * as RpcGroup from "@effect/rpc/RpcGroup"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Access } from "../gateway/GatewayAccess.js"
import { parseToken } from "../gateway/internal/request.js"
import { latest } from "../gateway/internal/snapshot.js"
import { slimErrorOf, slimStatus } from "../gateway/internal/view.js"
import { keyOf } from "../model/internal/jobKey.js"
import * as Job from "../model/Job.js"
import { AccessDenied, InvalidRequest, WatchError } from "../model/QueueError.js"
import * as Transition from "../model/Transition.js"
import { logDefects } from "../queue/internal/defects.js"
import { makeWithin } from "../queue/internal/fiber.js"
import { checkRef, clip, formatIssues } from "../queue/internal/request.js"
import * as JobStream from "../watch/JobStream.js"
import { JobWatcher } from "../watch/JobWatcher.js"

/**
 * A job, and the cursor of its last known transition.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Known = Schema.Struct({ job: Job.JobRef, from: Schema.optional(Transition.CursorFromString) })

/**
 * A job, and the cursor of its last known transition, if one is known.
 *
 * @since 0.1.0
 * @category models
 */
export type Known = typeof Known.Type

/**
 * What happens to the jobs of a watch: their transitions, the troubles of watching them, and that one can't be watched any
 * more.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Event = Schema.Union(JobStream.WatchEvent, JobStream.WatchFailed)

/**
 * An event of a watch.
 *
 * @since 0.1.0
 * @category models
 */
export type Event = JobStream.WatchEvent | JobStream.WatchFailed

const maxJobs = 1_000

/**
 * The procedures.
 *
 * - `Watch`: the events of up to 1,000 jobs, each from its cursor to its end. Fails with `AccessDenied` alone.
 * - `Snapshot`: the latest snapshot of a job; with a cursor, none if there is nothing after it. With a `wait` it comes as
 *   soon as there is something, or after the wait, a minute at most.
 *
 * @since 0.1.0
 * @category procedures
 */
export class Rpcs extends RpcGroup.make(
  Rpc.make("Watch", {
    payload: { jobs: Schema.NonEmptyArray(Known).pipe(Schema.maxItems(maxJobs)) },
    success: Event,
    error: AccessDenied,
    stream: true
  }),
  Rpc.make("Snapshot", {
    payload: { ...Known.fields, wait: Schema.optional(Schema.DurationFromMillis) },
    success: Schema.Option(Job.JobStatus),
    error: WatchError
  })
).prefix("JobGateway.") {}

/**
 * The options of the handlers.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * - `slim`: no `inputs`, no `outputs` before a job ends, no text of the service in errors. The default.
   * - `full`: everything.
   */
  readonly view?: "slim" | "full" | undefined
  /** Who may watch which job. Without it, everyone who reaches the server may watch every job. */
  readonly access?: Access | undefined
}

const slim = (event: Event): Event => {
  switch (event._tag) {
    case "Recovered":
      return event
    case "Trouble":
      return { ...event, error: slimErrorOf(event.error) }
    case "WatchFailed":
      return { ...event, error: slimErrorOf(event.error) }
    default:
      return { ...event, snapshot: slimStatus(event.snapshot) }
  }
}

/**
 * The handlers of the procedures. All clients share the pollers of the `JobWatcher`. The policy of a watch is that of the
 * app, `WatchPolicy.Default`.
 *
 * @example
 * import { JobQueue, JobWatcher } from "effect-queue-status"
 * import { GatewayRpc } from "effect-queue-status/rpc"
 * import { FetchHttpClient, HttpRouter } from "@effect/platform"
 * import { NodeHttpServer } from "@effect/platform-node"
 * import { RpcSerialization, RpcServer } from "@effect/rpc"
 * import { Layer } from "effect"
 * import { createServer } from "node:http"
 *
 * const WatcherLive = JobWatcher.layer().pipe(Layer.provide(JobQueue.layer()), Layer.provide(FetchHttpClient.layer))
 *
 * const main = HttpRouter.Default.serve().pipe(
 *   Layer.provide(RpcServer.layer(GatewayRpc.Rpcs).pipe(Layer.provide(GatewayRpc.layer()))),
 *   Layer.provide(RpcServer.layerProtocolHttp({ path: "/rpc" })),
 *   Layer.provide([RpcSerialization.layerNdjson, WatcherLive]),
 *   Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 8080 }))
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: Options = {}
): Layer.Layer<Rpc.ToHandler<RpcGroup.Rpcs<typeof Rpcs>>, never, JobWatcher> => {
  const { access = () => Effect.void, view = "slim" } = options
  const isSlim = view === "slim"
  return Rpcs.toLayer(Effect.map(JobWatcher, (watcher) =>
    Rpcs.of({
      "JobGateway.Watch": ({ jobs }, { headers }) => {
        const token = parseToken(headers["authorization"])
        const events = jobs.map(({ from, job }) =>
          JobStream.events(job, { from }).pipe(
            Stream.catchAll((error) => Stream.succeed<Event>({ _tag: "WatchFailed", job, error })),
            isSlim ? Stream.map(slim) : identity
          )
        )
        return Stream.fromEffect(Effect.forEach(jobs, ({ job }) => access(token, job), { discard: true })).pipe(
          Stream.flatMap(() => Stream.mergeAll(events, { concurrency: "unbounded" })),
          Stream.tapErrorCause(logDefects("a call of the gateway", token)),
          Stream.provideService(JobWatcher, watcher)
        )
      },
      "JobGateway.Snapshot": ({ from, job, wait = Duration.zero }, { headers }) => {
        const token = parseToken(headers["authorization"])
        return Effect.suspend(() => access(token, job)).pipe(
          Effect.zipRight(latest({ job, from }, wait)),
          Effect.map(Option.map(({ status }) => isSlim ? slimStatus(status) : status)),
          isSlim ? Effect.mapError(slimErrorOf) : identity,
          Effect.tapErrorCause(logDefects("a call of the gateway", token)),
          Effect.provideService(JobWatcher, watcher)
        )
      }
    })))
}

const broken = (message: string, cause?: unknown) => new RpcClientError({ reason: "Protocol", message, cause })

// that of `@effect/rpc` breaks a character which is sent in two parts, and fails for an event of more than 16 MiB
const ndjson = RpcSerialization.makeNdjson({ maxBufferSize: "unbounded" })
const serialization = RpcSerialization.RpcSerialization.of({
  ...ndjson,
  unsafeMake: () => {
    const decoder = new TextDecoder()
    const parser = ndjson.unsafeMake()
    return {
      ...parser,
      decode: (bytes) => parser.decode(typeof bytes === "string" ? bytes : decoder.decode(bytes, { stream: true }))
    }
  }
})

/**
 * Calls of the procedures over HTTP. An error response, such as that of a proxy, fails the call, and so does a response that
 * is not one of the procedures, or is cut off; `@effect/rpc` by itself would wait for ever, or die.
 *
 * @since 0.1.0
 * @category clients
 */
export const layerProtocolHttp = (
  options: {
    /** The URL of the procedures. */
    readonly url: string
  }
): Layer.Layer<RpcClient.Protocol, never, HttpClient.HttpClient> =>
  Layer.effect(
    RpcClient.Protocol,
    Effect.gen(function*() {
      const protocol = yield* RpcClient.makeProtocolHttp((yield* HttpClient.HttpClient).pipe(
        HttpClient.mapRequest(HttpClientRequest.prependUrl(options.url)),
        HttpClient.filterStatusOk
      ))
      return RpcClient.Protocol.of({
        ...protocol,
        send: (request) =>
          protocol.send(request).pipe(
            Effect.catchAllDefect((cause) => Effect.fail(broken("the response can't be read", cause))),
            // of no effect if the result of the call was in the response
            request._tag === "Request" ? Effect.zipRight(Effect.fail(broken("the response ended"))) : identity
          )
      })
    })
  ).pipe(Layer.provide(Layer.succeed(RpcSerialization.RpcSerialization, serialization)))

/**
 * There is no connection to the gateway. It is tried again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Disconnected {
  readonly _tag: "Disconnected"
  /** What happened, for a log. */
  readonly reason: string
}

/** Whether there is anything after the cursor. The server refuses the cursor of another job. */
const isOpen = ({ from, job }: Known): boolean => from?.phase !== "Ended" || !Transition.Cursor.isOf(from, job)

/** The client of the procedures, alone or merged with others. */
type Client = Pick<RpcClient.RpcClient<RpcGroup.Rpcs<typeof Rpcs>, RpcClientError>, "JobGateway">

// 0.5 s, 1 s, 2 s, … 30 s
const reconnect = Schedule.exponential("500 millis").pipe(
  Schedule.union(Schedule.spaced("30 seconds")),
  Schedule.jittered
)

/** The connection of a silent stream may be gone. Not `Stream.timeoutFail`, which waits for ever in an uninterruptible region. */
const whileEventsCome = <A, E>(events: Stream.Stream<A, E>): Stream.Stream<A, E | RpcClientError> =>
  Stream.fromPull(
    Effect.zipWith(Stream.toPull(events), makeWithin, (pull, within) =>
      Effect.mapError(
        within(Effect.mapError(pull, Option.getOrNull), 60_000, Effect.fail(broken("no event for a minute"))),
        Option.fromNullable
      ))
  )

// not the error itself: it holds the request, and with it the token
const reasonOf = (error: RpcClientError): string =>
  error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message

/**
 * Follows up to 1,000 jobs to their ends through breaks of the connection: calls `Watch` again, each job from its cursor.
 * No transition is missed or repeated. A connection without an event for a minute is replaced. Fails with `InvalidRequest`
 * if there are more jobs.
 *
 * @example
 * import type { Job } from "effect-queue-status"
 * import { GatewayRpc } from "effect-queue-status/rpc"
 * import { FetchHttpClient } from "@effect/platform"
 * import { RpcClient } from "@effect/rpc"
 * import { Effect, Layer, Stream } from "effect"
 *
 * const ProtocolLive = GatewayRpc.layerProtocolHttp({ url: "http://127.0.0.1:8080/rpc" }).pipe(
 *   Layer.provide(FetchHttpClient.layer)
 * )
 *
 * const log = (job: Job.JobRef) =>
 *   RpcClient.make(GatewayRpc.Rpcs).pipe(
 *     Effect.flatMap((client) => Stream.runForEach(GatewayRpc.follow(client, [{ job }]), ({ _tag }) => Effect.log(_tag))),
 *     Effect.scoped,
 *     Effect.provide(ProtocolLive)
 *   )
 *
 * @since 0.1.0
 * @category clients
 */
export const follow = (
  client: Client,
  jobs: Iterable<Known>
): Stream.Stream<Event | Disconnected, AccessDenied | InvalidRequest> =>
  Stream.unwrap(Effect.gen(function*() {
    const driver = yield* Schedule.driver(reconnect)
    const [refused, accepted] = yield* Effect.partition(
      Array.from(jobs).filter(isOpen),
      (known) =>
        checkRef("status", known.job).pipe(
          Effect.as(known),
          Effect.mapError((error): JobStream.WatchFailed => ({ _tag: "WatchFailed", job: known.job, error }))
        )
    )
    const open = new Map(accepted.map((known) => [keyOf(known.job), known]))
    if (open.size > maxJobs) {
      return yield* new InvalidRequest({ operation: "status", model: "", detail: "more than 1,000 jobs" })
    }
    const note = (event: Event) =>
      Effect.suspend(() => {
        const key = keyOf(event.job)
        if (event._tag === "WatchFailed") open.delete(key)
        else if ("cursor" in event) {
          if (Transition.isTerminal(event)) open.delete(key)
          else open.set(key, { job: event.job, from: event.cursor })
        }
        return driver.reset
      })
    const connect = (jobs: Arr.NonEmptyReadonlyArray<Known>): Stream.Stream<Event | Disconnected, AccessDenied> =>
      client.JobGateway.Watch({ jobs }).pipe(
        whileEventsCome,
        Stream.tap(note),
        Stream.concat(Stream.fail(broken("the stream ended"))),
        Stream.catchSomeCause((cause) =>
          Cause.isInterruptedOnly(cause)
            ? Option.some(Stream.fail(broken("the server interrupted the stream")))
            : Option.map(
              Option.filter(Cause.dieOption(cause), ParseResult.isParseError),
              (error) => Stream.fail(broken(`the response can't be read: ${clip(formatIssues(error))}`))
            )
        ),
        Stream.catchTag("RpcClientError", (error) =>
          open.size === 0 ? Stream.empty : Stream.concat(
            Stream.succeed<Disconnected>({ _tag: "Disconnected", reason: reasonOf(error) }),
            Stream.execute(Effect.ignore(driver.next(undefined)))
          ))
      )
    // one connection after the other: each inside the one before would keep all of them
    const connections = Effect.sync(() => Array.from(open.values())).pipe(
      Effect.filterOrFail(Arr.isNonEmptyArray, () => Option.none()),
      Stream.repeatEffectOption
    )
    return Stream.concat(Stream.fromIterable(refused), Stream.flatMap(connections, connect))
  }))

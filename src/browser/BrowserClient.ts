/**
 * Follows jobs through a gateway, in browsers and other runtimes with `fetch`, without Effect and without dependencies.
 *
 * @since 0.1.0
 */
// @effect-diagnostics asyncFunction:off extendsNativeError:off
import { eventStream } from "./internal/eventStream.js"

/**
 * The reference of a job.
 *
 * @since 0.1.0
 * @category models
 */
export interface JobRef {
  /** The model. */
  readonly model: string
  /** The request id. */
  readonly requestId: string
}

/**
 * The tag of an error: those of `QueueError` in `effect-queue-status` that end a watch, and those of a request.
 *
 * @since 0.1.0
 * @category errors
 */
export type ErrorTag =
  | "AccessDenied"
  | "InvalidCursor"
  | "InvalidRequest"
  | "JobMismatch"
  | "JobNotFound"
  | "PendingTooLong"
  | "RateLimited"
  | "ResponseTimeout"
  | "ResponseTooLarge"
  | "RouteNotFound"
  | "Stalled"
  | "Unavailable"
  | "UnexpectedResponse"
  | "UnrecognizedStatus"
  | "Unreachable"
  | "WatchTimeout"

/**
 * An error as the gateway reports it, with more fields of its kind.
 *
 * @since 0.1.0
 * @category errors
 */
export interface ErrorDetails {
  readonly _tag: ErrorTag
  /** The error as a sentence. */
  readonly message: string
  /** The other fields. */
  readonly [field: string]: unknown
}

/**
 * The jobs can't be followed. An `UnexpectedResponse` without `details` is that of something else than a gateway: a proxy,
 * or a page at the URL.
 *
 * @since 0.1.0
 * @category errors
 */
export class WatchError extends Error {
  /**
   * @since 0.1.0
   */
  override readonly name = "WatchError"

  constructor(
    readonly _tag: ErrorTag,
    message: string,
    /** The status of the response; none if the watch failed later. */
    readonly httpStatus?: number,
    /** What the gateway reports. */
    readonly details?: ErrorDetails
  ) {
    super(message)
  }
}

interface OfJob {
  /** The job. */
  readonly job: JobRef
}

/** The fields of every transition. */
interface TransitionBase extends OfJob {
  /** The number of the last claim, 0 before the first one. */
  readonly attempt: number
  /** When the transition happened, by the clock of the service, if reported: an ISO date. */
  readonly at?: string | undefined
  /** When the gateway saw it: an ISO date. */
  readonly observedAt: string
  /** Whether the gateway has seen the state, or the job must have passed through it. */
  readonly evidence: "observed" | "inferred"
  /** The cursor of the job after the transition. */
  readonly cursor: string
  /** The position of the watch after the transition, for `from`: the cursors of all its jobs. */
  readonly id: string
  /** The snapshot of the job, if the gateway shows clients everything. */
  readonly snapshot?: { readonly [field: string]: unknown }
}

/**
 * The `info` of the running job changed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Progressed extends TransitionBase {
  readonly _tag: "Progressed"
  /** The progress as a fraction from 0 to 1, if the worker reports one. */
  readonly progress?: number | undefined
  /** The entries of `info` that have changed. */
  readonly changed: { readonly [name: string]: unknown }
}

/**
 * The worker was lost, and the job went back to the queue.
 *
 * @since 0.1.0
 * @category models
 */
export interface Requeued extends TransitionBase {
  readonly _tag: "Requeued"
  /** How many more times the job may go back to the queue. */
  readonly retriesLeft: number
}

/**
 * The job is done.
 *
 * @since 0.1.0
 * @category models
 */
export interface Completed extends TransitionBase {
  readonly _tag: "Completed"
  /** The outputs of the model. */
  readonly outputs: { readonly [name: string]: unknown }
}

/**
 * The model failed the job.
 *
 * @since 0.1.0
 * @category models
 */
export interface FailedByModel extends TransitionBase {
  readonly _tag: "FailedByModel"
  /** Why the job failed, if its worker reports that. */
  readonly reason?: string | undefined
}

/**
 * The job entered a state that the gateway does not know.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unrecognized extends TransitionBase {
  readonly _tag: "Unrecognized"
  /** The state. */
  readonly status: string
}

/**
 * The job was submitted, claimed by a worker, or has ended without a result.
 *
 * @since 0.1.0
 * @category models
 */
export interface StateChanged extends TransitionBase {
  readonly _tag: "Queued" | "Claimed" | "RetriesExhausted" | "Canceled"
}

/**
 * A step in the history of a job.
 *
 * @since 0.1.0
 * @category models
 */
export type Transition = StateChanged | Progressed | Requeued | Completed | FailedByModel | Unrecognized

/**
 * The gateway can't see the job, for a reason that may pass.
 *
 * @since 0.1.0
 * @category models
 */
export interface Trouble extends OfJob {
  readonly _tag: "Trouble"
  /** The last error. */
  readonly error: ErrorDetails
  /** When the trouble began: an ISO date. */
  readonly since: string
  /** When the gateway tries again: an ISO date. */
  readonly nextTryAt: string
}

/**
 * The trouble has passed.
 *
 * @since 0.1.0
 * @category models
 */
export interface Recovered extends OfJob {
  readonly _tag: "Recovered"
  /** When the trouble began: an ISO date. */
  readonly since: string
}

/**
 * One of several jobs can't be watched. The others continue.
 *
 * @since 0.1.0
 * @category models
 */
export interface WatchFailed extends OfJob {
  readonly _tag: "WatchFailed"
  /** Why it can't be watched. */
  readonly error: ErrorDetails
}

/**
 * The gateway is connected, for the first time or again.
 *
 * @since 0.1.0
 * @category models
 */
export interface Connected {
  readonly _tag: "Connected"
}

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
  /** The pause before the next try, in milliseconds. */
  readonly retryIn: number
}

/**
 * What happens to the jobs and to the connection.
 *
 * @since 0.1.0
 * @category models
 */
export type WatchEvent = Transition | Trouble | Recovered | WatchFailed | Connected | Disconnected

/**
 * Which jobs to follow, and how.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /** The URL of the gateway, with the prefix under which it is mounted: `/jobs`. */
  readonly url: string
  /** The name of a job, `MODEL/REQUEST_ID`, or of up to 20. */
  readonly job: string | ReadonlyArray<string>
  /** The `id` of the last known transition of these jobs. The watch continues with the next one. */
  readonly from?: string | undefined
  /** The token that the gateway accepts, or a function that returns one for each connection. It is sent in a header. */
  readonly token?: string | (() => string | Promise<string>) | undefined
  /** Ends the watch and its request; the iteration then throws the reason. */
  readonly signal?: AbortSignal | undefined
  /**
   * For how long a connection may be silent before it is taken for broken, in milliseconds. It should be longer than the
   * heartbeat of the gateway. Defaults to 45,000.
   */
  readonly maxSilence?: number | undefined
}

// a longer timer fires at once
const longestTimer = 2 ** 31 - 1

const isDetails = (body: unknown): body is ErrorDetails =>
  typeof body === "object" && body !== null && "_tag" in body && "message" in body

const mayPass = (status: number) => status >= 500 || status === 408 || status === 425 || status === 429

// the gateway is busy, or has a defect, which its next version may not have
const passing: ReadonlyArray<string> = ["TooManyConnections", "InternalError"]

const toError = (status: number, body: unknown): WatchError | undefined =>
  isDetails(body)
    ? passing.includes(body._tag) ? undefined : new WatchError(body._tag, body.message, status, body)
    // not the gateway
    : mayPass(status)
    ? undefined
    : new WatchError("UnexpectedResponse", `no gateway responds at this URL: HTTP ${status}`, status)

/**
 * Follows jobs to their ends, over one connection. It connects again after a break, and sees no transition twice and misses
 * none.
 *
 * Throws a `WatchError` if the gateway refuses the request or, of a single job, if that can't be watched any more. A break
 * of the connection, an error response of a proxy, and a gateway that is busy or has a defect are no errors: they are tried
 * again until the signal aborts, with pauses of up to 30 seconds. Options that can't be right are: a `TypeError` for the URL,
 * the token and `from`, a `RangeError` for `maxSilence`.
 *
 * The gateway needs the view `slim` or `full`.
 *
 * @example
 * import { watch } from "effect-queue-status/browser"
 *
 * const follow = async (job: string, show: (text: string) => void) => {
 *   for await (const event of watch({ url: "/jobs", job })) {
 *     if (event._tag === "Progressed") show(`${Math.round(100 * (event.progress ?? 0))} %`)
 *     if (event._tag === "Completed") show(String(event.outputs["video_url"]))
 *   }
 * }
 *
 * @since 0.1.0
 * @category streams
 */
export async function* watch(
  { from, job, maxSilence = 45_000, signal = new AbortController().signal, token, url }: Options
): AsyncGenerator<WatchEvent, void, undefined> {
  if (!(maxSilence > 0)) throw new RangeError(`maxSilence is ${maxSilence}: it must be positive`)
  // one that is named twice is one job
  const jobs = Array.from(new Set(typeof job === "string" ? [job] : job))
  const notices = eventStream({
    url: `${url.replace(/\/$/, "")}/events?${new URLSearchParams(jobs.map((job) => ["job", job]))}`,
    from,
    token: () => typeof token === "function" ? token() : token,
    signal,
    maxSilence: Math.min(maxSilence, longestTimer),
    toError
  })
  for await (const notice of notices) {
    if (notice._tag !== "Event") {
      yield notice
      continue
    }
    if (notice.name === "end") return
    const event = notice.data as WatchEvent // the gateway's
    if (event._tag === "WatchFailed" && jobs.length === 1) {
      throw new WatchError(event.error._tag, event.error.message, undefined, event.error)
    }
    yield notice.id === undefined ? event : { ...event, id: notice.id } as WatchEvent
  }
}

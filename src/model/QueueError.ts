/**
 * What can go wrong between us and the queue: one class for each decision that a caller can take.
 *
 * | error | what to do |
 * | --- | --- |
 * | `InvalidRequest` | mend the request |
 * | `AccessDenied` | mend the token, or its rights |
 * | `JobNotFound` | look for the job elsewhere; it is not here (yet, or any more) |
 * | `RateLimited` | wait for `retryAfter`, then try again |
 * | `Unavailable` | try again later |
 * | `Unreachable` | look at the network, try again later; with `transient: false`, correct a setting first |
 * | `ResponseTimeout` | try again, or allow more time |
 * | `ResponseTooLarge` | allow longer responses (`maxResponseBytes`), or keep large outputs elsewhere |
 * | `UnexpectedResponse` | try again later (not a submit); if it stays, report it: the service does not follow its API |
 *
 * None of them holds the request that was sent, and the token never appears in one, not even where the service repeats
 * it in its answer.
 *
 * One that has ended a watch also has what the watch knew of the job (`lastSeen`), and the message of the error before it
 * (`previousError`). A call by itself knows neither. The snapshot in `lastSeen` is as the service told it.
 *
 * Logs show an error in a short form, which has the state of a snapshot in place of the snapshot; so do `console.log`
 * and `JSON.stringify`. The schemas encode all of it: use them to store or send one.
 *
 * @since 0.1.0
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"
import { TaggedError } from "./internal/taggedError.js"
import { Millis, TimeText } from "./internal/timestamp.js"
import { format, JobRef, JobStatus } from "./Job.js"

/**
 * The call that met the error.
 *
 * @since 0.1.0
 * @category models
 */
export type Operation = typeof Operation.Type

/**
 * @since 0.1.0
 * @category schemas
 */
export const Operation = Schema.Literal("status", "submit", "cancel", "clear", "metrics")

/**
 * What a watch last saw of its job before an error ended it: the last snapshot (`status`), how old that is (`age`), and
 * which attempt it was (`attempt`; 0 before the first claim).
 *
 * @since 0.1.0
 * @category models
 */
export interface LastSeen extends Schema.Schema.Type<typeof LastSeen> {}

/**
 * @since 0.1.0
 * @category schemas
 */
export const LastSeen = Schema.Struct({ status: JobStatus, age: Millis, attempt: Schema.NonNegativeInt })

// What was asked. `job` is there when the call was about one. What comes after it is there when the error has ended a
// watch: what that had seen of the job, if anything, and what the trouble before this one said, if there was any.
const about = {
  operation: Operation,
  model: Schema.String,
  job: Schema.optional(JobRef),
  lastSeen: Schema.optional(LastSeen),
  previousError: Schema.optional(Schema.String)
}

// What the service said of itself: its error body (WIRE: code, message, param, type) and two headers.
const said = {
  code: Schema.optional(Schema.String),
  type: Schema.optional(Schema.String),
  param: Schema.optional(Schema.String),
  detail: Schema.optional(Schema.String),
  httpRequestId: Schema.optional(Schema.String),
  retryAfter: Schema.optional(Millis)
}

const answer = { ...about, httpStatus: Schema.Int, ...said }

const sighting = ({ age, status }: LastSeen): string =>
  `last seen ${status._tag.toLowerCase()} ${Duration.format(age)} ago`

const sentence = (
  error: {
    readonly operation: string
    readonly model: string
    readonly job?: JobRef | undefined
    readonly lastSeen?: LastSeen | undefined
    readonly httpStatus?: number | undefined
    readonly param?: string | undefined
    readonly detail?: string | undefined
    readonly httpRequestId?: string | undefined
    readonly retryAfter?: Duration.Duration | undefined
  },
  what: string
): string => {
  const facts = [
    ...(error.httpStatus === undefined ? [] : [`HTTP ${error.httpStatus}`]),
    ...(error.param === undefined ? [] : [`parameter ${error.param}`]),
    ...(error.retryAfter === undefined ? [] : [`retry after ${Duration.format(error.retryAfter)}`]),
    ...(error.httpRequestId === undefined ? [] : [`request ${error.httpRequestId}`]),
    ...(error.lastSeen === undefined ? [] : [sighting(error.lastSeen)])
  ]
  const subject = error.job === undefined ? error.model : format(error.job)
  return `${error.operation} ${subject}: ${what}${facts.length === 0 ? "" : ` (${facts.join(", ")})`}${
    error.detail === undefined ? "" : `: ${error.detail}`
  }`
}

/**
 * The request is wrong and will stay so: HTTP 400, 413 or 422, or, without `httpStatus`, refused before anything was
 * sent. `detail` says what is wrong with it.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidRequest extends TaggedError<InvalidRequest>()(
  "InvalidRequest",
  { ...about, httpStatus: Schema.optional(Schema.Int), ...said },
  (error) =>
    sentence(error, error.httpStatus === undefined ? "not sent, the request is invalid" : "the request is invalid")
) {}

/**
 * The token is missing, unknown, or may not do this: HTTP 401 or 403.
 *
 * @since 0.1.0
 * @category errors
 */
export class AccessDenied extends TaggedError<AccessDenied>()(
  "AccessDenied",
  answer,
  (error) => sentence(error, "the service does not accept this token")
) {}

/**
 * The service knows no such job or model: HTTP 404. Right after a submit this may be replication lag.
 *
 * @since 0.1.0
 * @category errors
 */
export class JobNotFound extends TaggedError<JobNotFound>()(
  "JobNotFound",
  answer,
  (error) =>
    sentence(error, error.job === undefined ? "the service knows no such model" : "the service knows no such job")
) {}

/**
 * Too many requests: HTTP 429. `retryAfter` is how long the service asked to be left alone, if it said so.
 *
 * @since 0.1.0
 * @category errors
 */
export class RateLimited extends TaggedError<RateLimited>()(
  "RateLimited",
  answer,
  (error) => sentence(error, "too many requests")
) {}

/**
 * The service, or what stands before it, can't answer now: HTTP 408 and 5xx (501 and 505 are `UnexpectedResponse`).
 *
 * @since 0.1.0
 * @category errors
 */
export class Unavailable extends TaggedError<Unavailable>()(
  "Unavailable",
  answer,
  (error) => sentence(error, "the service is not available")
) {}

/**
 * No response, or not the whole of one: the name did not resolve, the connection was refused, the certificate is not
 * trusted, or the connection broke before the response was complete.
 *
 * - `sent` is `false` if the request is known not to have been sent, because no connection was established. Otherwise it
 *   may have arrived.
 * - `transient` is `false` if this stays until a setting is corrected: the certificate is not trusted, or the port does
 *   not speak TLS.
 *
 * @since 0.1.0
 * @category errors
 */
export class Unreachable extends TaggedError<Unreachable>()(
  "Unreachable",
  {
    ...about,
    reason: Schema.String,
    sent: Schema.optional(Schema.Literal(false)),
    transient: Schema.optional(Schema.Literal(false))
  },
  (error) => sentence(error, `no answer from the service: ${error.reason}`)
) {}

/**
 * No whole answer, headers and body, came within `after`. The request may have arrived.
 *
 * @since 0.1.0
 * @category errors
 */
export class ResponseTimeout extends TaggedError<ResponseTimeout>()(
  "ResponseTimeout",
  { ...about, after: Millis },
  (error) => sentence(error, `no whole answer within ${Duration.format(error.after)}`)
) {}

/**
 * The body of the response is longer than `maxBytes` (the option `maxResponseBytes`), and was not read further. Not
 * transient: the same call gets the same body. Raise the limit, or keep large outputs elsewhere and only their URL in the
 * job.
 *
 * @since 0.1.0
 * @category errors
 */
export class ResponseTooLarge extends TaggedError<ResponseTooLarge>()(
  "ResponseTooLarge",
  { ...about, httpStatus: Schema.Int, maxBytes: Schema.Int },
  (error) => sentence(error, `the response is longer than ${error.maxBytes} bytes`)
) {}

/**
 * An answer that this version of the library does not understand: a body of another shape than the API's, or a status
 * code that is not part of it. `issue` says what is odd; `body` is what came, its first 2,000 characters.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnexpectedResponse extends TaggedError<UnexpectedResponse>()(
  "UnexpectedResponse",
  { ...answer, issue: Schema.String, body: Schema.String },
  (error) => sentence(error, `an answer that makes no sense: ${error.issue}`)
) {}

/**
 * Whatever a call to the queue can fail with.
 *
 * @example
 * import { JobQueue, QueueError } from "effect-queue-status"
 * import type { Job } from "effect-queue-status"
 * import { Effect } from "effect"
 *
 * const exists = (job: Job.JobRef) =>
 *   JobQueue.status(job).pipe(
 *     Effect.as(true),
 *     Effect.catchTag("JobNotFound", () => Effect.succeed(false)),
 *     Effect.retry({ times: 3, while: QueueError.isTransient })
 *   )
 *
 * @since 0.1.0
 * @category errors
 */
export type QueueError =
  | InvalidRequest
  | AccessDenied
  | JobNotFound
  | RateLimited
  | Unavailable
  | Unreachable
  | ResponseTimeout
  | ResponseTooLarge
  | UnexpectedResponse

/**
 * The schema of every `QueueError`, so that errors travel over RPC and storage as what they are.
 *
 * @since 0.1.0
 * @category schemas
 */
export const QueueError = Schema.Union(
  InvalidRequest,
  AccessDenied,
  JobNotFound,
  RateLimited,
  Unavailable,
  Unreachable,
  ResponseTimeout,
  ResponseTooLarge,
  UnexpectedResponse
)

/**
 * @since 0.1.0
 * @category guards
 */
export const isQueueError: (u: unknown) => u is QueueError = Schema.is(QueueError)

/**
 * Whether the call may have taken effect although it failed. It has not if the service refused it with a status code
 * that its API has for a refusal (400, 401, 403, 404, 413, 422, 429, and 503 with `Retry-After`), or if the request was
 * not sent. After any other response, and without one, it is not known.
 *
 * @since 0.1.0
 * @category guards
 */
export const mayHaveArrived = (error: QueueError): boolean => {
  switch (error._tag) {
    case "InvalidRequest":
    case "AccessDenied":
    case "JobNotFound":
    case "RateLimited":
      return false
    case "Unavailable":
      return !(error.httpStatus === 503 && error.retryAfter !== undefined)
    case "Unreachable":
      return error.sent !== false
    case "ResponseTimeout":
    case "ResponseTooLarge":
    case "UnexpectedResponse":
      return true
  }
}

/**
 * Whether the same request may succeed later, and may be sent again: `RateLimited`, `Unavailable`, `Unreachable` (unless
 * `transient` is `false`), `ResponseTimeout` and `UnexpectedResponse`: what stands before a service that is in trouble
 * answers with an error page, an empty body, or half of one. It is `false` for a submit that may have arrived
 * (`mayHaveArrived`): sent again, it may make a second job.
 *
 * @since 0.1.0
 * @category guards
 */
export const isTransient = (error: QueueError): boolean => {
  switch (error._tag) {
    case "InvalidRequest":
    case "AccessDenied":
    case "JobNotFound":
    case "ResponseTooLarge":
      return false
    case "Unreachable":
      return error.transient !== false && isRepeatable(error)
    case "RateLimited":
    case "Unavailable":
    case "ResponseTimeout":
    case "UnexpectedResponse":
      return isRepeatable(error)
  }
}

const isRepeatable = (error: QueueError): boolean => error.operation !== "submit" || !mayHaveArrived(error)

// -----------------------------------------------------------------------------
// what only a submit can meet
// -----------------------------------------------------------------------------

/**
 * It is not known whether the submit made a job: the request was sent, and what came back does not tell. It is not sent
 * again, as that might make a second job, which is paid for as well.
 *
 * - `key`: what the job, if there is one, has in its `info` as `client_key`: by it the job can be told from others where
 *   its worker, its outputs or the service's own pages show it.
 * - `at`: when the request was sent, by our clock.
 * - `error`: what came of it. Without it, the journal knows that a program sent the request and ended before it could
 *   note what came of it.
 *
 * @since 0.1.0
 * @category errors
 */
export class SubmitUncertain extends TaggedError<SubmitUncertain>()(
  "SubmitUncertain",
  { model: Schema.String, key: Schema.String, at: TimeText, error: Schema.optional(QueueError) },
  (error) =>
    `submit ${error.model}: it is not known whether there is a job (key ${error.key}, sent at ${
      DateTime.formatIso(error.at)
    }): ${error.error === undefined ? "whoever sent it ended before the answer came" : error.error.message}`
) {}

/**
 * The journal of submits (`SubmitJournal`) can't be read or written. A submit that meets this was not sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class JournalError extends TaggedError<JournalError>()(
  "JournalError",
  { key: Schema.String, operation: Schema.Literal("get", "set", "remove"), reason: Schema.String },
  (error) => `the journal of submits, ${error.operation} ${error.key}: ${error.reason}`
) {}

/**
 * Everything that `JobRun.submit` can fail with: an error of the call, that it is not known whether there is a job, or an
 * error of the journal.
 *
 * @since 0.1.0
 * @category errors
 */
export type SubmitError = QueueError | SubmitUncertain | JournalError

/**
 * The schema of every `SubmitError`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const SubmitError = Schema.Union(QueueError, SubmitUncertain, JournalError)

// -----------------------------------------------------------------------------
// what only a watch can meet
// -----------------------------------------------------------------------------

/**
 * The job is in a state that this version of the library does not know. `status` is what the service said, word for
 * word, and `snapshot` all that it said of the job.
 *
 * @since 0.1.0
 * @category errors
 */
export class UnrecognizedStatus extends TaggedError<UnrecognizedStatus>()(
  "UnrecognizedStatus",
  { job: JobRef, status: Schema.String, snapshot: JobStatus },
  (error) =>
    `${format(error.job)}: the service says ${JSON.stringify(error.status)}, which is no state that is known here`
) {}

/**
 * The snapshot is of a job, `job`, that was not asked for (`expected` is), or the cursor is not of this job.
 *
 * @since 0.1.0
 * @category errors
 */
export class JobMismatch extends TaggedError<JobMismatch>()(
  "JobMismatch",
  { job: JobRef, expected: Schema.optional(JobRef) },
  (error) =>
    `${format(error.job)}: ${
      error.expected === undefined
        ? "the cursor is of another job"
        : `the service answers for this job, asked for ${format(error.expected)}`
    }`
) {}

/**
 * A text that is no cursor of this library, or not a whole one.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidCursor extends TaggedError<InvalidCursor>()(
  "InvalidCursor",
  { text: Schema.String, issue: Schema.String },
  (error) => `not a cursor: ${error.issue}: ${JSON.stringify(error.text)}`
) {}

// What is known when a deadline of a watch has passed: what the watch had seen of the job, the last trouble that the polls
// met since then, and what came of canceling the job, where that was asked for.
const expired = {
  job: JobRef,
  after: Millis,
  lastSeen: Schema.optional(LastSeen),
  lastError: Schema.optional(Schema.suspend(() => QueueError)),
  cancel: Schema.optional(Schema.String)
}

const expiry = (
  error: {
    readonly job: JobRef
    readonly lastSeen?: LastSeen | undefined
    readonly lastError?: QueueError | undefined
    readonly cancel?: string | undefined
  },
  what: string
): string => {
  const { lastSeen } = error
  const facts = [
    lastSeen === undefined ? "never seen" : sighting(lastSeen),
    ...(lastSeen === undefined || lastSeen.attempt === 0 ? [] : [`attempt ${lastSeen.attempt}`]),
    ...(error.lastError === undefined ? [] : [`last trouble: ${error.lastError.message}`]),
    ...(error.cancel === undefined ? [] : [`cancel: ${error.cancel}`])
  ]
  return `${format(error.job)}: ${what} (${facts.join("; ")})`
}

/**
 * The job has waited in the queue for longer than `Deadline.pending` allows.
 *
 * @since 0.1.0
 * @category errors
 */
export class PendingTooLong extends TaggedError<PendingTooLong>()(
  "PendingTooLong",
  expired,
  (error) => expiry(error, `no worker has claimed the job for ${Duration.format(error.after)}`)
) {}

/**
 * The job runs, and nothing of it has changed for longer than `Deadline.stalled` allows.
 *
 * @since 0.1.0
 * @category errors
 */
export class Stalled extends TaggedError<Stalled>()(
  "Stalled",
  expired,
  (error) => expiry(error, `the job is running, and nothing has changed for ${Duration.format(error.after)}`)
) {}

/**
 * The job has not ended within the time that the watch was given (`Deadline.total`).
 *
 * @since 0.1.0
 * @category errors
 */
export class WatchTimeout extends TaggedError<WatchTimeout>()(
  "WatchTimeout",
  expired,
  (error) => expiry(error, `the job has not ended within ${Duration.format(error.after)}`)
) {}

/**
 * A deadline of a watch has passed. The job goes on, unless `cancel` says that it was canceled.
 *
 * @since 0.1.0
 * @category errors
 */
export type DeadlineError = PendingTooLong | Stalled | WatchTimeout

/**
 * Whatever can end a watch before its job does.
 *
 * @since 0.1.0
 * @category errors
 */
export type WatchError = QueueError | UnrecognizedStatus | JobMismatch | DeadlineError

/**
 * The schema of every `WatchError`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const WatchError = Schema.Union(
  QueueError,
  UnrecognizedStatus,
  JobMismatch,
  PendingTooLong,
  Stalled,
  WatchTimeout
)

// -----------------------------------------------------------------------------
// outcomes, for those who want the outputs or nothing
// -----------------------------------------------------------------------------

/**
 * The model failed the job; it was not tried again. `reason` is what the worker said, if it said anything.
 *
 * @since 0.1.0
 * @category outcomes
 */
export class JobFailed extends TaggedError<JobFailed>()(
  "JobFailed",
  { job: JobRef, reason: Schema.optional(Schema.String), snapshot: JobStatus },
  (error) => `${format(error.job)}: the model failed the job: ${error.reason ?? "no reason was given"}`
) {}

/**
 * Every worker that had the job was lost, and no retry is left.
 *
 * @since 0.1.0
 * @category outcomes
 */
export class JobRetriesExhausted extends TaggedError<JobRetriesExhausted>()(
  "JobRetriesExhausted",
  { job: JobRef, attempts: Schema.Int, snapshot: JobStatus },
  (error) => `${format(error.job)}: given up by the service after ${error.attempts} lost attempts`
) {}

/**
 * The job was canceled before a worker had it.
 *
 * @since 0.1.0
 * @category outcomes
 */
export class JobCanceled extends TaggedError<JobCanceled>()(
  "JobCanceled",
  { job: JobRef, snapshot: JobStatus },
  (error) => `${format(error.job)}: the job was canceled`
) {}

/**
 * The job is done, and its outputs are not what the schema says. Nothing is lost: `snapshot` has them.
 *
 * @since 0.1.0
 * @category outcomes
 */
export class InvalidOutputs extends TaggedError<InvalidOutputs>()(
  "InvalidOutputs",
  { job: JobRef, issue: Schema.String, snapshot: JobStatus },
  (error) => `${format(error.job)}: the job is done, its outputs are not as expected: ${error.issue}`
) {}

/**
 * How a job can end without the outputs that were asked for.
 *
 * @since 0.1.0
 * @category outcomes
 */
export type OutcomeError = JobFailed | JobRetriesExhausted | JobCanceled | InvalidOutputs

/**
 * The schema of every `OutcomeError`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const OutcomeError = Schema.Union(JobFailed, JobRetriesExhausted, JobCanceled, InvalidOutputs)

/**
 * Everything that can come between a request and the outputs: an error of the submit, of the watch, or the outcome of the
 * job.
 *
 * @since 0.1.0
 * @category errors
 */
export type RunError = SubmitError | WatchError | OutcomeError

/**
 * The schema of every `RunError`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const RunError = Schema.Union(SubmitError, WatchError, OutcomeError)

/**
 * The errors of the queue: one class for each decision that a caller can take. The page `docs/errors.md` has a table of
 * them, and what to do after each.
 *
 * No error contains the request. The token never appears in one, even if the service repeats it in its response.
 *
 * An error that ended a watch also has the last snapshot of the job (`lastSeen`, as the service sent it) and the
 * message of the error before it (`previousError`). The error of a single call has neither.
 *
 * Logs, `console.log` and `JSON.stringify` show a short form, with the state of a snapshot in place of the snapshot.
 * The schemas encode every field: use them to store or send an error.
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
 * The call that failed.
 *
 * @since 0.1.0
 * @category models
 */
export type Operation = typeof Operation.Type

/**
 * The schema of an `Operation`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Operation = Schema.Literal("status", "submit", "cancel", "clear", "metrics")

/**
 * The last snapshot of a job (`status`) before an error ended its watch, its age (`age`), and its attempt (`attempt`; 0
 * before the first claim).
 *
 * @since 0.1.0
 * @category models
 */
export interface LastSeen extends Schema.Schema.Type<typeof LastSeen> {}

/**
 * The schema of a `LastSeen`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const LastSeen = Schema.Struct({ status: JobStatus, age: Millis, attempt: Schema.NonNegativeInt })

// The call. `job` is set if the call was about one. `lastSeen` and `previousError` are set if the error ended a watch:
// the last snapshot, and the message of the error before this one, if any.
const about = {
  operation: Operation,
  model: Schema.String,
  job: Schema.optional(JobRef),
  lastSeen: Schema.optional(LastSeen),
  previousError: Schema.optional(Schema.String)
}

// With the error body of the service (WIRE: code, message, param, type) and two of its headers. The status is missing
// if the request was not sent.
const refusal = {
  ...about,
  httpStatus: Schema.optional(Schema.Int),
  code: Schema.optional(Schema.String),
  type: Schema.optional(Schema.String),
  param: Schema.optional(Schema.String),
  detail: Schema.optional(Schema.String),
  httpRequestId: Schema.optional(Schema.String),
  retryAfter: Schema.optional(Millis)
}

const answer = { ...refusal, httpStatus: Schema.Int }

const sighting = ({ age, status }: LastSeen): string =>
  `last seen ${status._tag.toLowerCase()} ${Duration.format(age)} ago`

const sentence = (
  error: Schema.Struct.Type<typeof about> & Partial<Schema.Struct.Type<typeof refusal>>,
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
 * The request is invalid: HTTP 400, 413 or 422, or, without `httpStatus`, rejected before it was sent. `detail` has the
 * reason. The same request fails again.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidRequest extends TaggedError<InvalidRequest>()(
  "InvalidRequest",
  refusal,
  (error) =>
    sentence(error, error.httpStatus === undefined ? "not sent, the request is invalid" : "the request is invalid")
) {}

/**
 * The token is missing, unknown, or lacks the permission: HTTP 401 or 403.
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
 * The service does not know the job or the model: HTTP 404. Right after a submit this may be replication lag.
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
 * Too many requests: HTTP 429. `retryAfter` is the pause that the service asked for, if any.
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
 * The service, or a proxy in front of it, is not available: HTTP 408 and 5xx (501 and 505 are `UnexpectedResponse`).
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
 * No complete response arrived: the name did not resolve, the connection was refused, the certificate is not trusted,
 * or the connection broke before the response was complete.
 *
 * - `sent` is `false` if the request was certainly not sent, because no connection was established. Otherwise it may
 *   have arrived.
 * - `transient` is `false` if the error stays until a setting is corrected: the certificate is not trusted, or the port
 *   does not speak TLS.
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
 * The response, headers and body, was not complete within `after`. The request may have arrived.
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
 * The body of the response is longer than `maxBytes` (the option `maxResponseBytes`); the rest was not read. Not
 * transient: the same call gets the same body. Raise the limit, or keep large outputs elsewhere and only their URL in
 * the job.
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
 * This version of the library does not understand the response: the body does not match the API, or the status code is
 * not part of it. `issue` is the reason; `body` has the first 2,000 characters of the body.
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
 * Every error of a call to the queue.
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
 * The schema of every `QueueError`, to send errors over RPC or store them.
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
 * Returns whether a value is a `QueueError`.
 *
 * @since 0.1.0
 * @category guards
 */
export const isQueueError: (u: unknown) => u is QueueError = Schema.is(QueueError)

/**
 * Returns whether the failed call, or submit, may have taken effect. It has not if the service rejected it with a status
 * code that its API has for that (400, 401, 403, 404, 413, 422, 429, and 503 with `Retry-After`), or if the request was
 * not sent. After any other response, or none, it is unknown.
 *
 * Of a submit it returns whether there may be a job. It does not take the errors of a run, which may have a job after
 * every error of its watch: the run reports that job as a `JobRun.Release`.
 *
 * @since 0.1.0
 * @category guards
 */
export const mayHaveArrived = (error: SubmitError): boolean => {
  switch (error._tag) {
    case "InvalidRequest":
    case "AccessDenied":
    case "JobNotFound":
    case "RateLimited":
    case "JournalError":
      return false
    case "Unavailable":
      return !(error.httpStatus === 503 && error.retryAfter !== undefined)
    case "Unreachable":
      return error.sent !== false
    default:
      return true
  }
}

/**
 * Returns whether the failed call may succeed later and is safe to repeat: after `RateLimited`, `Unavailable`,
 * `Unreachable` (unless `transient` is `false`), `ResponseTimeout`, and `UnexpectedResponse`, because a proxy in front
 * of a failing service may respond with an error page, an empty body, or half of one. Returns `false` for a submit that
 * may have arrived (`mayHaveArrived`, `SubmitUncertain`): sent again, it may create a second job.
 *
 * Returns `false` for all other errors of a watch or a run: a deadline is the decision to give up, an outcome does not
 * change, and a journal must be repaired. An error of a call that ended a watch is transient, although its `Retry` has
 * ended: the watch can be repeated. To repeat a run, give it a key, and provide a `SubmitJournal`: a run whose watch
 * failed may have a job that is running, and the next run continues with it. Without them, it submits another job.
 *
 * @example
 * import { JobRun, QueueError } from "effect-queue-status"
 * import { Effect, Schedule } from "effect"
 *
 * // with a `SubmitJournal` in the context
 * const video = JobRun.run({ model: "my-org/video-generator", payload: { order: 17 } }, { key: "order-17" }).pipe(
 *   Effect.retry({ while: QueueError.isTransient, schedule: Schedule.spaced("5 minutes"), times: 12 })
 * )
 *
 * @since 0.1.0
 * @category guards
 */
export const isTransient = (error: RunError): boolean => {
  switch (error._tag) {
    case "Unreachable":
      return error.transient !== false && isRepeatable(error)
    case "RateLimited":
    case "Unavailable":
    case "ResponseTimeout":
    case "UnexpectedResponse":
      return isRepeatable(error)
    default:
      return false
  }
}

const isRepeatable = (error: QueueError): boolean => error.operation !== "submit" || !mayHaveArrived(error)

// -----------------------------------------------------------------------------
// errors of a submit
// -----------------------------------------------------------------------------

/**
 * It is unknown whether the submit created a job: the request was sent, and the response does not show it. The request
 * is not sent again, because that might create a second job, which is billed too.
 *
 * - `key`: the `client_key` in the `info` of the job, if there is one. It identifies the job at its worker, in its
 *   outputs, or on the service's own pages.
 * - `at`: when the request was sent, by our clock.
 * - `error`: the error of the request. Without it, the journal has an entry of a program that sent the request and
 *   ended before it recorded the result.
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
    }): ${error.error === undefined ? "the program that sent it ended before the response" : error.error.message}`
) {}

/**
 * The journal of submits (`SubmitJournal`) can't be read or written. The submit was not sent.
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
 * Every error of `JobRun.submit`: an error of the call, an unknown outcome, or an error of the journal.
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
// errors of a watch
// -----------------------------------------------------------------------------

/**
 * The job is in a state that this version of the library does not know. `status` is the state exactly as reported, and
 * `snapshot` the whole snapshot.
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
 * The snapshot is of another job (`job`) than the requested one (`expected`), or the cursor is not of this job.
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
 * The text is not a valid cursor.
 *
 * @since 0.1.0
 * @category errors
 */
export class InvalidCursor extends TaggedError<InvalidCursor>()(
  "InvalidCursor",
  { text: Schema.String, issue: Schema.String },
  (error) => `not a cursor: ${error.issue}: ${JSON.stringify(error.text)}`
) {}

const Cancel = Schema.Union(
  Schema.TaggedStruct("Canceled", {}),
  Schema.TaggedStruct("NotCanceled", { status: Schema.String }),
  QueueError
)

// The fields of a deadline error: the last snapshot, the last error of the polls since then, and the result or the error
// of canceling the job, if that was requested.
const expired = {
  job: JobRef,
  after: Millis,
  lastSeen: Schema.optional(LastSeen),
  lastError: Schema.optional(QueueError),
  cancel: Schema.optional(Cancel)
}

const outcomeOf = (cancel: typeof Cancel.Type): string =>
  "message" in cancel ? cancel.message : "status" in cancel ? `not canceled, it is ${cancel.status}` : "canceled"

const expiry = (error: Schema.Struct.Type<typeof expired>, what: string): string => {
  const { lastSeen } = error
  const facts = [
    lastSeen === undefined ? "never seen" : sighting(lastSeen),
    ...(lastSeen === undefined || lastSeen.attempt === 0 ? [] : [`attempt ${lastSeen.attempt}`]),
    ...(error.lastError === undefined ? [] : [`last trouble: ${error.lastError.message}`]),
    ...(error.cancel === undefined ? [] : [`cancel: ${outcomeOf(error.cancel)}`])
  ]
  return `${format(error.job)}: ${what} (${facts.join("; ")})`
}

/**
 * The job waited in the queue for longer than `Deadline.pending` allows.
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
 * The running job did not change for longer than `Deadline.stalled` allows.
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
 * The job did not end within the time of the watch (`Deadline.total`).
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
 * A deadline of a watch has passed. The job continues, unless `cancel` reports that it was canceled.
 *
 * @since 0.1.0
 * @category errors
 */
export type DeadlineError = PendingTooLong | Stalled | WatchTimeout

/**
 * Every error that can end a watch before its job ends.
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
// outcomes
// -----------------------------------------------------------------------------

/**
 * The model failed the job, and it was not retried. `reason` is the reason that the worker reported, if any.
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
 * Every worker that claimed the job was lost, and no retries are left.
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
 * The job was canceled before a worker claimed it.
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
 * The job is done, but its outputs do not match the schema. `snapshot` has the outputs.
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
 * Every outcome without the expected outputs.
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
 * Every error between a request and its outputs: of the submit, of the watch, or the outcome of the job.
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

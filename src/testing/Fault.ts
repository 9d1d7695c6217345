/**
 * What can go wrong between a program and the queue, as values: what happens, and to which calls.
 *
 * A fault is what happens on the wire, an answer or the lack of one. What the program gets of it is what the client over
 * HTTP makes of it: the typed error, the message, the time until it gives up.
 *
 * Unless it says otherwise a fault happens to every call. Each condition that is added narrows that, and looks only at
 * the calls that those before it have let through. Where several faults happen to one call, the first is the outermost.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Option from "effect/Option"
import * as Pipeable from "effect/Pipeable"
import * as Predicate from "effect/Predicate"
import * as Job from "../model/Job.js"
import type { Operation } from "../model/QueueError.js"
import type { Call } from "./Call.js"
import * as Refusal from "./internal/errorResponses.js"
import { sample } from "./internal/seededRandom.js"
import type { Timing } from "./Worker.js"

const TypeId: unique symbol = Symbol.for("effect-queue-status/testing/Fault")

// -----------------------------------------------------------------------------
// models
// -----------------------------------------------------------------------------

/**
 * What happens to a call.
 *
 * - `Answer`: this is the answer, and nothing has been done.
 * - `Disconnect`: there is no answer, since the connection broke, or was refused, and nothing has been done.
 * - `Hang`: there will never be an answer, and nothing has been done.
 * - `AnswerLost`: what was asked for has been done, but `instead` of its answer another fault happens.
 * - `Wait`: first this, then what would have happened.
 * - `CutOff`: the body of the answer breaks off half way, or stalls there for ever.
 * - `Snapshot`: the answer is about the job as it was `behind` ago, and changed. Only of calls of `status`.
 *
 * @since 0.1.0
 * @category models
 */
export type Disturbance = Data.TaggedEnum<{
  Answer: { readonly status: number; readonly headers: { readonly [name: string]: string }; readonly body: string }
  Disconnect: { readonly reason: string; readonly code: string }
  Hang: {}
  AnswerLost: { readonly instead: Disturbance }
  Wait: { readonly wait: (random: () => number) => Effect.Effect<void> }
  CutOff: { readonly how: "breaks" | "stalls" }
  Snapshot: { readonly behind: Duration.Duration; readonly change: (status: Job.JobStatus) => Job.JobStatus }
}>

const Disturbance = Data.taggedEnum<Disturbance>()

/**
 * To which calls a fault happens.
 *
 * - `Where`: to those of which this is so.
 * - `Nth`: to those from the `from`th to the `to`th, 1 for the first.
 * - `Share`: to this part of them, from 0 to 1, by a seeded chance.
 * - `During`: to those that are made so long after the queue was, or later, and before `to`.
 * - `OverRate`: to those that come when so many others did not happen to it within that time before.
 *
 * @since 0.1.0
 * @category models
 */
export type Condition = Data.TaggedEnum<{
  Where: { readonly label: string; readonly predicate: (call: Call) => boolean }
  Nth: { readonly from: number; readonly to: number }
  Share: { readonly fraction: number }
  During: { readonly from: Duration.Duration; readonly to: Duration.Duration }
  OverRate: { readonly calls: number; readonly per: Duration.Duration }
}>

const Condition = Data.taggedEnum<Condition>()

/**
 * Something that goes wrong, and when.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fault extends Pipeable.Pipeable {
  /** Marks a fault, for `isFault`. */
  readonly [TypeId]: typeof TypeId
  /** What happens, in words. */
  readonly label: string
  /** What happens and when, in words. */
  readonly toString: () => string
  /** What happens to a call. */
  readonly disturbance: Disturbance
  /**
   * The calls that it happens to: those that meet all of these, each of which looks only at what those before it let
   * through.
   */
  readonly conditions: ReadonlyArray<Condition>
}

/**
 * @since 0.1.0
 * @category guards
 */
export const isFault = (u: unknown): u is Fault => Predicate.hasProperty(u, TypeId)

const describe = (condition: Condition): string =>
  Condition.$match(condition, {
    Where: ({ label }) => label,
    Nth: ({ from, to }) => from === to ? `call ${from}` : `calls ${from} to ${to}`,
    Share: ({ fraction }) => `${fraction * 100} % of the calls`,
    OverRate: ({ calls, per }) => `over ${calls} calls in ${Duration.format(per)}`,
    During: ({ from, to }) => `from ${Duration.format(from)} to ${Duration.format(to)}`
  })

const make = (label: string, disturbance: Disturbance, conditions: ReadonlyArray<Condition> = []): Fault => ({
  ...Pipeable.Prototype,
  [TypeId]: TypeId,
  label,
  disturbance,
  conditions,
  toString() {
    return [label, ...conditions.map(describe)].join(", ")
  }
})

const add = (self: Fault, condition: Condition): Fault =>
  make(self.label, self.disturbance, [...self.conditions, condition])

// -----------------------------------------------------------------------------
// what happens
// -----------------------------------------------------------------------------

/**
 * The service answers with this, and does nothing. `body` is sent as it is when it is a text, else as JSON.
 *
 * @example
 * import { Fault } from "effect-queue-status/testing"
 *
 * const teapot = Fault.answer(418, { message: "I am a teapot" }, { "x-request-id": "req-1" })
 *
 * @since 0.1.0
 * @category answers
 */
export const answer = (
  status: number,
  body: string | Job.JsonObject = "",
  headers: { readonly [name: string]: string } = {}
): Fault =>
  make(
    "retry-after" in headers ? `HTTP ${status} (Retry-After: ${headers["retry-after"]})` : `HTTP ${status}`,
    typeof body === "string"
      ? Disturbance.Answer({ status, headers, body })
      : Disturbance.Answer({
        status,
        headers: { "content-type": "application/json", ...headers },
        body: JSON.stringify(body)
      })
  )

// `Retry-After` is in whole seconds, its sister of some gateways is not.
const retryAfterHeaders = (retryAfter: Duration.DurationInput | undefined): { readonly [name: string]: string } => {
  if (retryAfter === undefined) return {}
  const millis = Math.ceil(Duration.toMillis(retryAfter))
  return {
    "retry-after": String(Math.ceil(millis / 1000)),
    ...(millis % 1000 !== 0 && { "retry-after-ms": String(millis) })
  }
}

/**
 * Too many requests: HTTP 429, with `Retry-After` where a time is given. `RateLimited` for the program.
 *
 * @since 0.1.0
 * @category answers
 */
export const rateLimited = (retryAfter?: Duration.DurationInput): Fault =>
  answer(
    429,
    { code: "rate_limit_exceeded", type: "rate_limit_error", message: "too many requests" },
    retryAfterHeaders(retryAfter)
  )

/**
 * The service can't answer now: HTTP 503 with the page of a load balancer, unless another status is given; with
 * `Retry-After` where a time is given. `Unavailable` for the program.
 *
 * @since 0.1.0
 * @category answers
 */
export const unavailable = (
  options: { readonly status?: number | undefined; readonly retryAfter?: Duration.DurationInput | undefined } = {}
): Fault => {
  const { retryAfter, status = 503 } = options
  return answer(
    status,
    status === 500
      ? { code: "internal_error", type: "server_error", message: "internal error" }
      : `<html><head><title>${status}</title></head><body><h1>Service unavailable</h1></body></html>`,
    { ...(status !== 500 && { "content-type": "text/html" }), ...retryAfterHeaders(retryAfter) }
  )
}

/**
 * The token is not accepted: HTTP 401. `AccessDenied` for the program.
 *
 * @since 0.1.0
 * @category answers
 */
export const unauthorized: Fault = answer(Refusal.unauthorized.status, Refusal.unauthorized.body)

/**
 * The service knows no such job (any more): HTTP 404. `JobNotFound` for the program.
 *
 * @since 0.1.0
 * @category answers
 */
export const vanished: Fault = answer(404, {
  code: "job_not_found",
  type: "not_found_error",
  message: "there is no such job"
})

/**
 * An answer with HTTP 200 that is not what the API promises, `{"request_id":` unless given. `UnexpectedResponse` for the
 * program.
 *
 * @since 0.1.0
 * @category answers
 */
export const malformed = (body: string | Job.JsonObject = "{\"request_id\":"): Fault =>
  make(`malformed answer ${typeof body === "string" ? body : JSON.stringify(body)}`, answer(200, body).disturbance)

/**
 * There is no answer, since the connection breaks. The request has not arrived, but the program can't know that.
 * `Unreachable` for it.
 *
 * @since 0.1.0
 * @category no answer
 */
export const disconnected: Fault = make(
  "disconnected",
  Disturbance.Disconnect({ reason: "read ECONNRESET", code: "ECONNRESET" })
)

/**
 * There is no answer, since the connection is refused: the request can't have arrived, and the program knows. For it,
 * `Unreachable` with `sent: false`. An emulator, which has the connection already, breaks it off, as for `disconnected`.
 *
 * @since 0.1.0
 * @category no answer
 */
export const refused: Fault = make(
  "refused",
  Disturbance.Disconnect({ reason: "connect ECONNREFUSED 127.0.0.1:8484", code: "ECONNREFUSED" })
)

/**
 * There never is an answer. `ResponseTimeout` for the program, when its patience ends.
 *
 * @since 0.1.0
 * @category no answer
 */
export const hang: Fault = make("hang", Disturbance.Hang())

/**
 * The service does what it is asked to, but its answer is lost: `instead` of it, a fault happens; `disconnected` unless
 * given.
 *
 * @example
 * import { Fault } from "effect-queue-status/testing"
 *
 * // the first submit makes a job, and its caller is told that there was an error in a gateway
 * const fault = Fault.answerLost(Fault.unavailable({ status: 502 })).pipe(Fault.on("submit"), Fault.nth(1))
 *
 * @since 0.1.0
 * @category no answer
 */
export const answerLost = (instead: Fault = disconnected): Fault =>
  make(`answer lost: ${instead.label}`, Disturbance.AnswerLost({ instead: instead.disturbance }), instead.conditions)

/**
 * The body of the answer breaks off. `Unreachable` for the program.
 *
 * @since 0.1.0
 * @category no answer
 */
export const truncated: Fault = make("truncated body", Disturbance.CutOff({ how: "breaks" }))

/**
 * The headers of the answer come, and half of its body, and then nothing more. `ResponseTimeout` for the program.
 *
 * @since 0.1.0
 * @category no answer
 */
export const stalled: Fault = make("stalled body", Disturbance.CutOff({ how: "stalls" }))

/**
 * It takes so long until the call arrives.
 *
 * @since 0.1.0
 * @category delays
 */
export const delay = (time: Timing): Fault =>
  make(
    typeof time === "function" ? "delay" : `delay of ${Duration.format(time)}`,
    Disturbance.Wait({ wait: (random) => Effect.sleep(sample(time, random)) })
  )

/**
 * The call does not arrive before this has succeeded: a latch, for a test that wants to look at what is so meanwhile.
 *
 * @since 0.1.0
 * @category delays
 */
export const held = (until: Effect.Effect<void>): Fault => make("held", Disturbance.Wait({ wait: () => until }))

const snapshot = (label: string, change: (status: Job.JobStatus) => Job.JobStatus): Fault =>
  make(label, Disturbance.Snapshot({ behind: Duration.zero, change }))

/**
 * The snapshot is changed before it is sent. What is done to it the `label` says, in words.
 *
 * @example
 * import { Fault } from "effect-queue-status/testing"
 * import { Option } from "effect"
 *
 * // a service that does not tell how often a job was retried
 * const fault = Fault.changed((status) => ({ ...status, retries: Option.none() }), "without retries")
 *
 * @since 0.1.0
 * @category snapshots
 */
export const changed = (
  change: (status: Job.JobStatus) => Job.JobStatus,
  label: string = "changed snapshot"
): Fault => snapshot(label, change)

/**
 * The job is in a state that nobody has heard of. `Unrecognized` for the program.
 *
 * @since 0.1.0
 * @category snapshots
 */
export const unknownStatus = (status: string): Fault => {
  if (["pending", "running", "done", "failed", "canceled"].includes(status)) {
    throw new RangeError(`Fault.unknownStatus: "${status}" is a status that everybody knows`)
  }
  return snapshot(`status "${status}"`, ({ _tag, ...rest }) => Job.Unrecognized({ ...rest, status }))
}

/**
 * The snapshot is an old one, of a replica that is so far behind. Where the job was not there yet it is not found.
 *
 * @since 0.1.0
 * @category snapshots
 */
export const stale = (behind: Duration.DurationInput): Fault =>
  make(
    `${Duration.format(behind)} behind`,
    Disturbance.Snapshot({ behind: Duration.decode(behind), change: (status) => status })
  )

const shifted = (label: string, millis: number): Fault => {
  const shift = Option.map((time: DateTime.Utc) => DateTime.add(time, { millis }))
  return snapshot(label, (status) => ({
    ...status,
    createdAt: shift(status.createdAt),
    claimedAt: shift(status.claimedAt),
    doneAt: shift(status.doneAt)
  }))
}

/**
 * The clock of the service is ahead of ours by so much.
 *
 * @since 0.1.0
 * @category snapshots
 */
export const clockAhead = (by: Duration.DurationInput): Fault =>
  shifted(`clock ${Duration.format(by)} ahead`, Duration.toMillis(by))

/**
 * The clock of the service is behind ours by so much.
 *
 * @since 0.1.0
 * @category snapshots
 */
export const clockBehind = (by: Duration.DurationInput): Fault =>
  shifted(`clock ${Duration.format(by)} behind`, -Duration.toMillis(by))

// -----------------------------------------------------------------------------
// to which calls
// -----------------------------------------------------------------------------

/**
 * Only to calls of which this is so; `label` is what it is called where the fault is shown.
 *
 * @since 0.1.0
 * @category conditions
 */
export const where: {
  (predicate: (call: Call) => boolean, label?: string): (self: Fault) => Fault
  (self: Fault, predicate: (call: Call) => boolean, label?: string): Fault
} = dual(
  (args) => isFault(args[0]),
  (self: Fault, predicate: (call: Call) => boolean, label: string = "some calls"): Fault =>
    add(self, Condition.Where({ label, predicate }))
)

/**
 * Only to calls of this operation.
 *
 * @since 0.1.0
 * @category conditions
 */
export const on: {
  (operation: Operation): (self: Fault) => Fault
  (self: Fault, operation: Operation): Fault
} = dual(
  2,
  (self: Fault, operation: Operation): Fault =>
    add(self, Condition.Where({ label: operation, predicate: (call) => call.operation === operation }))
)

/**
 * Only to calls that are about this job.
 *
 * @since 0.1.0
 * @category conditions
 */
export const ofJob: {
  (job: Job.JobRef): (self: Fault) => Fault
  (self: Fault, job: Job.JobRef): Fault
} = dual(2, (self: Fault, job: Job.JobRef): Fault =>
  add(
    self,
    Condition.Where({
      label: Job.format(job),
      predicate: (call) => call.requestId === job.requestId && call.model === job.model
    })
  ))

/**
 * Only to calls that are about this model.
 *
 * @since 0.1.0
 * @category conditions
 */
export const ofModel: {
  (model: string): (self: Fault) => Fault
  (self: Fault, model: string): Fault
} = dual(
  2,
  (self: Fault, model: string): Fault =>
    add(self, Condition.Where({ label: model, predicate: (call) => call.model === model }))
)

/**
 * Only to the `from`th call, 1 for the first; or from there to the `to`th, which may be `Infinity`. What is counted are
 * the calls that the conditions before this one have let through.
 *
 * @example
 * import { Fault } from "effect-queue-status/testing"
 *
 * const onceAtFirst = Fault.rateLimited("10 seconds").pipe(Fault.on("status"), Fault.nth(1))
 * const fromTheFifthPollOn = Fault.vanished.pipe(Fault.on("status"), Fault.nth(5, Infinity))
 *
 * @since 0.1.0
 * @category conditions
 */
export const nth: {
  (from: number, to?: number): (self: Fault) => Fault
  (self: Fault, from: number, to?: number): Fault
} = dual(
  (args) => isFault(args[0]),
  (self: Fault, from: number, to: number = from): Fault => {
    if (!(from >= 1 && to >= from)) throw new RangeError(`Fault.nth: there are no calls ${from} to ${to}`)
    return add(self, Condition.Nth({ from, to }))
  }
)

/**
 * Only to this part of the calls, from 0 to 1, by a chance that the seed of the queue decides.
 *
 * @since 0.1.0
 * @category conditions
 */
export const share: {
  (fraction: number): (self: Fault) => Fault
  (self: Fault, fraction: number): Fault
} = dual(2, (self: Fault, fraction: number): Fault => {
  if (!(fraction >= 0 && fraction <= 1)) {
    throw new RangeError(`Fault.share: ${fraction} is not between 0 and 1`)
  }
  return add(self, Condition.Share({ fraction }))
})

/**
 * Only to calls that are made so long after the queue was, or later; and before `to`, where that is given.
 *
 * @since 0.1.0
 * @category conditions
 */
export const during: {
  (from: Duration.DurationInput, to?: Duration.DurationInput): (self: Fault) => Fault
  (self: Fault, from: Duration.DurationInput, to?: Duration.DurationInput): Fault
} = dual(
  (args) => isFault(args[0]),
  (self: Fault, from: Duration.DurationInput, to: Duration.DurationInput = Duration.infinity): Fault => {
    const during = { from: Duration.decode(from), to: Duration.decode(to) }
    if (Duration.greaterThanOrEqualTo(during.from, during.to)) {
      throw new RangeError(
        `Fault.during: there is no time from ${Duration.format(during.from)} to ${Duration.format(during.to)}`
      )
    }
    return add(self, Condition.During(during))
  }
)

/**
 * Only to calls that come too fast: those before which, within such a time, so many others were let through.
 *
 * @example
 * import { Fault } from "effect-queue-status/testing"
 *
 * // ten calls a second, and not one more
 * const fault = Fault.rateLimited("1 second").pipe(Fault.overRate(10, "1 second"))
 *
 * @since 0.1.0
 * @category conditions
 */
export const overRate: {
  (calls: number, per: Duration.DurationInput): (self: Fault) => Fault
  (self: Fault, calls: number, per: Duration.DurationInput): Fault
} = dual(
  3,
  (self: Fault, calls: number, per: Duration.DurationInput): Fault =>
    add(self, Condition.OverRate({ calls, per: Duration.decode(per) }))
)

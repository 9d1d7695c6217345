/**
 * Faults between a program and the queue, as values: what happens, and to which calls.
 *
 * A fault describes what happens on the wire: a response, or none. The HTTP client turns that into what the program
 * receives: the typed error, its message, the time until a timeout.
 *
 * By default a fault affects every call. Each condition narrows that, and sees only the calls that meet the conditions
 * before it. If several faults affect one call, the first is the outermost.
 *
 * @since 0.1.0
 */
import * as Headers from "@effect/platform/Headers"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual, identity } from "effect/Function"
import * as Option from "effect/Option"
import * as Pipeable from "effect/Pipeable"
import * as Predicate from "effect/Predicate"
import * as Struct from "effect/Struct"
import * as Job from "../model/Job.js"
import type { Operation } from "../model/QueueError.js"
import * as Conditions from "./internal/conditions.js"
import { TypeId } from "./internal/fault.js"
import type { Condition, Definition, FaultEffect } from "./internal/fault.js"
import { sample } from "./internal/seededRandom.js"
import * as Wire from "./internal/wireResponse.js"
import type { Timing } from "./Worker.js"

/**
 * A fault, and the calls that it affects.
 *
 * @since 0.1.0
 * @category models
 */
export interface Fault extends Pipeable.Pipeable {
  /** What the fault does and when, for the queue in memory and the emulator. */
  readonly [TypeId]: Definition
  /** What happens, in words. */
  readonly label: string
  /** Returns what happens and when, in words. */
  readonly toString: () => string
}

const make = (label: string, effect: FaultEffect, conditions: ReadonlyArray<Condition> = []): Fault => ({
  ...Pipeable.Prototype,
  [TypeId]: { effect, conditions },
  label,
  toString() {
    return [label, ...conditions.map(({ label }) => label)].join(", ")
  }
})

// -----------------------------------------------------------------------------
// effects
// -----------------------------------------------------------------------------

/**
 * Sends this response; the queue does nothing. `status` is that of a final response, from 200 to 599. A string `body` is sent
 * as it is, an object as JSON.
 *
 * @since 0.1.0
 * @category answers
 */
export const answer = (
  status: number,
  body: string | Job.JsonObject = "",
  headers: { readonly [name: string]: string } = {}
): Fault => {
  if (!(Number.isInteger(status) && status >= 200 && status <= 599)) {
    throw new RangeError(`Fault.answer: ${status} is not a status of HTTP, from 200 to 599`)
  }
  // in lowercase: the defaults, and the emulator, would not find other names
  const fields = { ...Headers.fromInput(headers) }
  // throws if one is invalid
  void new globalThis.Headers(fields)
  const retryAfter = fields["retry-after"]
  return make(retryAfter === undefined ? `HTTP ${status}` : `HTTP ${status} (Retry-After: ${retryAfter})`, {
    _tag: "Answer",
    ...(typeof body === "string" ? { status, headers: fields, body } : Wire.jsonResponse(status, body, fields))
  })
}

/**
 * Responds with HTTP 429, with `Retry-After` if a time is given. The call fails with `RateLimited`.
 *
 * @since 0.1.0
 * @category answers
 */
export const rateLimited = (retryAfter?: Duration.DurationInput): Fault =>
  answer(
    429,
    { code: "rate_limit_exceeded", type: "rate_limit_error", message: "too many requests" },
    Wire.retryAfterHeaders(retryAfter)
  )

/**
 * Responds with HTTP 503, or another 5xx, and the page of a load balancer. The call fails with `Unavailable`.
 *
 * @since 0.1.0
 * @category answers
 */
export const unavailable = ({ retryAfter, status = 503 }: {
  /** The status. Defaults to 503. */
  readonly status?: number | undefined
  /** Adds `Retry-After`. Defaults to none. */
  readonly retryAfter?: Duration.DurationInput | undefined
} = {}): Fault => {
  if (!(Number.isInteger(status) && status >= 500 && status <= 599)) {
    throw new RangeError(`Fault.unavailable: ${status} is not a status of a server error, from 500 to 599`)
  }
  return answer(
    status,
    status === 500
      ? { code: "internal_error", type: "server_error", message: "internal error" }
      : `<html><head><title>${status}</title></head><body><h1>Service unavailable</h1></body></html>`,
    { ...(status !== 500 && { "content-type": "text/html" }), ...Wire.retryAfterHeaders(retryAfter) }
  )
}

/**
 * Rejects the token with HTTP 401. The call fails with `AccessDenied`.
 *
 * @since 0.1.0
 * @category answers
 */
export const unauthorized: Fault = make("HTTP 401", { _tag: "Answer", ...Wire.unauthorized })

/**
 * Responds with HTTP 404, as if the job did not exist. The call fails with `JobNotFound`.
 *
 * @since 0.1.0
 * @category answers
 */
export const notFound: Fault = make("HTTP 404", { _tag: "Answer", ...Wire.notFound("there is no such job") })

/**
 * Responds with HTTP 200 and an invalid body. The call fails with `UnexpectedResponse`. `body` defaults to
 * `{"request_id":`.
 *
 * @since 0.1.0
 * @category answers
 */
export const malformed = (body: string | Job.JsonObject = "{\"request_id\":"): Fault =>
  make(`malformed answer ${typeof body === "string" ? body : JSON.stringify(body)}`, answer(200, body)[TypeId].effect)

/**
 * Breaks the connection before the request arrives; the program can't know that. The call fails with `Unreachable`.
 *
 * @since 0.1.0
 * @category no answer
 */
export const disconnected: Fault = make(
  "disconnected",
  { _tag: "Disconnect", reason: "read ECONNRESET", code: "ECONNRESET" }
)

/**
 * Refuses the connection, so that the program knows that the request has not arrived. The call fails with `Unreachable`
 * and `sent: false`. The emulator has accepted the connection already, and breaks it as `disconnected` does.
 *
 * @since 0.1.0
 * @category no answer
 */
export const refused: Fault = make(
  "refused",
  { _tag: "Disconnect", reason: "connect ECONNREFUSED 127.0.0.1:8484", code: "ECONNREFUSED" }
)

/**
 * Never responds. The call fails with `ResponseTimeout`.
 *
 * @since 0.1.0
 * @category no answer
 */
export const noResponse: Fault = make("hang", { _tag: "Hang" })

/**
 * Does what the call asks for, but replaces its response by another fault, not one of a snapshot. `instead` defaults to
 * `disconnected`.
 *
 * @example
 * import { Fault } from "effect-queue-status/testing"
 *
 * // the first submit creates a job, and fails with an error of a gateway
 * const fault = Fault.answerLost(Fault.unavailable({ status: 502 })).pipe(Fault.on("submit"), Fault.nth(1))
 *
 * @since 0.1.0
 * @category no answer
 */
export const answerLost = (instead: Fault = disconnected): Fault => {
  const { conditions, effect } = instead[TypeId]
  if (effect._tag === "Snapshot") throw new RangeError(`Fault.answerLost: "${instead.label}" loses no answer`)
  return make(`answer lost: ${instead.label}`, { _tag: "AnswerLost", instead: effect }, conditions)
}

/**
 * Breaks the connection in the middle of the response body. The call fails with `Unreachable`.
 *
 * @since 0.1.0
 * @category no answer
 */
export const truncated: Fault = make("truncated body", { _tag: "CutOff", how: "breaks" })

/**
 * Sends the headers and half of the body of the response, then nothing more. The call fails with `ResponseTimeout`.
 *
 * @since 0.1.0
 * @category no answer
 */
export const stalled: Fault = make("stalled body", { _tag: "CutOff", how: "stalls" })

/**
 * Delays the arrival of the call by this time.
 *
 * @since 0.1.0
 * @category delays
 */
export const delay = (time: Timing): Fault => {
  const label = typeof time === "function" ? "delay" : `delay of ${Duration.format(time)}`
  return make(label, { _tag: "Wait", wait: (random) => Effect.sleep(sample(time, random)) })
}

/**
 * Delays the arrival of the call until this effect has succeeded, such as a latch of the test.
 *
 * @since 0.1.0
 * @category delays
 */
export const blockedUntil = (until: Effect.Effect<void>): Fault => make("held", { _tag: "Wait", wait: () => until })

/**
 * Changes the snapshot before it is sent. `label` describes the change, and defaults to "changed snapshot".
 *
 * @since 0.1.0
 * @category snapshots
 */
export const mapStatus = (
  change: (status: Job.JobStatus) => Job.JobStatus,
  label: string = "changed snapshot"
): Fault => make(label, { _tag: "Snapshot", behind: Duration.zero, change })

/**
 * Reports a state that this library does not know. The program receives an `Unrecognized` snapshot.
 *
 * @since 0.1.0
 * @category snapshots
 */
export const unknownStatus = (status: string): Fault => {
  if (Job.isKnownState(status)) throw new RangeError(`Fault.unknownStatus: "${status}" is a known status`)
  return mapStatus(({ _tag, ...rest }) => Job.Unrecognized({ ...rest, status }), `status "${status}"`)
}

/**
 * Returns the snapshot of a replica that lags by this time; `JobNotFound` if the job did not exist then.
 *
 * @since 0.1.0
 * @category snapshots
 */
export const stale = (behind: Duration.DurationInput): Fault =>
  make(`${Duration.format(behind)} behind`, { _tag: "Snapshot", behind: Duration.decode(behind), change: identity })

// A date of the wire has a year of four digits.
const longestShift = Duration.days(365_250)

const shifted = (direction: "ahead" | "behind", by: Duration.DurationInput): Fault => {
  const label = `clock ${Duration.format(by)} ${direction}`
  if (Duration.greaterThan(by, longestShift)) throw new RangeError(`Fault: a ${label} is off by more than 1,000 years`)
  const shift = Option.map<DateTime.Utc, DateTime.Utc>(
    direction === "ahead" ? DateTime.addDuration(by) : DateTime.subtractDuration(by)
  )
  return mapStatus(Struct.evolve({ createdAt: shift, claimedAt: shift, doneAt: shift }), label)
}

/**
 * Sets the clock of the service ahead of the local one by this time, up to 1,000 years.
 *
 * @since 0.1.0
 * @category snapshots
 */
export const clockAhead = (by: Duration.DurationInput): Fault => shifted("ahead", by)

/**
 * Sets the clock of the service behind the local one by this time, up to 1,000 years.
 *
 * @since 0.1.0
 * @category snapshots
 */
export const clockBehind = (by: Duration.DurationInput): Fault => shifted("behind", by)

// -----------------------------------------------------------------------------
// conditions
// -----------------------------------------------------------------------------

const condition = <Args extends ReadonlyArray<unknown>>(of: (...args: Args) => Condition): {
  (...args: Args): (self: Fault) => Fault
  (self: Fault, ...args: Args): Fault
} =>
  dual(
    (args) => Predicate.hasProperty(args[0], TypeId),
    ({ label, [TypeId]: { conditions, effect } }: Fault, ...args: Args): Fault =>
      make(label, effect, [...conditions, of(...args)])
  )

/**
 * Affects only calls that satisfy the predicate. `label` describes it in the text of the fault, and defaults to "some
 * calls".
 *
 * @since 0.1.0
 * @category conditions
 */
export const where = condition(Conditions.where)

/**
 * Affects only calls of this operation.
 *
 * @since 0.1.0
 * @category conditions
 */
export const on = condition((operation: Operation) =>
  Conditions.where((call) => call.operation === operation, operation)
)

/**
 * Affects only calls about this job.
 *
 * @since 0.1.0
 * @category conditions
 */
export const ofJob = condition((job: Job.JobRef) =>
  Conditions.where(({ model, requestId }) => requestId === job.requestId && model === job.model, Job.format(job))
)

/**
 * Affects only calls about this model.
 *
 * @since 0.1.0
 * @category conditions
 */
export const ofModel = condition((model: string) => Conditions.where((call) => call.model === model, model))

/**
 * Affects only the calls from number `from` to number `to`, 1 for the first of those that meet the conditions before it.
 * `to` may be `Infinity`, and defaults to `from`.
 *
 * @example
 * import { Fault } from "effect-queue-status/testing"
 *
 * const onceAtFirst = Fault.rateLimited("10 seconds").pipe(Fault.on("status"), Fault.nth(1))
 * const fromTheFifthPollOn = Fault.notFound.pipe(Fault.on("status"), Fault.nth(5, Infinity))
 *
 * @since 0.1.0
 * @category conditions
 */
export const nth = condition(Conditions.nth)

/**
 * Affects only this fraction of the calls, from 0 to 1, chosen by the seed of the queue.
 *
 * @since 0.1.0
 * @category conditions
 */
export const withProbability = condition(Conditions.withProbability)

/**
 * Affects only calls that start at least `from`, and less than `to`, after the queue was created. `to` defaults to for
 * ever.
 *
 * @since 0.1.0
 * @category conditions
 */
export const during = condition(Conditions.during)

/**
 * Affects only calls above a rate: those after the first `calls` in any span of `per`.
 *
 * @since 0.1.0
 * @category conditions
 */
export const aboveRate = condition(Conditions.aboveRate)

/** The arbitrary of faults, and the parts of other arbitraries. @internal */
import * as Duration from "effect/Duration"
import * as FastCheck from "effect/FastCheck"
import * as Option from "effect/Option"
import type { Operation } from "../../model/QueueError.js"
import * as Fault from "../Fault.js"
import { TypeId } from "./fault.js"

/** Sets the text that fast-check prints for a value. @internal */
export const printed = <A extends object>(value: A, text: () => string): A =>
  Object.defineProperty(value, FastCheck.toStringMethod, { value: text, enumerable: false })

/** @internal */
export const millis = (max: number): FastCheck.Arbitrary<Duration.Duration> =>
  FastCheck.nat({ max }).map(Duration.millis)

/** Chooses one of the arbitraries. Values of the others shrink towards the first. @internal */
export const either = <A>(...weighted: ReadonlyArray<readonly [weight: number, FastCheck.Arbitrary<A>]>) =>
  FastCheck.oneof(
    { withCrossShrink: true },
    ...weighted.map(([weight, arbitrary]): FastCheck.WeightedArbitrary<A> => ({ weight, arbitrary }))
  )

/** @internal */
export const optional = <A>(arbitrary: FastCheck.Arbitrary<A>): FastCheck.Arbitrary<A | undefined> =>
  FastCheck.option(arbitrary, { nil: undefined, freq: 2 })

const gatewayStatus = FastCheck.constantFrom(503, 500, 502, 504)

/** @internal */
export const refused = (maxRetryAfter: number): FastCheck.Arbitrary<Fault.Fault> => {
  const retryAfter = optional(millis(maxRetryAfter))
  return either(
    [1, FastCheck.record({ status: gatewayStatus, retryAfter }).map((options) => Fault.unavailable(options))],
    [1, retryAfter.map((retryAfter) => Fault.rateLimited(retryAfter))]
  )
}

/** @internal */
export const slow = (max: number): FastCheck.Arbitrary<Fault.Fault> => millis(max).map((time) => Fault.delay(time))

/** @internal */
export const stale = either([1, millis(10_000)], [1, millis(3_600_000)]).map((behind) => Fault.stale(behind))

/** @internal */
export const lost = (instead: FastCheck.Arbitrary<Fault.Fault>): FastCheck.Arbitrary<Fault.Fault> =>
  either([1, FastCheck.constant(Fault.disconnected)], [1, instead]).map((fault) => Fault.answerLost(fault))

/** Bodies that are no valid response to any call. @internal */
export const nonsense = FastCheck.constantFrom(
  "{\"request_id\":",
  "",
  "null",
  "[]",
  "{}",
  "{\"status\":\"done\"}",
  "<html>",
  "{\"error\":{\"message\":\"größe 🦊\"}}"
)

const otherJob = JSON.stringify({ request_id: "another-job", model: "another-model", status: "done", outputs: {} })

const clockSkew = FastCheck.tuple(
  FastCheck.constantFrom(Fault.clockAhead, Fault.clockBehind),
  either([1, millis(1_000)], [1, millis(86_400_000)])
).map(([skew, by]) => skew(by))

const leftOut = FastCheck.uniqueArray(
  FastCheck.constantFrom("createdAt" as const, "claimedAt" as const, "doneAt" as const, "retries" as const),
  { minLength: 1 }
).map((fields) =>
  Fault.mapStatus(
    (status) => ({ ...status, ...Object.fromEntries(fields.map((field) => [field, Option.none()])) }),
    `without ${fields.join(", ")}`
  )
)

const oddAnswer = FastCheck.tuple(
  FastCheck.constantFrom(400, 204, 301, 304, 403, 404, 408, 409, 418, 422, 501, 505, 599),
  nonsense,
  optional(FastCheck.constantFrom("0", "-1", "soon", "1e9", "Wed, 21 Oct 2015 07:28:00 GMT"))
).map(([status, body, retryAfter]) =>
  Fault.answer(status, body, retryAfter === undefined ? {} : { "retry-after": retryAfter })
)

const anyKind = either<Fault.Fault>(
  [
    4,
    FastCheck.constantFrom(
      Fault.disconnected,
      Fault.refused,
      Fault.noResponse,
      Fault.notFound,
      Fault.unauthorized,
      Fault.truncated,
      Fault.stalled
    )
  ],
  [2, refused(120_000)],
  [1, oddAnswer],
  [1, either([8, nonsense], [1, FastCheck.constant(otherJob)]).map((body) => Fault.malformed(body))],
  [1, slow(60_000)],
  [2, stale],
  [1, FastCheck.constantFrom("paused", "", "DONE").map((status) => Fault.unknownStatus(status))],
  [1, clockSkew],
  [1, leftOut]
)

const operation = either<Operation>(
  [2, FastCheck.constant("status")],
  [1, FastCheck.constantFrom("submit", "cancel", "clear", "metrics")]
)

/** @internal */
export const fraction = FastCheck.integer({ min: 0, max: 20 }).map((n) => n / 20)

const forEver = FastCheck.constant(Infinity)

const condition = either(
  [2, operation.map((operation) => Fault.on(operation))],
  [
    2,
    FastCheck.tuple(FastCheck.integer({ min: 1, max: 6 }), either([2, FastCheck.nat({ max: 8 })], [1, forEver]))
      .map(([from, more]) => Fault.nth(from, from + more))
  ],
  [1, fraction.map((fraction) => Fault.withProbability(fraction))],
  [
    1,
    FastCheck.tuple(
      FastCheck.nat({ max: 60_000 }),
      either([2, FastCheck.integer({ min: 1, max: 120_000 })], [1, forEver])
    )
      .map(([from, length]) => Fault.during(from, from + length))
  ]
)

/** @internal */
export const faults: FastCheck.Arbitrary<ReadonlyArray<Fault.Fault>> = FastCheck.array(
  FastCheck.tuple(
    either([9, anyKind], [1, lost(anyKind.filter((fault) => fault[TypeId].effect._tag !== "Snapshot"))]),
    FastCheck.array(condition, { maxLength: 3 })
  ).map(([fault, conditions]) => conditions.reduce((fault, add) => add(fault), fault)),
  { maxLength: 4 }
)

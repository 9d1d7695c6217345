/**
 * The definition of a fault: its effect on a call, and the conditions on the calls that it affects. Public types are made
 * of it, so its types are not marked as internal: the build would leave them out.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { JobStatus } from "../../model/Job.js"
import type { Call } from "./call.js"

/** The key of a fault's definition. */
export const TypeId: unique symbol = Symbol.for("effect-queue-status/testing/Fault")

/**
 * What a fault does to a call.
 *
 * - `Answer`: sends this response; the queue does nothing.
 * - `Disconnect`: breaks or refuses the connection; the queue does nothing.
 * - `Hang`: never responds; the queue does nothing.
 * - `AnswerLost`: the queue does what was asked, and `instead` replaces its response.
 * - `Wait`: runs this effect first, then continues.
 * - `CutOff`: the body of the response breaks off half way, or stalls there for ever.
 * - `Snapshot`: the response of a `status` call shows the job as it was `behind` ago, changed by `change`.
 */
export type FaultEffect = Data.TaggedEnum<{
  Answer: { readonly status: number; readonly headers: { readonly [name: string]: string }; readonly body: string }
  Disconnect: { readonly reason: string; readonly code: string }
  Hang: {}
  AnswerLost: { readonly instead: FaultEffect }
  Wait: { readonly wait: (random: () => number) => Effect.Effect<void> }
  CutOff: { readonly how: "breaks" | "stalls" }
  Snapshot: { readonly behind: Duration.Duration; readonly change: (status: JobStatus) => JobStatus }
}>

/** @internal */
export const FaultEffect = Data.taggedEnum<FaultEffect>()

/**
 * Selects the calls that a fault affects.
 *
 * - `Where`: calls that satisfy the predicate.
 * - `Nth`: the calls from number `from` to number `to`, 1 for the first.
 * - `Share`: this fraction of the calls, chosen by the seed.
 * - `During`: calls that start at least `from`, and less than `to`, after the queue was created.
 * - `OverRate`: calls after the first `calls` in any span of `per`.
 */
export type Condition = Data.TaggedEnum<{
  Where: { readonly label: string; readonly predicate: (call: Call) => boolean }
  Nth: { readonly from: number; readonly to: number }
  Share: { readonly fraction: number }
  During: { readonly from: Duration.Duration; readonly to: Duration.Duration }
  OverRate: { readonly calls: number; readonly per: Duration.Duration }
}>

/** @internal */
export const Condition = Data.taggedEnum<Condition>()

/** Returns a condition in words. @internal */
export const describeCondition = Condition.$match({
  Where: ({ label }) => label,
  Nth: ({ from, to }) => from === to ? `call ${from}` : `calls ${from} to ${to}`,
  Share: ({ fraction }) => `${fraction * 100} % of the calls`,
  OverRate: ({ calls, per }) => `over ${calls} calls in ${Duration.format(per)}`,
  During: ({ from, to }) => `from ${Duration.format(from)} to ${Duration.format(to)}`
})

/** What a fault does, and to which calls: each condition sees only the calls that meet the conditions before it. */
export interface Definition {
  readonly effect: FaultEffect
  readonly conditions: ReadonlyArray<Condition>
}

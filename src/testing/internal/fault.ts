/**
 * A call of the queue, and the definition of a fault: its effect on a call, and the conditions on the calls that it
 * affects. Public types are made of these, so they are not marked as internal: the build would leave them out.
 */
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { JobStatus } from "../../model/Job.js"
import type { Operation, QueueError } from "../../model/QueueError.js"

/** How a call ended: with a response, with an error (its tag), by interruption, or by a defect. */
export type Outcome = "answered" | "interrupted" | "died" | QueueError["_tag"]

/** A call of the queue. A request that fails validation is not sent, and is no call. */
export interface Call {
  /** The operation that was called. */
  readonly operation: Operation
  /** The number of the call among those of its operation, 1 for the first. */
  readonly nth: number
  /** The time of the call, in milliseconds since the epoch. */
  readonly at: number
  /** The model of the call. */
  readonly model: string
  /** The request id of the job for `status` and `cancel`; `undefined` for `submit`, `clear` and `metrics`. */
  readonly requestId: string | undefined
  /** When the call ended, in milliseconds since the epoch, and how; `undefined` while it is in flight. */
  readonly end: { readonly at: number; readonly outcome: Outcome } | undefined
}

/** The key of a fault's definition. */
export const TypeId: unique symbol = Symbol.for("effect-queue-status/testing/Fault")

/** What a fault does to a call: described at the constructors in `Fault`. */
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

/** Selects the calls that a fault affects. */
export interface Condition {
  /** The condition in words. */
  readonly label: string
  /** Starts a predicate for the calls of a queue, which may count them. `random` is the seeded source of the fault. */
  readonly start: (queue: { readonly startedAt: number; readonly random: () => number }) => (call: Call) => boolean
}

/** What a fault does, and to which calls: each condition sees only the calls that meet the conditions before it. */
export interface Definition {
  readonly effect: FaultEffect
  readonly conditions: ReadonlyArray<Condition>
}

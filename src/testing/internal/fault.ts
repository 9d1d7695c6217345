/**
 * What a fault is and does: the calls of a queue, the effect of a fault on a call, and the conditions on the calls that it
 * affects. Public types are made of the first of these, which are not marked as internal: the build would leave them out.
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { JobStatus } from "../../model/Job.js"
import type { Operation, QueueError } from "../../model/QueueError.js"
import { seeded } from "./seededRandom.js"
import type { WireResponse } from "./wireResponse.js"

// -----------------------------------------------------------------------------
// definitions
// -----------------------------------------------------------------------------

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

// -----------------------------------------------------------------------------
// injection
// -----------------------------------------------------------------------------

/** The connection ended without a response. @internal */
export class Disconnected extends Data.TaggedError("Disconnected")<{
  readonly reason: string
  readonly code: string
}> {}

/** Which snapshot a `status` call returns: the one of `behind` milliseconds ago, changed by `change`. @internal */
export interface View {
  readonly behind: number
  readonly change: (status: JobStatus) => JobStatus
}

/** @internal */
export type Respond = (view: View) => Effect.Effect<WireResponse, Disconnected>

/** A fault that affects a call. */
interface ActiveFault {
  readonly effect: FaultEffect
  readonly random: () => number
}

const applyFault = ({ effect, random }: ActiveFault, respond: Respond): Respond => (view) => {
  switch (effect._tag) {
    case "Answer":
      return Effect.succeed(effect)
    case "Disconnect":
      return Effect.fail(new Disconnected({ reason: effect.reason, code: effect.code }))
    case "Hang":
      return Effect.never
    case "AnswerLost":
      return Effect.flatMap(
        Effect.either(respond(view)),
        (response) => applyFault({ effect: effect.instead, random }, () => response)(view)
      )
    case "Wait":
      return Effect.zipRight(effect.wait(random), respond(view))
    case "CutOff":
      return Effect.map(respond(view), (response) => ({
        ...response,
        body: response.body.slice(0, Math.floor(response.body.length / 2)),
        then: effect.how
      }))
    case "Snapshot":
      return respond({
        behind: view.behind + Duration.toMillis(effect.behind),
        change: (status) => view.change(effect.change(status))
      })
  }
}

const unchanged: View = { behind: 0, change: (status) => status }

/** Responds to a call, with the faults that affect it, the first outermost. @internal */
export const respondWith = (faults: ReadonlyArray<ActiveFault>, respond: Respond) =>
  faults.reduceRight((inner, fault) => applyFault(fault, inner), respond)(unchanged)

/** The input of a call: a model, or what has a model. @internal */
export type CallInput = string | { readonly model: string; readonly requestId?: string }

/** The faults of a queue, the number of its calls, and the state of the conditions, which count calls. @internal */
export class Faults {
  private readonly calls = { status: 0, submit: 0, cancel: 0, clear: 0, metrics: 0 }
  private readonly injected = new Set<(call: Call) => ActiveFault | undefined>()
  private count = 0

  constructor(private readonly seed: string | number, private readonly startedAt: number) {}

  /** Adds a fault, and returns a function that removes it. */
  add({ [TypeId]: { conditions, effect } }: { readonly [TypeId]: Definition }): () => void {
    const random = seeded(`${this.seed}/fault ${this.count++}`)
    const active: ActiveFault = { effect, random }
    const checks = conditions.map(({ start }) => start({ startedAt: this.startedAt, random }))
    // `every` stops at the first that fails: a condition counts only the calls that meet those before it
    const check = (call: Call) => checks.every((holds) => holds(call)) ? active : undefined
    this.injected.add(check)
    return () => {
      this.injected.delete(check)
    }
  }

  /** Begins a call, and returns it with the faults that affect it. */
  begin(operation: Operation, input: CallInput, at: number): {
    readonly call: Call
    readonly active: ReadonlyArray<ActiveFault>
  } {
    const { model, requestId } = typeof input === "string" ? { model: input, requestId: undefined } : input
    const call: Call = { operation, nth: ++this.calls[operation], at, model, requestId, end: undefined }
    return { call, active: Array.from(this.injected).flatMap((check) => check(call) ?? []) }
  }
}

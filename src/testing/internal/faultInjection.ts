/** The faults that change what is between a client and the queue. @internal */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { JobStatus } from "../../model/Job.js"
import type { Operation } from "../../model/QueueError.js"
import type { Fault } from "../Fault.js"
import { TypeId } from "./fault.js"
import type { Call, FaultEffect } from "./fault.js"
import { seeded } from "./seededRandom.js"
import type { WireResponse } from "./wireResponse.js"

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

/** @internal */
export const unchanged: View = { behind: 0, change: (status) => status }

/** A fault that affects a call. */
interface ActiveFault {
  readonly effect: FaultEffect
  readonly random: () => number
}

const applyFault = (effect: FaultEffect, random: () => number, respond: Respond): Respond => {
  switch (effect._tag) {
    case "Answer":
      return () => Effect.succeed(effect)
    case "Disconnect":
      return () => Effect.fail(new Disconnected({ reason: effect.reason, code: effect.code }))
    case "Hang":
      return () => Effect.never
    case "AnswerLost":
      return (view) =>
        Effect.flatMap(
          Effect.either(respond(view)),
          (response) => applyFault(effect.instead, random, () => response)(view)
        )
    case "Wait":
      return (view) => Effect.zipRight(effect.wait(random), respond(view))
    case "CutOff":
      return (view) =>
        Effect.map(respond(view), (response) => ({
          ...response,
          body: response.body.slice(0, Math.floor(response.body.length / 2)),
          then: effect.how
        }))
    case "Snapshot":
      return (view) =>
        respond({
          behind: view.behind + Duration.toMillis(effect.behind),
          change: (status) => view.change(effect.change(status))
        })
  }
}

/** Applies the faults of a call to its response, the first outermost. @internal */
export const applyFaults = (faults: ReadonlyArray<ActiveFault>, respond: Respond): Respond =>
  faults.reduceRight((inner, { effect, random }) => applyFault(effect, random, inner), respond)

/** The input of a call: a model, or what has a model. @internal */
export type CallInput = string | { readonly model: string; readonly requestId?: string }

/** The faults of a queue, the number of its calls, and the state of the conditions, which count calls. @internal */
export class Faults {
  private readonly calls = { status: 0, submit: 0, cancel: 0, clear: 0, metrics: 0 }
  private readonly injected = new Set<(call: Call) => ActiveFault | undefined>()
  private count = 0

  constructor(private readonly seed: string | number, private readonly startedAt: number) {}

  /** Adds a fault, and returns a function that removes it. */
  add(fault: Fault): () => void {
    const random = seeded(`${this.seed}/fault ${this.count++}`)
    const { conditions, effect } = fault[TypeId]
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

/**
 * What goes over the wire between a client and the queue, and what goes wrong there.
 *
 * @internal
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { JobStatus } from "../../model/Job.js"
import type { Call } from "../Call.js"
import type { Condition, Disturbance, Fault } from "../Fault.js"
import { seeded } from "./seededRandom.js"

/** @internal */
export interface Answer {
  readonly status: number
  readonly headers: { readonly [name: string]: string }
  readonly body: string
  /** What comes after the body, if it is not the end of the answer. */
  readonly then?: "breaks" | "stalls" | undefined
}

/**
 * Whether HTTP knows no body of an answer with this status.
 *
 * @internal
 */
export const isBodiless = (status: number): boolean => status === 204 || status === 205 || status === 304

/**
 * There was no answer.
 *
 * @internal
 */
export class Disconnected extends Data.TaggedError("Disconnected")<{
  readonly reason: string
  readonly code: string
}> {}

/**
 * How an answer is to differ from the truth: it is about the job as it was so many milliseconds ago, and changed.
 *
 * @internal
 */
export interface View {
  readonly behind: number
  readonly change: (status: JobStatus) => JobStatus
}

/** @internal */
export type Exchange = (view: View) => Effect.Effect<Answer, Disconnected>

/** @internal */
export const json = (status: number, body: unknown): Answer => ({
  status,
  headers: { "content-type": "application/json" },
  body: JSON.stringify(body)
})

/** @internal */
export const truth: View = { behind: 0, change: (status) => status }

/** A fault that happens to a call. */
interface Happening {
  readonly disturbance: Disturbance
  readonly random: () => number
}

const disturbed = (disturbance: Disturbance, random: () => number, exchange: Exchange): Exchange => {
  switch (disturbance._tag) {
    case "Answer":
      return () => Effect.succeed(disturbance)
    case "Disconnect":
      return () => Effect.fail(new Disconnected({ reason: disturbance.reason, code: disturbance.code }))
    case "Hang":
      return () => Effect.never
    case "AnswerLost":
      return (view) =>
        Effect.flatMap(
          Effect.either(exchange(view)),
          (answer) => disturbed(disturbance.instead, random, () => answer)(view)
        )
    case "Wait":
      return (view) => Effect.zipRight(disturbance.wait(random), exchange(view))
    case "CutOff":
      return (view) =>
        Effect.map(exchange(view), (answer) => ({
          ...answer,
          body: answer.body.slice(0, Math.floor(answer.body.length / 2)),
          then: disturbance.how
        }))
    case "Snapshot":
      return (view) =>
        exchange({
          behind: view.behind + Duration.toMillis(disturbance.behind),
          change: (status) => view.change(disturbance.change(status))
        })
  }
}

/**
 * The exchange with all that happens to it, the first outermost.
 *
 * @internal
 */
export const disturb = (happenings: ReadonlyArray<Happening>, exchange: Exchange): Exchange =>
  happenings.reduceRight((inner, { disturbance, random }) => disturbed(disturbance, random, inner), exchange)

const makeCondition = (condition: Condition, random: () => number, startedAt: number): (call: Call) => boolean => {
  switch (condition._tag) {
    case "Where":
      return condition.predicate
    case "Nth": {
      let count = 0
      return () => {
        count++
        return condition.from <= count && count <= condition.to
      }
    }
    case "Share":
      return () => random() < condition.fraction
    case "OverRate": {
      const per = Duration.toMillis(condition.per)
      let passed: ReadonlyArray<number> = []
      return ({ at }) => {
        passed = passed.filter((time) => time > at - per)
        if (passed.length >= condition.calls) return true
        passed = [...passed, at]
        return false
      }
    }
    case "During": {
      const from = startedAt + Duration.toMillis(condition.from)
      const to = startedAt + Duration.toMillis(condition.to)
      return ({ at }) => from <= at && at < to
    }
  }
}

/**
 * The faults of a queue, and what of them has happened so far.
 *
 * @internal
 */
export class Faults {
  private readonly active = new Map<number, (call: Call) => Happening | undefined>()
  private count = 0

  constructor(private readonly seed: string | number, private readonly startedAt: number) {}

  /** Adds a fault, and gives what takes it away. */
  add(fault: Fault): () => void {
    const id = this.count++
    const random = seeded(`${this.seed}/fault ${id}`)
    const conditions = fault.conditions.map((condition) => makeCondition(condition, random, this.startedAt))
    const happening: Happening = { disturbance: fault.disturbance, random }
    // a condition counts only the calls that those before it let through
    this.active.set(id, (call) => conditions.every((holds) => holds(call)) ? happening : undefined)
    return () => {
      this.active.delete(id)
    }
  }

  /** What happens to a call: every call is asked about once. */
  to(call: Call): ReadonlyArray<Happening> {
    if (this.active.size === 0) return []
    const happenings: Array<Happening> = []
    for (const happens of this.active.values()) {
      const happening = happens(call)
      if (happening !== undefined) happenings.push(happening)
    }
    return happenings
  }
}

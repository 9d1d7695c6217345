/**
 * The phases of a job, folded from its transitions: its times in the queue, and its attempts.
 */
import * as Option from "effect/Option"
import { millis } from "../../model/internal/position.js"
import type { JobRef } from "../../model/Job.js"
import type { Terminal, Transition } from "../../model/Transition.js"

/** When a step happened: by the server's clock, if reported, else when it was observed, by ours. @internal */
export interface Time {
  readonly millis: number
  readonly isReported: boolean
}

/** A time in the queue, or an attempt. It ends where the next one begins. @internal */
export interface Phase {
  readonly name: string
  /** The number of the attempt, `undefined` for a time in the queue. */
  readonly attempt: number | undefined
  readonly from: Time
  readonly isInferred: boolean
  /** Whether the phase began before the cursor that the watch resumed from. */
  readonly isResumed: boolean
  progress: ReadonlyArray<{ readonly observedAt: number; readonly fraction: number | undefined }>
}

/** What is kept of a job until it ends. Its arrays are replaced: one that grows takes more memory. @internal */
export interface History {
  readonly job: JobRef
  readonly from: Time
  readonly isResumed: boolean
  /** Oldest first; only the last one is open. */
  phases: ReadonlyArray<Phase>
}

// The default limit of OpenTelemetry's SDKs for the events of a span. They drop the oldest ones as well.
const maxProgress = 128

type Kind = Pick<Phase, "name" | "attempt">

const queued: Kind = { name: "queued", attempt: undefined }

const requeued: Kind = { name: "requeued", attempt: undefined }

const running = (attempt: number): Kind => ({ name: `attempt ${attempt}`, attempt })

const noProgress: Phase["progress"] = []

// Not a spread: the objects that it makes take more memory.
const open = ({ attempt, name }: Kind, from: Time, isInferred: boolean, isResumed: boolean): Phase => ({
  name,
  attempt,
  from,
  isInferred,
  isResumed,
  progress: noProgress
})

/** Returns the phase that was open before a transition, and when it began, if the server reported that. @internal */
export const phaseBefore = (next: Transition): (Kind & { readonly since: number | undefined }) | undefined => {
  switch (next._tag) {
    case "Queued":
    case "Unrecognized":
      return undefined
    case "Claimed":
    case "Canceled":
      return next.attempt === (next._tag === "Claimed" ? 1 : 0)
        ? { ...queued, since: millis(next.snapshot.createdAt) }
        : { ...requeued, since: undefined }
    case "Progressed":
    case "Requeued": // its snapshot may have the time of a later claim
      return { ...running(next.attempt), since: next.cursor.claimedAt }
    default: // its cursor has no time of a claim
      return { ...running(next.attempt), since: millis(next.snapshot.claimedAt) }
  }
}

/** Returns the history of a job before its first known transition. @internal */
export const begin = (first: Transition): History => {
  const observedAt = first.observedAt.epochMillis
  const before = phaseBefore(first)
  return {
    job: first.job,
    from: timeOf(millis(first.snapshot.createdAt), observedAt),
    isResumed: first._tag !== "Queued",
    phases: before === undefined ? [] : [open(before, timeOf(before.since, observedAt), false, true)]
  }
}

/** Adds a transition to a history. @internal */
export const add = (self: History, transition: Exclude<Transition, Terminal>): void => {
  if (transition._tag === "Progressed") {
    // progress is of an attempt, which is open
    const phase = self.phases.at(-1)!
    const event = {
      observedAt: transition.observedAt.epochMillis,
      fraction: Option.getOrUndefined(transition.progress)
    }
    phase.progress = phase.progress.slice(1 - maxProgress).concat(event)
    return
  }
  const { _tag, attempt, evidence } = transition
  const kind = _tag === "Claimed" ? running(attempt) : _tag === "Queued" ? queued : requeued
  const phase = open(kind, timeOfStep(transition), evidence === "inferred", false)
  self.phases = self.phases.concat(phase)
}

const timeOf = (at: number | undefined, observedAt: number): Time => ({
  millis: at ?? observedAt,
  isReported: at !== undefined
})

const timeOfStep = ({ at, observedAt }: Transition): Time => timeOf(millis(at), observedAt.epochMillis)

/**
 * Returns when the job began, when each of its phases did, and when the job, or its watch, ended. A reported time counts,
 * unless it is before that of an earlier step. Any other is the time when the step was observed, moved between the reported
 * ones around it: the clocks may differ.
 *
 * @internal
 */
export const timesOf = ({ from, phases }: History, last: Terminal | undefined, now: number): ReadonlyArray<Time> => {
  const steps = [
    from,
    ...phases.map(({ from }) => from),
    last === undefined ? timeOf(undefined, now) : timeOfStep(last)
  ]
  let next = Infinity
  const latest = steps.map(() => Infinity)
  for (let i = steps.length - 1; i >= 0; i--) {
    const { isReported, millis } = steps[i] as Time
    latest[i] = next = isReported ? millis : next
  }
  let time = -Infinity
  return steps.map(({ isReported, millis }, i) => {
    time = Math.max(time, Math.min(millis, latest[i] as number))
    return { millis: time, isReported }
  })
}

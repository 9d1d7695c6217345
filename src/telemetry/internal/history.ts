/**
 * The phases of a job, folded from its transitions: its times in the queue, and its attempts.
 */
import * as Option from "effect/Option"
import { millis } from "../../model/internal/position.js"
import type { JobRef } from "../../model/Job.js"
import type { Terminal, Transition } from "../../model/Transition.js"

/** When a step happened: by the server's clock, if reported, else when it was observed, by ours. */
interface Time {
  readonly millis: number
  readonly isReported: boolean
}

interface Kind {
  readonly name: string
  /** The number of the attempt, `undefined` for a time in the queue. */
  readonly attempt: number | undefined
}

interface OpenPhase extends Kind {
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
  phases: ReadonlyArray<OpenPhase>
}

/** A phase that has ended. @internal */
export interface Phase extends Omit<OpenPhase, "from"> {
  readonly start: Time
  readonly end: Time
  /** The last transition of the job, if it ended this phase. */
  readonly last: Terminal | undefined
}

/** A job that has ended, or whose watch has. @internal */
export interface Ended extends Pick<History, "job" | "isResumed"> {
  readonly start: Time
  readonly end: Time
  readonly phases: ReadonlyArray<Phase>
  /** The last transition, if the job has ended. */
  readonly last: Terminal | undefined
  /** The phase that the watch ended in, if the job goes on. */
  readonly openPhase: string | undefined
}

// The default limit of OpenTelemetry's SDKs for the events of a span. They drop the oldest ones as well.
const maxProgress = 128

const queued: Kind = { name: "queued", attempt: undefined }

const requeued: Kind = { name: "requeued", attempt: undefined }

const running = (attempt: number): Kind => ({ name: `attempt ${attempt}`, attempt })

const noProgress: OpenPhase["progress"] = []

// Not a spread: the objects that it makes take more memory.
const open = ({ attempt, name }: Kind, from: Time, isInferred: boolean, isResumed: boolean): OpenPhase => ({
  name,
  attempt,
  from,
  isInferred,
  isResumed,
  progress: noProgress
})

/** Returns the phase that was open before a transition. */
const phaseBefore = (next: Transition): Kind | undefined => {
  switch (next._tag) {
    case "Queued":
    case "Unrecognized":
      return undefined
    case "Claimed":
    case "Canceled":
      return isInFirstQueue(next) ? queued : requeued
    default:
      return running(next.attempt)
  }
}

const isInFirstQueue = ({ _tag, attempt }: Transition): boolean => attempt === (_tag === "Claimed" ? 1 : 0)

/** Returns when the phase before a transition began, if the server reported it. @internal */
export const startOfPhase = (next: Transition): number | undefined => {
  switch (next._tag) {
    case "Queued":
    case "Unrecognized":
      return undefined
    case "Claimed":
    case "Canceled":
      return isInFirstQueue(next) ? millis(next.snapshot.createdAt) : undefined
    case "Progressed":
    case "Requeued": // its snapshot may have the time of a later claim
      return next.cursor.claimedAt
    default: // its cursor has no time of a claim
      return millis(next.snapshot.claimedAt)
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
    phases: before === undefined ? [] : [open(before, timeOf(startOfPhase(first), observedAt), false, true)]
  }
}

/** Adds a transition to a history. @internal */
export const add = (self: History, transition: Exclude<Transition, Terminal>): void => {
  if (transition._tag === "Progressed") {
    const phase = self.phases.at(-1)
    if (phase === undefined) return
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

/** Ends a job with its last transition. @internal */
export const end = (self: History, last: Terminal): Ended => endAt(self, timeOfStep(last), last)

/** Ends the watch of a job that goes on. The open phase is left out: the watch that resumes will have it. @internal */
export const leave = (self: History, now: number): Ended => {
  const ended = endAt(self, timeOf(undefined, now), undefined)
  return { ...ended, phases: ended.phases.slice(0, -1), openPhase: ended.phases.at(-1)?.name }
}

const timeOf = (at: number | undefined, observedAt: number): Time => ({
  millis: at ?? observedAt,
  isReported: at !== undefined
})

const timeOfStep = ({ at, observedAt }: Transition): Time => timeOf(millis(at), observedAt.epochMillis)

const endAt = ({ from, isResumed, job, phases }: History, to: Time, last: Terminal | undefined): Ended => {
  const [start, ...times] = fit([from, ...phases.map(({ from }) => from), to]) as [Time, ...Array<Time>] // one for each
  return {
    job,
    isResumed,
    start,
    end: times.at(-1) as Time,
    phases: phases.map(({ from: _, ...phase }, i) => ({
      ...phase,
      start: times[i] as Time,
      end: times[i + 1] as Time,
      last: i === phases.length - 1 ? last : undefined
    })),
    last,
    openPhase: undefined
  }
}

/**
 * Returns the times of steps, oldest first. A reported time counts, unless it is before that of an earlier step. Any other
 * is the time when the step was observed, moved between the reported ones around it: the clocks may differ.
 */
const fit = (steps: ReadonlyArray<Time>): ReadonlyArray<Time> => {
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

// What there is to know of a watched job, folded from its events. Nothing here knows of a terminal.
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import type { JobRef } from "../../model/Job.js"
import * as JobSummary from "../../model/JobSummary.js"
import { isQueueError, isTransient } from "../../model/QueueError.js"
import type { WatchError } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import type { WatchEvent } from "../../watch/JobStream.js"
import { elapsed, inShort, printable } from "../text.js"
import { maxAttempts, reasonOf } from "./events.js"
import type { Event } from "./events.js"

export type State = "unseen" | "queued" | "running" | Transition.Terminal["_tag"] | "WatchFailed"

/** A time in milliseconds since the epoch, by the service's clock or by ours. */
export interface Moment {
  readonly at: number
  readonly clock: "service" | "ours"
}

const ours = (at: number): Moment => ({ at, clock: "ours" })

const ofService = (at: number): Moment => ({ at, clock: "service" })

/** `ahead` is how far the service's clock is ahead of ours. */
const since = ({ at, clock }: Moment, now: number, ahead: number): number =>
  now - at + (clock === "service" ? ahead : 0)

// Numbers are times by our clock, in milliseconds since the epoch.
export interface View {
  readonly name: string
  readonly job: JobRef
  readonly state: State
  readonly attempt: number
  /** When the job was submitted, or first seen if the service does not report it. */
  readonly createdAt: Moment
  /** When the job entered its state, or was first seen in it. */
  readonly since: Moment
  readonly changedAt: number
  /** The last progress of this attempt, and when it was seen. */
  readonly progress: Option.Option<{ readonly fraction: number; readonly at: number }>
  /** When the job is expected to end. */
  readonly expectedEnd: Option.Option<number>
  readonly trouble: Option.Option<Extract<WatchEvent, { readonly _tag: "Trouble" }>>
  /** Why the job failed. */
  readonly reason: string
  readonly cursor: Option.Option<Transition.Cursor>
  /** Whether another watch would fail in the same way. */
  readonly isLost: boolean
  readonly summary: JobSummary.JobSummary
}

/** The view before the first event; a cursor has the state of the job when it was last seen. */
export const make = (
  name: string,
  job: JobRef,
  now: number,
  from: Option.Option<Transition.Cursor> = Option.none()
): View => {
  const start: View = {
    name,
    job,
    state: "unseen",
    attempt: 0,
    createdAt: ours(now),
    since: ours(now),
    changedAt: now,
    progress: Option.none(),
    expectedEnd: Option.none(),
    trouble: Option.none(),
    reason: "",
    cursor: from,
    isLost: false,
    summary: JobSummary.empty(job)
  }
  return Option.match(from, {
    onNone: () => start,
    onSome: ({ at, claimedAt, phase, retries }) => {
      // the cursor of an ended job does not have its outcome
      if (phase === "Ended") return start
      const reported = phase === "Running" ? claimedAt : at
      const since = reported === undefined ? ours(now) : ofService(reported)
      return phase === "Running"
        ? { ...start, state: "running", attempt: retries + 1, since }
        : { ...start, state: "queued", attempt: retries, since }
    }
  })
}

export const isOver = ({ state }: View): boolean => state !== "unseen" && state !== "queued" && state !== "running"

const stateAfter = (view: View, transition: Transition.Transition): State => {
  switch (transition._tag) {
    case "Queued":
    case "Requeued":
      return "queued"
    case "Claimed":
      return "running"
    case "Progressed":
      return view.state
    default:
      return transition._tag
  }
}

// The same watch would fail again.
const isFinal = (error: WatchError): boolean =>
  error._tag === "UnrecognizedStatus" || error._tag === "JobMismatch" || (isQueueError(error) && !isTransient(error))

/** The view with one more event. */
export const add = (self: View, event: Event, now: number): View => {
  switch (event._tag) {
    case "Trouble":
      return { ...self, trouble: Option.some(event) }
    case "Recovered":
      return { ...self, trouble: Option.none() }
    case "WatchFailed":
      return {
        ...self,
        state: "WatchFailed",
        since: ours(now),
        reason: printable(event.error.message),
        isLost: isFinal(event.error)
      }
    default: {
      const state = stateAfter(self, event)
      const hasMoved = event._tag !== "Progressed"
      return {
        ...self,
        state,
        attempt: event.attempt,
        createdAt: Option.match(event.snapshot.createdAt, {
          onNone: () => self.createdAt,
          onSome: ({ epochMillis }) => ofService(epochMillis)
        }),
        since: hasMoved
          ? Option.match(event.at, {
            onNone: () => ours(now),
            onSome: ({ epochMillis }) => ofService(epochMillis)
          })
          : self.since,
        changedAt: now,
        progress: event._tag === "Progressed"
          ? Option.map(event.progress, (fraction) => ({ fraction, at: now }))
          // the row of an ended job keeps its last progress
          : Transition.isTerminal(event)
          ? self.progress
          : Option.none(),
        trouble: Option.none(),
        reason: reasonOf(event),
        cursor: Option.some(event.cursor),
        summary: JobSummary.add(self.summary, event)
      }
    }
  }
}

/** A running job is reported as unchanged after this time. */
export const quietAfter: Duration.Duration = Duration.minutes(1)

const leftOf = ({ expectedEnd }: View, now: number): ReadonlyArray<string> =>
  Option.match(Option.filter(expectedEnd, (end) => end > now), {
    onNone: () => [],
    onSome: (end) => [`about ${elapsed(end - now)} left`]
  })

const troubleOf = ({ trouble }: View, now: number): ReadonlyArray<string> =>
  Option.match(trouble, {
    onNone: () => [],
    onSome: ({ error, nextTryAt, since }) => {
      const wait = nextTryAt.epochMillis - now
      return [
        `NOT SEEN for ${elapsed(now - since.epochMillis)} (${inShort(error)}), ${
          wait > 0 ? `next try in ${elapsed(wait)}` : "trying again"
        }`
      ]
    }
  })

/** The state in a word. */
export const wordFor: { readonly [state in State]: string } = {
  unseen: "asking",
  queued: "queued",
  running: "running",
  Completed: "done",
  FailedByModel: "failed",
  RetriesExhausted: "failed",
  Canceled: "canceled",
  Unrecognized: "unknown",
  WatchFailed: "gave up"
}

/** The details that a narrow row leaves out. */
export interface Omitted {
  readonly left?: boolean
  readonly attempt?: boolean
}

/** Describes the job in its state; `ahead` is how far the service's clock is ahead of ours, in milliseconds. */
export const describe = (view: View, now: number, ahead: number, omitted: Omitted = {}): string => {
  const inState = since(view.since, now, ahead)
  const age = elapsed(inState)
  const total = `after ${elapsed(since(view.createdAt, now, ahead) - inState)}`
  const attempt = omitted.attempt === true ? "" : `attempt ${view.attempt} of ${maxAttempts}`
  const left = omitted.left === true ? [] : leftOf(view, now)
  const words = (...details: ReadonlyArray<string>): string =>
    [...details, ...troubleOf(view, now)].filter((detail) => detail !== "").join(", ")
  switch (view.state) {
    case "unseen":
      return words(age)
    case "queued":
      return words(age, view.attempt > 0 && attempt !== "" ? `${attempt} lost` : "", ...left)
    case "running": {
      const quiet = now - view.changedAt
      return words(
        age,
        attempt,
        ...left,
        quiet >= Duration.toMillis(quietAfter) ? `NO CHANGE for ${elapsed(quiet)}` : ""
      )
    }
    case "Completed":
      return words(total, view.attempt > 1 ? attempt : "")
    case "FailedByModel":
      return words(total, view.reason, view.attempt > 1 ? attempt : "")
    case "RetriesExhausted":
      return words(total, view.reason)
    case "Canceled":
      return words(total)
    case "Unrecognized":
    case "WatchFailed":
      return view.reason
  }
}

/** The fraction of the work that is done, if it is known. */
export const fractionOf = (view: View): Option.Option<number> =>
  view.state === "Completed"
    ? Option.some(1)
    : Option.map(view.progress, ({ fraction }) => Math.max(0, Math.min(1, fraction)))

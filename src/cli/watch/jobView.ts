// What is known of a watched job, folded from its events.
import * as Ansi from "@effect/printer-ansi/Ansi"
import type * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Number from "effect/Number"
import * as Option from "effect/Option"
import type { JobRef } from "../../model/Job.js"
import * as JobSummary from "../../model/JobSummary.js"
import { isQueueError, isTransient } from "../../model/QueueError.js"
import type { WatchError } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import type { WatchEvent } from "../../watch/JobStream.js"
import { codes } from "../exit.js"
import { elapsed, inShort, printable } from "../text.js"
import { maxAttempts, reasonOf } from "./events.js"
import type { Event } from "./events.js"

export type State = "unseen" | "queued" | "running" | Transition.Terminal["_tag"] | "WatchFailed"

/** A time in milliseconds since the epoch, by the service's clock or by ours. */
interface Moment {
  readonly at: number
  readonly clock: "service" | "ours"
}

const ours = (at: number): Moment => ({ at, clock: "ours" })

const ofService = (at: number): Moment => ({ at, clock: "service" })

const reportedOr = (at: Option.Option<DateTime.Utc>, otherwise: Moment): Moment =>
  Option.match(at, { onNone: () => otherwise, onSome: ({ epochMillis }) => ofService(epochMillis) })

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
  /** The last progress of this attempt. */
  readonly progress: Option.Option<number>
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

/** The view before the first event; a cursor has the state of the job, which had not ended, when it was last seen. */
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
      const isRunning = phase === "Running"
      const reported = isRunning ? claimedAt : at
      return {
        ...start,
        state: isRunning ? "running" : "queued",
        attempt: isRunning ? retries + 1 : retries,
        since: reported === undefined ? ours(now) : ofService(reported)
      }
    }
  })
}

interface StateView {
  readonly word: string
  readonly color: Ansi.Ansi
  /** The exit code of a watch that ends with the job in this state. */
  readonly code: number
}

export const states: { readonly [state in State]: StateView } = {
  unseen: { word: "asking", color: Ansi.blackBright, code: codes.gaveUp },
  queued: { word: "queued", color: Ansi.blackBright, code: codes.gaveUp },
  running: { word: "running", color: Ansi.cyan, code: codes.gaveUp },
  Completed: { word: "done", color: Ansi.green, code: codes.done },
  FailedByModel: { word: "failed", color: Ansi.red, code: codes.failed },
  RetriesExhausted: { word: "failed", color: Ansi.red, code: codes.failed },
  Canceled: { word: "canceled", color: Ansi.yellow, code: codes.canceled },
  Unrecognized: { word: "unknown", color: Ansi.magenta, code: codes.gaveUp },
  WatchFailed: { word: "gave up", color: Ansi.magenta, code: codes.gaveUp }
}

export const isOver = ({ state }: View): boolean => state !== "unseen" && state !== "queued" && state !== "running"

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
      const view: View = {
        ...self,
        attempt: event.attempt,
        createdAt: reportedOr(event.snapshot.createdAt, self.createdAt),
        changedAt: now,
        trouble: Option.none(),
        reason: reasonOf(event),
        cursor: Option.some(event.cursor),
        summary: JobSummary.add(self.summary, event)
      }
      if (event._tag === "Progressed") return { ...view, progress: event.progress }
      const since = reportedOr(event.at, ours(now))
      // the row of an ended job keeps its last progress
      if (Transition.isTerminal(event)) return { ...view, state: event._tag, since }
      return { ...view, state: event._tag === "Claimed" ? "running" : "queued", since, progress: Option.none() }
    }
  }
}

/** A running job is reported as unchanged after this time. */
const quietAfter = Duration.toMillis("1 minute")

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

/**
 * Describes the job in its state. `ahead` is how far the service's clock is ahead of ours, in milliseconds. `omitted` is
 * how many details a narrow row leaves out: the time left, then the attempt.
 */
export const describe = (view: View, now: number, ahead: number, omitted: 0 | 1 | 2 = 0): string => {
  const { reason, state } = view
  if (state === "Unrecognized" || state === "WatchFailed") return reason
  const inState = since(view.since, now, ahead)
  const total = since(view.createdAt, now, ahead) - inState
  const attempt = omitted < 2 ? [`attempt ${view.attempt} of ${maxAttempts}`] : []
  const left = omitted < 1 ? leftOf(view, now) : []
  const quiet = now - view.changedAt
  const details = (): ReadonlyArray<string> => {
    switch (state) {
      case "unseen":
      case "queued":
        return [elapsed(inState), ...view.attempt > 0 ? attempt.map((attempt) => `${attempt} lost`) : [], ...left]
      case "running":
        return [
          elapsed(inState),
          ...attempt,
          ...left,
          ...quiet >= quietAfter ? [`NO CHANGE for ${elapsed(quiet)}`] : []
        ]
      case "Completed":
      case "FailedByModel":
        return [`after ${elapsed(total)}`, reason, ...view.attempt > 1 ? attempt : []]
      case "RetriesExhausted":
      case "Canceled":
        return [`after ${elapsed(total)}`, reason]
    }
  }
  return [...details(), ...troubleOf(view, now)].filter((detail) => detail !== "").join(", ")
}

/** The fraction of the work that is done, if it is known. */
export const fractionOf = (view: View): Option.Option<number> =>
  view.state === "Completed"
    ? Option.some(1)
    : Option.map(view.progress, Number.clamp({ minimum: 0, maximum: 1 }))

// What is known of a watched job, folded from its events.
import * as Ansi from "@effect/printer-ansi/Ansi"
import * as Number from "effect/Number"
import * as Option from "effect/Option"
import { millis } from "../../model/internal/position.js"
import type { JobRef } from "../../model/Job.js"
import * as JobSummary from "../../model/JobSummary.js"
import { isQueueError, isTransient, type WatchError } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import { quietAfter } from "../../telemetry/internal/explanation.js"
import { codes } from "../exit.js"
import { elapsed, inShort, printable } from "../text.js"
import { type Event, maxAttempts, reasonOf } from "./events.js"

export type State = "unseen" | "queued" | "running" | Transition.Terminal["_tag"] | "WatchFailed"

/** Where each state is shown: its word, its color, and the exit code of a watch that ends with the job in it. */
export const states: {
  readonly [state in State]: { readonly word: string; readonly color: Ansi.Ansi; readonly code: number }
} = {
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

/** A time by the service's clock, if it reported one, and when it was observed, by ours; in milliseconds. */
interface Moment {
  readonly reported: number | undefined
  readonly observed: number
}

/** `ahead` is how far the service's clock is ahead of ours. */
const since = ({ observed, reported }: Moment, now: number, ahead: number): number =>
  reported === undefined ? now - observed : now + ahead - reported

export interface View {
  readonly name: string
  readonly job: JobRef
  readonly state: State
  readonly attempt: number
  /** When the watch began, by our clock, in milliseconds since the epoch. */
  readonly startedAt: number
  /** When the job entered its state. */
  readonly entered: Moment
  readonly last: Transition.Transition | undefined
  readonly cursor: Transition.Cursor | undefined
  readonly trouble: Extract<Event, { readonly _tag: "Trouble" }> | undefined
  readonly failure: WatchError | undefined
  /** When the job is expected to end, by our clock, in milliseconds since the epoch. */
  readonly expectedEnd: Option.Option<number>
  readonly summary: JobSummary.JobSummary
}

/** The view before the first event; a cursor has the state of the job, which had not ended, when it was last seen. */
export const make = (name: string, job: JobRef, now: number, from?: Transition.Cursor): View => {
  const isRunning = from?.phase === "Running"
  return {
    name,
    job,
    state: from === undefined ? "unseen" : isRunning ? "running" : "queued",
    attempt: (from?.retries ?? 0) + (isRunning ? 1 : 0),
    startedAt: now,
    entered: { reported: isRunning ? from.claimedAt : from?.at, observed: now },
    last: undefined,
    cursor: from,
    trouble: undefined,
    failure: undefined,
    expectedEnd: Option.none(),
    summary: JobSummary.empty(job)
  }
}

/** The view with one more event. */
export const add = (self: View, event: Event): View => {
  switch (event._tag) {
    case "Trouble":
      return { ...self, trouble: event }
    case "Recovered":
      return { ...self, trouble: undefined }
    case "WatchFailed":
      return { ...self, state: "WatchFailed", failure: event.error }
    default: {
      const { at, attempt, cursor, observedAt } = event
      const summary = JobSummary.add(self.summary, event)
      const view: View = { ...self, attempt, last: event, cursor, trouble: undefined, summary }
      return event._tag === "Progressed" ? view : {
        ...view,
        state: Transition.isTerminal(event) ? event._tag : event._tag === "Claimed" ? "running" : "queued",
        entered: { reported: millis(at), observed: observedAt.epochMillis }
      }
    }
  }
}

export const isOver = ({ state }: View): boolean => state !== "unseen" && state !== "queued" && state !== "running"

/** Whether another watch may see how the job goes on. */
export const canResume = (view: View): boolean => {
  const { failure } = view
  if (failure === undefined) return !isOver(view)
  return failure._tag !== "UnrecognizedStatus" && failure._tag !== "JobMismatch" &&
    (!isQueueError(failure) || isTransient(failure))
}

/** The fraction of the work that is done, if it is known. An ended job keeps its last progress. */
export const fractionOf = ({ state, summary: { progress } }: View): Option.Option<number> => {
  if (state === "Completed") return Option.some(1)
  // the progress is that of a lost attempt
  if (state === "queued" || state === "Canceled") return Option.none()
  return Option.map(progress, Number.clamp({ minimum: 0, maximum: 1 }))
}

const leftOf = ({ expectedEnd }: View, now: number): string =>
  Option.match(Option.filter(expectedEnd, (end) => end > now), {
    onNone: () => "",
    onSome: (end) => `about ${elapsed(end - now)} left`
  })

const quietOf = ({ last, startedAt }: View, now: number): string => {
  const quiet = now - (last?.observedAt.epochMillis ?? startedAt)
  return quiet >= quietAfter ? `NO CHANGE for ${elapsed(quiet)}` : ""
}

const troubleOf = ({ trouble }: View, now: number): string => {
  if (trouble === undefined) return ""
  const { error, nextTryAt, since } = trouble
  const wait = nextTryAt.epochMillis - now
  const next = wait > 0 ? `next try in ${elapsed(wait)}` : "trying again"
  return `NOT SEEN for ${elapsed(now - since.epochMillis)} (${inShort(error)}), ${next}`
}

/**
 * Describes the job in its state. `ahead` is how far the service's clock is ahead of ours, in milliseconds. `omitted` is
 * how many details a narrow row leaves out: the time left, then the attempt.
 */
export const describe = (view: View, now: number, ahead: number, omitted: 0 | 1 | 2 = 0): string => {
  const { entered, failure, last, startedAt, state } = view
  if (failure !== undefined) return printable(failure.message)
  const reason = last === undefined ? "" : reasonOf(last)
  const inState = since(entered, now, ahead)
  const attempt = omitted < 2 ? `attempt ${view.attempt} of ${maxAttempts}` : ""
  const left = omitted < 1 ? leftOf(view, now) : ""
  const details = (): ReadonlyArray<string> => {
    switch (state) {
      case "Unrecognized":
        return [reason]
      case "unseen":
      case "queued":
        return [elapsed(inState), view.attempt > 0 && attempt !== "" ? `${attempt} lost` : "", left]
      case "running":
        return [elapsed(inState), attempt, left, quietOf(view, now)]
      default: {
        const created = { reported: last && millis(last.snapshot.createdAt), observed: startedAt }
        const hasAttempt = view.attempt > 1 && (state === "Completed" || state === "FailedByModel")
        return [`after ${elapsed(since(created, now, ahead) - inState)}`, reason, hasAttempt ? attempt : ""]
      }
    }
  }
  return [...details(), troubleOf(view, now)].filter((detail) => detail !== "").join(", ")
}

/**
 * What a person wants to see of a job: its state, how far and how old it is, when it may be done, and whether it can be
 * seen at all. Folded from what the watch tells; nothing in here knows of a terminal.
 *
 * @internal
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Option from "effect/Option"
import { maxRetries } from "../../model/internal/limits.js"
import type { JobRef } from "../../model/Job.js"
import * as JobSummary from "../../model/JobSummary.js"
import { isQueueError, isTransient } from "../../model/QueueError.js"
import type { WatchError } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import type { WatchEvent } from "../../watch/JobStream.js"
import { elapsed, inShort, jsonLine, printable } from "../text.js"
import type { Event } from "./eventJson.js"

/** @internal */
export type State = "unseen" | "queued" | "running" | Transition.Terminal["_tag"] | "WatchFailed"

/**
 * A time in milliseconds since the epoch, by the service's clock or by ours.
 *
 * @internal
 */
export interface Moment {
  readonly at: number
  readonly clock: "service" | "ours"
}

const ours = (at: number): Moment => ({ at, clock: "ours" })

const ofService = (at: number): Moment => ({ at, clock: "service" })

/** `ahead` is how far the service's clock is ahead of ours. */
const since = ({ at, clock }: Moment, now: number, ahead: number): number =>
  now - at + (clock === "service" ? ahead : 0)

/**
 * Numbers are times by our clock, in milliseconds since the epoch.
 *
 * - `since`: since when the job is in that state, where the service reports it, else when it was first seen in it.
 * - `createdAt`: when the job was submitted, where the service reports it, else when it was first seen.
 * - `changedAt`: when the job was last seen to change.
 * - `progress`: the last in this attempt, and when it was seen.
 * - `cursor`: what is known, to go on from.
 * - `isLost`: whether it is of no use to go on.
 * - `reason`: why it ended as it did, where that is a failure.
 *
 * @internal
 */
export interface View {
  readonly name: string
  readonly job: JobRef
  readonly state: State
  readonly attempt: number
  readonly createdAt: Moment
  readonly since: Moment
  readonly changedAt: number
  readonly progress: Option.Option<{ readonly fraction: number; readonly at: number }>
  /** When the job is expected to end, by our clock and by the jobs of its model that ended before. */
  readonly expectedEnd: Option.Option<number>
  readonly trouble: Option.Option<Extract<WatchEvent, { readonly _tag: "Trouble" }>>
  readonly reason: string
  readonly cursor: Option.Option<Transition.Cursor>
  readonly isLost: boolean
  readonly summary: JobSummary.JobSummary
}

/**
 * A job that is going to be watched, from a cursor on where there is one.
 *
 * @internal
 */
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
      // how it ended a cursor does not tell
      if (phase === "Ended") return start
      const reported = phase === "Running" ? claimedAt : at
      const since = reported === undefined ? ours(now) : ofService(reported)
      return phase === "Running"
        ? { ...start, state: "running", attempt: retries + 1, since }
        : { ...start, state: "queued", attempt: retries, since }
    }
  })
}

/** @internal */
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

const reasonOf = (transition: Transition.Transition): string => {
  switch (transition._tag) {
    case "FailedByModel":
      return Option.match(transition.reason, { onNone: () => "no reason given", onSome: printable })
    case "RetriesExhausted":
      return `all ${transition.attempt} attempts lost their workers`
    case "Unrecognized":
      return `the service says ${jsonLine(transition.status)}`
    default:
      return ""
  }
}

// Whoever asks again is told the same again.
const isFinal = (error: WatchError): boolean =>
  error._tag === "UnrecognizedStatus" || error._tag === "JobMismatch" || (isQueueError(error) && !isTransient(error))

/**
 * The view with one more event.
 *
 * @internal
 */
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
          // how far it came is still to be seen when it has ended
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

// -----------------------------------------------------------------------------
// in words
// -----------------------------------------------------------------------------

/**
 * A job that runs and does not change is said to do so from here on: one minute.
 *
 * @internal
 */
export const quietAfter: Duration.Duration = Duration.minutes(1)

const maxAttempts = maxRetries + 1

/**
 * How long the job will still run, should it go on as it has since it was claimed.
 *
 * @internal
 */
export const timeLeft = (view: View, now: number, ahead: number): Option.Option<number> =>
  Option.flatMap(view.progress, ({ at, fraction }) => {
    // how far the clocks differ is known to a second
    const took = since(view.since, at, ahead)
    if (view.state !== "running" || fraction <= 0 || fraction >= 1 || took <= 0) return Option.none()
    return Option.some(Math.max(0, took / fraction - since(view.since, now, ahead)))
  })

/** The same, or, where that is not known, how long other jobs of the model took. */
const leftOf = (view: View, now: number, ahead: number): ReadonlyArray<string> =>
  timeLeft(view, now, ahead).pipe(
    Option.orElse(() => Option.filter(Option.map(view.expectedEnd, (end) => end - now), (left) => left > 0)),
    Option.match({
      onNone: () => [],
      onSome: (left) => [left > 0 ? `about ${elapsed(left)} left` : "any moment now"]
    })
  )

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
 * The state in a word.
 *
 * @internal
 */
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

/**
 * What there is to say of a job in its state, while the service's clock is ahead of ours by so many milliseconds.
 *
 * @internal
 */
export const describe = (view: View, now: number, ahead: number): string => {
  const inState = since(view.since, now, ahead)
  const age = elapsed(inState)
  const total = elapsed(since(view.createdAt, now, ahead) - inState)
  const attempts = view.attempt > 1 || view.state === "running" ? [`attempt ${view.attempt} of ${maxAttempts}`] : []
  const words = (...details: ReadonlyArray<string>): string =>
    [...details, ...troubleOf(view, now)].filter((detail) => detail !== "").join(", ")
  switch (view.state) {
    case "unseen":
      return words(age)
    case "queued":
      return words(
        age,
        ...(view.attempt > 0 ? [`attempt ${view.attempt} of ${maxAttempts} lost`] : []),
        ...leftOf(view, now, ahead)
      )
    case "running": {
      const quiet = now - view.changedAt
      return words(
        age,
        ...attempts,
        ...leftOf(view, now, ahead),
        ...(quiet >= Duration.toMillis(quietAfter) ? [`NO CHANGE for ${elapsed(quiet)}`] : [])
      )
    }
    case "Completed":
      return words(`after ${total}`, ...attempts)
    case "FailedByModel":
      return words(`after ${total}`, view.reason, ...attempts)
    case "RetriesExhausted":
      return words(`after ${total}`, view.reason)
    case "Canceled":
      return words(`after ${total}`)
    case "Unrecognized":
      return words(view.reason)
    case "WatchFailed":
      return view.reason
  }
}

/**
 * The part of the work that is done, where it is known.
 *
 * @internal
 */
export const fractionOf = (view: View): Option.Option<number> =>
  view.state === "Completed"
    ? Option.some(1)
    : Option.map(view.progress, ({ fraction }) => Math.max(0, Math.min(1, fraction)))

/**
 * What a transition adds to its name, in words.
 *
 * @internal
 */
export const detailsOf = (event: Event): string => {
  switch (event._tag) {
    case "Queued":
    case "Canceled":
      return ""
    case "Claimed":
      return `attempt ${event.attempt} of ${maxAttempts}`
    case "Progressed":
      return Option.match(event.progress, {
        onNone: () => jsonLine(event.changed),
        onSome: (progress) => `${Math.round(progress * 100)} %`
      })
    case "Requeued":
      return `attempt ${event.attempt} lost its worker, ${event.retriesLeft} retries left`
    case "Completed":
      return jsonLine(event.outputs)
    case "FailedByModel":
    case "RetriesExhausted":
    case "Unrecognized":
      return reasonOf(event)
    case "Trouble":
      return `${printable(event.error.message)}; next try at ${DateTime.formatIso(event.nextTryAt)}`
    case "Recovered":
      return `seen again; it was not since ${DateTime.formatIso(event.since)}`
    case "WatchFailed":
      return printable(event.error.message)
  }
}

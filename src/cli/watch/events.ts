// The events of a watch as lines of text or JSON.
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { maxRetries } from "../../model/internal/limits.js"
import type * as Transition from "../../model/Transition.js"
import { WatchEvent, WatchFailed } from "../../watch/JobStream.js"
import { jsonLine, printable } from "../text.js"

export type Event = WatchEvent | WatchFailed

export const maxAttempts = maxRetries + 1

const encode = Schema.encode(Schema.Union(WatchEvent, WatchFailed))

/** Encodes an event in one line. An error also has its message. */
export const toJson = (event: Event): Effect.Effect<string> =>
  encode(event).pipe(
    // the same schemas decoded what is encoded here
    Effect.orDie,
    Effect.map((encoded) => jsonLine("error" in event ? { ...encoded, message: event.error.message } : encoded))
  )

/** Writes a time to the second, of this machine's time zone or of UTC. */
export type Clock = (at: DateTime.DateTime) => string

const toSecond = (iso: string): string => iso.slice(0, "2026-02-07T03:30:00".length).replace("T", " ")

const zone = DateTime.zoneMakeLocal()

export const localTime: Clock = (at) => toSecond(DateTime.formatIsoOffset(DateTime.setZone(at, zone)))

export const utcTime: Clock = (at) => `${toSecond(DateTime.formatIso(at))}Z`

/** The reason of a failed job, and an empty text for any other. */
export const reasonOf = (transition: Transition.Transition): string => {
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

const detailsOf = (event: Event, clock: Clock): string => {
  switch (event._tag) {
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
    case "Trouble":
      return `${printable(event.error.message)}; next try at ${clock(event.nextTryAt)}`
    case "Recovered":
      return `seen again; it was not since ${clock(event.since)}`
    case "WatchFailed":
      return printable(event.error.message)
    default:
      return reasonOf(event)
  }
}

const timeOf = (event: Event, now: number, clock: Clock): string => {
  if (!("observedAt" in event)) return ` ${clock(DateTime.unsafeMake(now))}`
  return Option.match(event.at, {
    onNone: () => `~${clock(event.observedAt)}`,
    onSome: (at) => ` ${clock(at)}`
  })
}

/** An event in a line of text. `~` marks the time of the poll, where the service reported none. */
export const line = (name: string, event: Event, now: number, clock: Clock): string => {
  const isInferred = "evidence" in event && event.evidence === "inferred"
  return `${timeOf(event, now, clock)}  ${printable(name)}  ${event._tag}${isInferred ? " (inferred)" : ""}  ${
    detailsOf(event, clock)
  }`.trimEnd()
}

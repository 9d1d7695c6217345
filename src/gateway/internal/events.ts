/**
 * The events of a job as text: server-sent events, or a line of JSON each.
 *
 * @internal
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import type { JsonObject } from "../../model/Job.js"
import * as Transition from "../../model/Transition.js"
import * as JobStream from "../../watch/JobStream.js"
import type { JobWatcher } from "../../watch/JobWatcher.js"
import type { Query } from "./request.js"
import { retryField } from "./response.js"
import type { Encoders } from "./view.js"

/** An event. Only a transition has an `id`: a client continues from the last transition that it has seen. */
interface Element {
  readonly name: string
  readonly json: JsonObject
  readonly id?: string
}

/** @internal */
export interface Format {
  readonly contentType: string
  /** What is sent at once, so that the headers are. */
  readonly begin: Effect.Effect<string>
  readonly heartbeat: string
  readonly write: (element: Element) => string
}

const line = (json: JsonObject) => `${JSON.stringify(json)}\n`

// Neither a cursor, nor a tag, nor JSON contains a line break.
const serverSentEvents: Format = {
  contentType: "text/event-stream",
  begin: retryField,
  heartbeat: ": heartbeat\n\n",
  write: ({ id, json, name }) => `${id === undefined ? "" : `id: ${id}\n`}event: ${name}\ndata: ${line(json)}\n`
}

const heartbeat = line({ _tag: "Heartbeat" })

const lines: Format = {
  contentType: "application/x-ndjson",
  begin: Effect.succeed(heartbeat),
  heartbeat,
  write: ({ json }) => line(json)
}

/** @internal */
export const formatFor = (accept: string | undefined): Format =>
  accept?.includes(lines.contentType) === true ? lines : serverSentEvents

const end: Element = { name: "end", json: { _tag: "End" } }

/** @internal */
export const textOf = (
  { from, job }: Query,
  { error: encodeError, event: encodeEvent }: Encoders,
  { begin, heartbeat, write }: Format,
  interval: Duration.DurationInput
): Stream.Stream<string, never, JobWatcher> =>
  JobStream.events(job, { from }).pipe(
    Stream.map((event): Element =>
      event._tag === "Trouble" || event._tag === "Recovered"
        ? { name: event._tag, json: encodeEvent(event) }
        : { name: event._tag, json: encodeEvent(event), id: Transition.formatCursor(event.cursor) }
    ),
    Stream.concat(Stream.make(end)),
    // not `error`: an `EventSource` uses this name for its own errors
    Stream.catchAll((error) =>
      Stream.make({ name: "watch-failed", json: { _tag: "WatchFailed", error: encodeError(error) } })
    ),
    Stream.map(write),
    Stream.merge(Stream.as(Stream.fromSchedule(Schedule.spaced(interval)), heartbeat), { haltStrategy: "left" }),
    (texts) => Stream.concat(Stream.fromEffect(begin), texts)
  )

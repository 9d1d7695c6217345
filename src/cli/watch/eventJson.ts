/**
 * The events of a watch as lines of JSON.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { WatchEvent, WatchFailed } from "../../watch/JobStream.js"
import { printable } from "../text.js"

/** @internal */
export type Event = WatchEvent | WatchFailed

const encode = Schema.encode(Schema.Union(WatchEvent, WatchFailed))
const toText = Schema.encode(Schema.parseJson(Schema.Unknown))

/**
 * The event in one line. An error has its message beside it, in words.
 *
 * @internal
 */
export const toJson = (event: Event): Effect.Effect<string> =>
  encode(event).pipe(
    Effect.flatMap((encoded) => toText("error" in event ? { ...encoded, message: event.error.message } : encoded)),
    // the same schemas decoded what is encoded here
    Effect.orDie,
    Effect.map(printable)
  )

/**
 * What a watch tells, and how it ends, as lines of JSON.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { JobRef } from "../../model/Job.js"
import {
  JobMismatch,
  PendingTooLong,
  QueueError,
  Stalled,
  UnrecognizedStatus,
  WatchTimeout
} from "../../model/QueueError.js"
import type { WatchError } from "../../model/QueueError.js"
import { Transition } from "../../model/Transition.js"
import type * as JobStream from "../../watch/JobStream.js"
import { printable } from "../text.js"

/**
 * The watch of a job has ended before the job has.
 *
 * @internal
 */
export interface GaveUp {
  readonly _tag: "GaveUp"
  readonly job: JobRef
  readonly error: WatchError
}

/** @internal */
export type Event = JobStream.WatchEvent | GaveUp

const Line = Schema.parseJson(Schema.Union(
  Transition,
  Schema.TaggedStruct("Trouble", {
    job: JobRef,
    message: Schema.String,
    error: QueueError,
    since: Schema.DateTimeUtc,
    nextTryAt: Schema.DateTimeUtc
  }),
  Schema.TaggedStruct("Recovered", { job: JobRef, since: Schema.DateTimeUtc }),
  Schema.TaggedStruct("GaveUp", {
    job: JobRef,
    message: Schema.String,
    error: Schema.Union(QueueError, UnrecognizedStatus, JobMismatch, PendingTooLong, Stalled, WatchTimeout)
  })
))

const encode = Schema.encode(Line)

/**
 * The event in one line. An error has its message beside it, in words.
 *
 * @internal
 */
export const toJson = (event: Event): Effect.Effect<string> =>
  encode("error" in event ? { ...event, message: event.error.message } : event).pipe(
    // what is told was decoded by the same schemas
    Effect.orDie,
    Effect.map(printable)
  )

/** What clients receive of a job: the encoders of snapshots, events and errors. */
import type * as DateTime from "effect/DateTime"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type { Rules } from "../../model/internal/rules.js"
import * as Job from "../../model/Job.js"
import { InvalidCursor, WatchError } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import { WatchEvent } from "../../watch/JobStream.js"

/** A view. The public options refer to it, so it is not marked as internal: the build would leave it out. */
export type View = "slim" | "full" | ((transition: Transition.Transition) => Job.JsonObject)

/** @internal */
export interface Encoders {
  readonly snapshot: (status: Job.JobStatus, at: DateTime.Utc, rules: Rules) => unknown
  readonly event: (event: WatchEvent) => Job.JsonObject
  readonly error: (error: WatchError) => Job.JsonObject
}

const encodeStatus = Schema.encodeSync(Job.JobStatus)
const encodeEvent = Schema.encodeSync(WatchEvent)
const encodeFields = Schema.encodeSync(Schema.Union(WatchError, InvalidCursor))
const decodeError = Schema.decodeUnknownSync(WatchError)

/** A snapshot without inputs, and without outputs before the job ends: those of a failed one may have the reason. @internal */
export const slimStatus = (status: Job.JobStatus): Job.JobStatus => ({
  ...status,
  inputs: Job.absent,
  outputs: Job.isTerminal(status) ? status.outputs : Job.absent
})

type Document = typeof Job.JobStatus.Encoded

const slimDocument = (
  { inputs: _inputs, outputs: _outputs, ...rest }: Document
): Omit<Document, "inputs" | "outputs"> => rest

/** The fields of an encoded error that have the inputs and outputs of the job, or are texts that may quote them. */
interface EncodedError {
  readonly _tag: string
  readonly body?: string
  /** The error of a cancel, or its result, which has none of these fields. */
  readonly cancel?: EncodedError | undefined
  readonly detail?: string | undefined
  readonly issue?: string
  readonly lastError?: EncodedError | undefined
  readonly lastSeen?: { readonly status: Document } | undefined
  readonly previousError?: string | undefined
  readonly snapshot?: Document
}

const slimError = (
  { body, cancel, detail: _detail, issue, lastError, lastSeen, previousError: _previousError, snapshot, ...rest }:
    EncodedError
): Job.JsonObject => ({
  ...rest,
  ...(body !== undefined && { body: "" }),
  ...(cancel !== undefined && { cancel: slimError(cancel) }),
  ...(issue !== undefined && { issue: "the gateway does not pass on the response of the service" }),
  ...(lastError !== undefined && { lastError: slimError(lastError) }),
  ...(lastSeen !== undefined && { lastSeen: { ...lastSeen, status: slimDocument(lastSeen.status) } }),
  ...(snapshot !== undefined && { snapshot: slimDocument(snapshot) })
})

/** Encodes every field of an error, and its message. @internal */
export const encodeError = (error: WatchError | InvalidCursor): Job.JsonObject => ({
  ...encodeFields(error),
  message: error.message
})

/** An error without the inputs and outputs of the job, and without texts that may quote them. @internal */
export const slimErrorOf = <E extends WatchError>(error: E): E =>
  // of the same tag, and so of the same class
  decodeError(slimError(encodeFields(error))) as E

const encodeSlimError = (error: WatchError) => encodeError(slimErrorOf(error))

const eventEncoder = (encodeError: Encoders["error"]) => (event: WatchEvent): Job.JsonObject =>
  event._tag === "Trouble" ? { ...encodeEvent(event), error: encodeError(event.error) } : encodeEvent(event)

const full: Encoders = {
  snapshot: (status) => encodeStatus(status),
  event: eventEncoder(encodeError),
  error: encodeError
}

const encodeWhole = eventEncoder(encodeSlimError)

const slim: Encoders = {
  snapshot: (status) => encodeStatus(slimStatus(status)),
  event: (event) => {
    const { snapshot: _, ...encoded } = encodeWhole(event)
    return encoded
  },
  error: encodeSlimError
}

const custom = (view: (transition: Transition.Transition) => Job.JsonObject): Encoders => ({
  // the last step that the snapshot proves
  snapshot: (status, observedAt, rules) =>
    Transition.derive(Option.none(), status, { observedAt, ...rules, unrecognized: "end" }).pipe(
      Either.map(({ transitions }) => transitions.slice(-1).map(view)[0]),
      Either.getOrThrow
    ),
  event: (event) => event._tag === "Trouble" || event._tag === "Recovered" ? slim.event(event) : view(event),
  error: encodeSlimError
})

/** @internal */
export const encodersOf = (view: View = "slim"): Encoders =>
  view === "slim" ? slim : view === "full" ? full : custom(view)

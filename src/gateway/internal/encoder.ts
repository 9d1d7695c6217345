/**
 * The events of jobs as bytes: server-sent events, or a line of JSON each. What several clients receive is encoded once.
 */
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import type { JobRef, JobStatus, JsonObject } from "../../model/Job.js"
import type { JobMismatch, QueueError, UnrecognizedStatus, WatchError } from "../../model/QueueError.js"
import * as Transition from "../../model/Transition.js"
import type { DeriveRules, Recovered, Sample, Trouble } from "../../watch/internal/notice.js"
import { deriveFrom } from "../../watch/internal/reader.js"
import { retryField } from "./response.js"
import type { Encoders } from "./view.js"

interface Format {
  readonly contentType: string
  /** What is sent at once, so that the headers are. */
  readonly begin: Effect.Effect<Uint8Array>
  readonly heartbeat: Uint8Array
  /** An `id` is that of the last event that a client has seen. */
  readonly writeId: (id: string) => string
  readonly write: (name: string, json: JsonObject) => string
}

const utf8 = new TextEncoder()

/** @internal */
export const encodeText = (text: string): Uint8Array => utf8.encode(text)

const line = (json: JsonObject) => `${JSON.stringify(json)}\n`

/** An event of a stream. Neither a cursor, nor a tag, nor JSON contains a line break. @internal */
export const writeEvent = (name: string, json: string): string => `event: ${name}\ndata: ${json}\n\n`

const serverSentEvents: Format = {
  contentType: "text/event-stream",
  begin: Effect.map(retryField, encodeText),
  heartbeat: encodeText(": heartbeat\n\n"),
  writeId: (id) => `id: ${id}\n`,
  write: (name, json) => writeEvent(name, JSON.stringify(json))
}

const heartbeat = encodeText(line({ _tag: "Heartbeat" }))

const lines: Format = {
  contentType: "application/x-ndjson",
  begin: Effect.succeed(heartbeat),
  heartbeat,
  writeId: () => "",
  write: (_, json) => line(json)
}

/** The transitions that a sample adds. @internal */
export interface Step {
  readonly cursor: Transition.Cursor
  readonly events: ReadonlyArray<{
    readonly cursor: string
    /** The event with its id, for a follower of this job alone. */
    readonly bytes: Uint8Array
    /** The part of the bytes without the id, for a follower of several jobs. */
    readonly withoutId: Uint8Array
  }>
}

type Derived = Either.Either<Step, UnrecognizedStatus | JobMismatch>

/** Stands for the cursor of a follower that has seen nothing. */
const nothing = {}

/** @internal */
export class Encoder {
  // Followers of a job mostly share the cursor that they have seen. A step is dropped with its snapshot or its cursor.
  private readonly steps = new WeakMap<JobStatus, WeakMap<object, Step>>()
  private readonly troubles = new WeakMap<QueueError, { readonly nextTryAt: number; readonly bytes: Uint8Array }>()

  constructor(readonly format: Format, private readonly encoders: Encoders) {}

  step(sample: Sample, rules: DeriveRules): Derived {
    const { status, watch: { cursor: before } } = sample
    const steps = this.steps.get(status) ?? new WeakMap<object, Step>()
    this.steps.set(status, steps)
    const known = steps.get(before ?? nothing)
    if (known !== undefined) return Either.right(known)
    const { encoders, format } = this
    return Either.map(deriveFrom(before, sample, rules), ({ cursor, transitions }) => {
      const events = transitions.map((transition) => {
        const cursor = Transition.formatCursor(transition.cursor)
        const id = format.writeId(cursor)
        const bytes = encodeText(id + format.write(transition._tag, encoders.event(transition)))
        // an id is ASCII
        return { cursor, bytes, withoutId: bytes.subarray(id.length) }
      })
      const step = { cursor, events }
      steps.set(before ?? nothing, step)
      return step
    })
  }

  trouble({ error, nextTryAt, since, watch: { job } }: Trouble): Uint8Array {
    const known = this.troubles.get(error)
    if (known !== undefined && known.nextTryAt === nextTryAt.epochMillis) return known.bytes
    const json = this.encoders.event({ _tag: "Trouble", job, error, since, nextTryAt })
    const bytes = encodeText(this.format.write("Trouble", json))
    this.troubles.set(error, { nextTryAt: nextTryAt.epochMillis, bytes })
    return bytes
  }

  recovered({ since, watch: { job } }: Recovered): Uint8Array {
    return encodeText(this.format.write("Recovered", this.encoders.event({ _tag: "Recovered", job, since })))
  }

  // not `error`: an `EventSource` uses this name for its own errors
  failed({ model, requestId }: JobRef, error: WatchError): Uint8Array {
    const json = { _tag: "WatchFailed", job: { model, requestId }, error: this.encoders.error(error) }
    return encodeText(this.format.write("watch-failed", json))
  }

  get end(): Uint8Array {
    return encodeText(this.format.write("end", { _tag: "End" }))
  }
}

/** Returns what chooses an encoder by the `accept` header of a request. @internal */
export const encodersBy = (encoders: Encoders): (accept: string | undefined) => Encoder => {
  const inLines = new Encoder(lines, encoders)
  const asEvents = new Encoder(serverSentEvents, encoders)
  return (accept) => accept?.includes(lines.contentType) === true ? inLines : asEvents
}

/**
 * The base of the errors that may contain a snapshot.
 *
 * Logged, inspected, or serialized by `JSON.stringify`, such an error has a short form: a snapshot contains the inputs
 * and outputs of its job, which may take megabytes, so only its state is shown. The schemas encode every field.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import * as Inspectable from "effect/Inspectable"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import type { JobStatus } from "../Job.js"

const maxMessage = 600
const maxText = 300

const cut = (text: string, max: number): string => text.length <= max ? text : `${text.slice(0, max - 1)}…`

const shortValue = (value: unknown): unknown =>
  typeof value === "string"
    ? cut(value, maxText)
    : Duration.isDuration(value)
    ? Duration.format(value)
    : value instanceof Error || !Predicate.isRecord(value) || Predicate.hasProperty(value, "toJSON")
    ? Inspectable.toJSON(value)
    : Object.fromEntries(Object.entries(value).map(([key, value]) => [key, shortValue(value)]))

const shortField = ([key, value]: [string, unknown]): ReadonlyArray<readonly [string, unknown]> => {
  if (value === undefined || key === "message") return []
  if (key === "snapshot") return [["state", (value as JobStatus)._tag]]
  if (key !== "lastSeen") return [[key, shortValue(value)]]
  // a `LastSeen` of `QueueError`, which imports this module
  const { age, attempt, status } = value as { age: Duration.Duration; attempt: number; status: JobStatus }
  return [["state", status._tag], ["attempt", attempt], ["age", Duration.format(age)]]
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- TypeScript wants this of a class that extends a parameter
type Args = Array<any>

/**
 * Creates a `Schema.TaggedError` with the short form, and a message made from the fields. The message is cut to a
 * limit, since it may quote texts of any length.
 *
 * Its errors have no stack frames: these would be of this library and of Effect's run loop. `Cause.pretty` shows the
 * spans instead.
 *
 * @internal
 */
export const TaggedError = <Self>() =>
<Tag extends string, Fields extends Schema.Struct.Fields>(
  tag: Tag,
  fields: Fields,
  describe: (error: Schema.Struct.Type<Fields>) => string
): Schema.TaggedErrorClass<Self, Tag, { readonly _tag: Schema.tag<Tag> } & Fields> => {
  // A class can't extend one whose fields are a type parameter: what it extends is a tagged error all the same.
  const Base = Schema.TaggedError<unknown>(`effect-queue-status.${tag}`)(tag, fields) as new(...args: Args) => Error
  // @effect-diagnostics-next-line extendsNativeError:off
  class ShortError extends Base {
    constructor(...args: Args) {
      const limit = Error.stackTraceLimit
      Error.stackTraceLimit = 0
      try {
        super(...args)
      } finally {
        Error.stackTraceLimit = limit
      }
    }

    override get message(): string {
      return cut(describe(this as Schema.Struct.Type<Fields>), maxMessage)
    }

    toJSON() {
      const { _tag, ...fields } = Object.fromEntries(Object.entries(this).flatMap(shortField))
      return { _tag, message: this.message, ...fields }
    }

    [Inspectable.NodeInspectSymbol]() {
      const { _tag, message: _message, ...fields } = this.toJSON()
      return `${this.stack} ${Inspectable.format(fields)}`
    }
  }
  // the extending class, which the type parameter stands for
  return ShortError as unknown as Schema.TaggedErrorClass<Self, Tag, { readonly _tag: Schema.tag<Tag> } & Fields>
}

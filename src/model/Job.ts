/**
 * The reference of a job, and the snapshots that the status endpoint returns.
 *
 * @since 0.1.0
 */
import * as Arbitrary from "effect/Arbitrary"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import type * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import * as ParseResult from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { structuralRegion } from "effect/Utils"
import { errorText } from "./internal/errorText.js"
import { isTimestamp, readTime, Time, TimestampText } from "./internal/timestamp.js"

// -----------------------------------------------------------------------------
// parts
// -----------------------------------------------------------------------------

/**
 * A JSON object whose content belongs to a model and its users; this library does not interpret it.
 *
 * @since 0.1.0
 * @category models
 */
export type JsonObject = { readonly [key: string]: unknown }

const pretty = () => (value: unknown): string => Inspectable.toStringUnknown(value, 0)

const isJsonObject = (u: unknown): u is JsonObject => typeof u === "object" && u !== null && !Array.isArray(u)

/**
 * Checks that a value is an object, and looks no deeper: the cost does not grow with the number of keys.
 *
 * @since 0.1.0
 * @category schemas
 */
export const JsonObject: Schema.Schema<JsonObject> = Schema.declare(isJsonObject, {
  identifier: "JsonObject",
  description: "a JSON object",
  jsonSchema: { type: "object" },
  pretty,
  equivalence: () => (a, b) => structuralRegion(() => Equal.equals(a, b)),
  arbitrary: () => (fc) => fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 4 })
})

// A URL can't represent a lone surrogate: the request would be for another model or job.
const isWellFormed = (text: string): boolean => !/\p{Cs}/u.test(text)

const name = (what: string, annotations: Schema.Annotations.Filter<string>) =>
  Schema.String.pipe(
    Schema.filter((text) => isWellFormed(text) || `${what} must be well-formed Unicode`, { jsonSchema: {} }),
    Schema.pattern(/\S/, { ...annotations, message: () => `${what} must not be blank` })
  )

/** The name of a model, such as `my-org/video-generator`. Any string that is not blank. @internal */
export const ModelName = name("a model name", {
  identifier: "ModelName",
  description: "the name of a model, not blank",
  arbitrary: () => (fc) => fc.string({ minLength: 1, unit: "grapheme" }).filter((s) => /\S/.test(s))
})

/** The identifier that the service assigned to a job (a UUIDv7 today). Any string that is not blank. @internal */
export const RequestId = name("a request id", {
  identifier: "RequestId",
  description: "the identifier of a job, not blank",
  arbitrary: () => (fc) => fc.uuid({ version: 7 })
})

/**
 * Identifies a job: the two parameters of `GET /queue/status`. Another process needs nothing else to watch the job.
 *
 * Any object with these two fields is accepted. References from this library compare by value with `Equal.equals`.
 *
 * @since 0.1.0
 * @category models
 */
export interface JobRef {
  /** The name of the model that the job was submitted to. */
  readonly model: string
  /** The identifier that the service assigned to the job. */
  readonly requestId: string
}

const RefFields = Schema.Struct({ model: ModelName, requestId: RequestId })

const RefFromSelf: Schema.Schema<JobRef> = Schema.declare(Schema.is(RefFields), {
  identifier: "JobRefFromSelf",
  pretty,
  equivalence: () => Schema.equivalence(RefFields),
  arbitrary: () => (fc) => Arbitrary.makeLazy(RefFields)(fc).map(({ model, requestId }) => ref(model, requestId))
})

/**
 * The schema of a `JobRef`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const JobRef: Schema.Schema<JobRef> = Schema.transform(RefFields, RefFromSelf, {
  strict: true,
  decode: ({ model, requestId }) => ref(model, requestId),
  encode: ({ model, requestId }) => ({ model, requestId })
}).annotations({ identifier: "JobRef" })

/**
 * Creates a reference that compares by value. It is not validated: a call with a blank one fails with `InvalidRequest`.
 *
 * @since 0.1.0
 * @category constructors
 */
export const ref = (model: string, requestId: string): JobRef => Data.struct({ model, requestId })

// A model name may contain slashes, so the last one separates. A slash in a request id (a UUID today) is escaped.
const escapeId = (requestId: string): string => requestId.replace(/[%/]/g, encodeURIComponent)
const unescapeId = (text: string): string => text.replace(/%(?:25|2f)/gi, decodeURIComponent)

/**
 * Formats a reference as one word: `my-org/video-generator/019ba379-92da-71e4-ac40-d98059fd67c7`. Messages, logs and
 * the command use this form.
 *
 * @since 0.1.0
 * @category formatting
 */
export const format = ({ model, requestId }: JobRef): string => `${model}/${escapeId(requestId)}`

/**
 * The schema of a reference, encoded as `format` writes it.
 *
 * @since 0.1.0
 * @category schemas
 */
export const JobRefFromString: Schema.Schema<JobRef, string> = Schema.transformOrFail(
  Schema.String.annotations({ description: "a job, as MODEL/REQUEST_ID" }),
  Schema.typeSchema(JobRef),
  {
    strict: true,
    decode: (text, _, ast) => {
      const slash = text.lastIndexOf("/")
      const job = ref(text.slice(0, Math.max(0, slash)), unescapeId(text.slice(slash + 1)))
      return Schema.is(RefFields)(job)
        ? ParseResult.succeed(job)
        : ParseResult.fail(
          new ParseResult.Type(ast, text, `not a job: ${JSON.stringify(text)}; a job is named MODEL/REQUEST_ID`)
        )
    },
    encode: (job) => ParseResult.succeed(format(job))
  }
).annotations({ identifier: "JobRefFromString" })

/**
 * Parses a reference that `format` wrote.
 *
 * @since 0.1.0
 * @category formatting
 */
export const parse: (text: string) => Either.Either<JobRef, ParseResult.ParseError> = Schema.decodeEither(
  JobRefFromString
)

// -----------------------------------------------------------------------------
// snapshots
// -----------------------------------------------------------------------------

const withDefault = <A>(schema: Schema.Schema<A>, value: A) =>
  schema.pipe(Schema.propertySignature, Schema.withConstructorDefault(() => value))

const optional = <A>(schema: Schema.Schema<A>) => withDefault(Schema.OptionFromSelf(schema), Option.none<A>())

/**
 * The value of `info`, `inputs` or `outputs` that is missing in a document. It equals any other `{}`, but is compared
 * by identity, so that encoding restores a `{}` that the document had.
 *
 * @internal
 */
export const absent: JsonObject = Object.freeze({})

const blob = withDefault(JsonObject, absent)

const noWarnings: ReadonlyArray<string> = Object.freeze([])

const fields = {
  job: Schema.typeSchema(JobRef),
  createdAt: optional(Time),
  claimedAt: optional(Time),
  doneAt: optional(Time),
  info: blob,
  inputs: blob,
  outputs: blob,
  priority: optional(Schema.Int),
  retries: optional(Schema.NonNegativeInt),
  warnings: withDefault(Schema.Array(Schema.String), noWarnings)
}

/** The tag of each `status` of a document. @internal */
export const tags = {
  pending: "Pending",
  running: "Running",
  done: "Done",
  failed: "Failed",
  canceled: "Canceled"
} as const

/** @internal */
export const isKnownState = (status: string): status is keyof typeof tags => Object.hasOwn(tags, status)

const variants = {
  Pending: Schema.TaggedStruct("Pending", fields),
  Running: Schema.TaggedStruct("Running", fields),
  Done: Schema.TaggedStruct("Done", fields),
  Failed: Schema.TaggedStruct("Failed", fields),
  Canceled: Schema.TaggedStruct("Canceled", fields),
  Unrecognized: Schema.TaggedStruct("Unrecognized", {
    ...fields,
    status: Schema.String.pipe(Schema.filter((status) => !isKnownState(status), { description: "an unknown status" }))
  })
}

/**
 * The fields of every snapshot of a job. An optional field that the service omitted, or sent as `null`, is `None` (`{}`
 * for the three JSON objects, `[]` for the warnings).
 */
interface Snapshot<Tag extends string> {
  readonly _tag: Tag
  /** The reference of the job. */
  readonly job: JobRef
  /** When the job was created, by the server's clock. */
  readonly createdAt: Option.Option<DateTime.Utc>
  /** When the job was last claimed, by the server's clock. May be missing after a requeue. */
  readonly claimedAt: Option.Option<DateTime.Utc>
  /** When the job ended, by the server's clock. */
  readonly doneAt: Option.Option<DateTime.Utc>
  /** Notes of the submitter, the model and the system about the job. They accumulate, and survive a retry. */
  readonly info: JsonObject
  /** The submitted payload. */
  readonly inputs: JsonObject
  /** The outputs of the model. */
  readonly outputs: JsonObject
  /** The priority of the job. Jobs of a higher priority go first. */
  readonly priority: Option.Option<number>
  /** The number of times that the job went back to the queue, 0 to 3. */
  readonly retries: Option.Option<number>
  /** The service's non-fatal messages about the request. */
  readonly warnings: ReadonlyArray<string>
}

/**
 * The job waits in the queue: it is new, or was requeued after its worker was lost.
 *
 * @since 0.1.0
 * @category models
 */
export interface Pending extends Snapshot<"Pending"> {}

/**
 * Creates a `Pending` snapshot.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Pending = variants.Pending.make

/**
 * A worker has claimed the job.
 *
 * @since 0.1.0
 * @category models
 */
export interface Running extends Snapshot<"Running"> {}

/**
 * Creates a `Running` snapshot.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Running = variants.Running.make

/**
 * The job has finished, with its `outputs`.
 *
 * @since 0.1.0
 * @category models
 */
export interface Done extends Snapshot<"Done"> {}

/**
 * Creates a `Done` snapshot.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Done = variants.Done.make

/**
 * The job has failed: the model reported an error, or no retries are left.
 *
 * @since 0.1.0
 * @category models
 */
export interface Failed extends Snapshot<"Failed"> {}

/**
 * Creates a `Failed` snapshot.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Failed = variants.Failed.make

/**
 * The job was canceled while it was pending.
 *
 * @since 0.1.0
 * @category models
 */
export interface Canceled extends Snapshot<"Canceled"> {}

/**
 * Creates a `Canceled` snapshot.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Canceled = variants.Canceled.make

/**
 * The job is in a state that this version of the library does not know.
 *
 * @since 0.1.0
 * @category models
 */
export interface Unrecognized extends Snapshot<"Unrecognized"> {
  /** The state, exactly as the service reported it. */
  readonly status: string
}

/**
 * Creates an `Unrecognized` snapshot.
 *
 * @since 0.1.0
 * @category constructors
 */
export const Unrecognized = variants.Unrecognized.make

/**
 * A snapshot of a job: one response of the status endpoint.
 *
 * @example
 * import { Job } from "effect-queue-status"
 * import { Match } from "effect"
 *
 * const describe = Match.typeTags<Job.JobStatus>()({
 *   Pending: () => "waiting",
 *   Running: () => "running",
 *   Done: ({ outputs }) => `done, with ${Object.keys(outputs).length} outputs`,
 *   Failed: () => "failed",
 *   Canceled: () => "canceled",
 *   Unrecognized: ({ status }) => `in a state of which nothing is known: ${status}`
 * })
 *
 * @since 0.1.0
 * @category models
 */
export type JobStatus = Pending | Running | Done | Failed | Canceled | Unrecognized

/**
 * A snapshot of a job that has ended.
 *
 * @since 0.1.0
 * @category models
 */
export type Terminal = Done | Failed | Canceled

/**
 * Returns whether a snapshot is of a job that has ended. An unknown state is never terminal.
 *
 * @since 0.1.0
 * @category guards
 */
export const isTerminal = (status: JobStatus): status is Terminal =>
  status._tag === "Done" || status._tag === "Failed" || status._tag === "Canceled"

const Variants = Schema.Union(...Object.values(variants))

// `Document`, on the encoded side, checks every field. Checking them here too would double the cost.
const JobStatusFromSelf: Schema.Schema<JobStatus> = Schema.declare(
  (u): u is JobStatus => isJsonObject(u) && typeof u["_tag"] === "string" && Object.hasOwn(variants, u["_tag"]),
  {
    identifier: "JobStatusFromSelf",
    pretty,
    equivalence: () => Schema.equivalence(Variants),
    arbitrary: () => Arbitrary.makeLazy(Variants)
  }
)

const orNull = <A, I>(schema: Schema.Schema<A, I>) => Schema.optional(Schema.NullOr(schema))

const Document = Schema.Struct({
  request_id: RequestId,
  model: ModelName,
  status: Schema.String.annotations({
    description: "pending, running, done, failed or canceled",
    examples: ["pending", "running", "done", "failed", "canceled"]
  }),
  created_at: orNull(TimestampText),
  claimed_at: orNull(TimestampText),
  done_at: orNull(TimestampText),
  info: orNull(JsonObject),
  inputs: orNull(JsonObject),
  outputs: orNull(JsonObject),
  priority: orNull(Schema.Int),
  retries: orNull(Schema.NonNegativeInt),
  warnings: orNull(Schema.Array(Schema.String))
}).annotations({ identifier: "JobStatusDocument" })

// Most counts are small: the snapshots share their options, which would take a seventh of the memory of each.
const smallCounts = Array.from({ length: 16 }, (_, count) => Option.some(count))

const readCount = (count: number | null | undefined): Option.Option<number> =>
  smallCounts[count ?? -1] ?? Option.fromNullable(count)

/**
 * Decodes a document. `asked` is the job that was asked for: its snapshots share one reference, which saves memory.
 *
 * @internal
 */
export const fromDocument = (document: typeof Document.Type, asked?: JobRef): JobStatus => {
  const { model, request_id: requestId } = document
  const _tag = isKnownState(document.status) ? tags[document.status] : "Pending"
  // A single literal: an object with spread fields stores most of them out of line, which costs memory and time.
  const status: Exclude<JobStatus, Unrecognized> = {
    _tag,
    job: asked?.requestId === requestId && asked.model === model ? asked : ref(model, requestId),
    createdAt: readTime(document.created_at),
    claimedAt: readTime(document.claimed_at),
    doneAt: readTime(document.done_at),
    info: document.info ?? absent,
    inputs: document.inputs ?? absent,
    outputs: document.outputs ?? absent,
    priority: readCount(document.priority),
    retries: readCount(document.retries),
    warnings: document.warnings ?? noWarnings
  }
  return isKnownState(document.status) ? status : { ...status, _tag: "Unrecognized", status: document.status }
}

/** Whether a value is a text that is not blank, and that UTF-8 can represent. @internal */
export const isName = (u: unknown): u is string => typeof u === "string" && /\S/.test(u) && isWellFormed(u)

const isAbsentOr = (is: (u: unknown) => boolean) => (u: unknown): boolean => u === undefined || u === null || is(u)
const isAbsentOrTime = isAbsentOr((u) => typeof u === "string" && isTimestamp(u))
const isAbsentOrObject = isAbsentOr(isJsonObject)
const isAbsentOrInt = isAbsentOr(Number.isSafeInteger)
const isAbsentOrCount = isAbsentOr((u) => Number.isSafeInteger(u) && Number(u) >= 0)
const isAbsentOrTexts = isAbsentOr((u) => Array.isArray(u) && u.every((text) => typeof text === "string"))

/**
 * Returns the same result as the schema, at a lower cost, for decoding at each poll. Only the schema reports why a
 * document is invalid.
 *
 * @internal
 */
export const isDocument = (u: unknown): u is typeof Document.Type =>
  isJsonObject(u) &&
  isName(u["request_id"]) &&
  isName(u["model"]) &&
  typeof u["status"] === "string" &&
  isAbsentOrTime(u["created_at"]) &&
  isAbsentOrTime(u["claimed_at"]) &&
  isAbsentOrTime(u["done_at"]) &&
  isAbsentOrObject(u["info"]) &&
  isAbsentOrObject(u["inputs"]) &&
  isAbsentOrObject(u["outputs"]) &&
  isAbsentOrInt(u["priority"]) &&
  isAbsentOrCount(u["retries"]) &&
  isAbsentOrTexts(u["warnings"])

const toDocument = (status: JobStatus): typeof Document.Type => ({
  request_id: status.job.requestId,
  model: status.job.model,
  status: status._tag === "Unrecognized" ? status.status : status._tag.toLowerCase(),
  ...(Option.isSome(status.createdAt) && { created_at: DateTime.formatIso(status.createdAt.value) }),
  ...(Option.isSome(status.claimedAt) && { claimed_at: DateTime.formatIso(status.claimedAt.value) }),
  ...(Option.isSome(status.doneAt) && { done_at: DateTime.formatIso(status.doneAt.value) }),
  ...(status.info !== absent && { info: status.info }),
  ...(status.inputs !== absent && { inputs: status.inputs }),
  ...(status.outputs !== absent && { outputs: status.outputs }),
  ...(Option.isSome(status.priority) && { priority: status.priority.value }),
  ...(Option.isSome(status.retries) && { retries: status.retries.value }),
  ...(status.warnings.length > 0 && { warnings: status.warnings })
})

/**
 * The schema of the status document of `GET /queue/status` (snake_case, RFC 3339 times), decoded to a snapshot.
 *
 * Unknown fields are ignored. A field of the wrong type fails in every state. An unknown `status` string is decoded as
 * `Unrecognized`.
 *
 * @example
 * import { Job } from "effect-queue-status"
 * import { Schema } from "effect"
 *
 * const status = Schema.decodeUnknownSync(Job.JobStatus)({
 *   request_id: "019ba379-92da-71e4-ac40-d98059fd67c7",
 *   model: "my-org/video-generator",
 *   status: "running",
 *   info: { progress: 0.4 }
 * })
 *
 * @since 0.1.0
 * @category schemas
 */
export const JobStatus: Schema.Schema<JobStatus, typeof Document.Encoded> = Schema.transform(
  Document,
  JobStatusFromSelf,
  { strict: true, decode: (document) => fromDocument(document), encode: toDocument }
).annotations({ identifier: "JobStatus" })

// -----------------------------------------------------------------------------
// `info` and `outputs`
// -----------------------------------------------------------------------------

/**
 * Reads `info.progress`. A number from 0 to 1 is a fraction; above 1 and up to 100 it is a percentage. Any other value,
 * such as a string, `NaN` or a negative number, is `None`. A percentage of 1 is therefore read as finished: replace the
 * rule (`ProgressRule`) for workers that report percentages.
 *
 * @example
 * import { Job } from "effect-queue-status"
 * import { Option } from "effect"
 *
 * Job.readProgress({ progress: 0.4 }) // Option.some(0.4)
 * Job.readProgress({ progress: 40 }) // Option.some(0.4)
 * Job.readProgress({ progress: "soon" }) // Option.none()
 *
 * @since 0.1.0
 * @category progress
 */
export const readProgress = (info: JsonObject): Option.Option<number> => {
  const progress = info["progress"]
  return typeof progress !== "number" || !(progress >= 0 && progress <= 100)
    ? Option.none()
    : Option.some(progress <= 1 ? progress : progress / 100)
}

/**
 * The rule by which streams read progress. Defaults to `readProgress`.
 *
 * @example
 * import { Job } from "effect-queue-status"
 * import { Layer, Option } from "effect"
 *
 * // workers that report `info.step` out of `info.steps`
 * const steps = Layer.succeed(Job.ProgressRule, (info) =>
 *   typeof info["step"] === "number" && typeof info["steps"] === "number" && info["steps"] > 0
 *     ? Option.some(info["step"] / info["steps"])
 *     : Option.none())
 *
 * @since 0.1.0
 * @category progress
 */
export class ProgressRule extends Context.Reference<ProgressRule>()("effect-queue-status/Job/ProgressRule", {
  defaultValue: (): (info: JsonObject) => Option.Option<number> => readProgress
}) {}

// -----------------------------------------------------------------------------
// failures
// -----------------------------------------------------------------------------

/**
 * Reads why a job failed. Returns `None` if there is no reason: such a job, with no retries left, ran out of retries.
 *
 * The reason is the first of these that is not empty: `info.error` (the convention of the worker runtime),
 * `outputs.error`, the `outputs`.
 *
 * - A string is used as it is; a number is converted to a string.
 * - Of an object, the first of the fields `message`, `msg`, `detail`, `details`, `reason`, `error`, `description` and
 *   `title` that is not empty is used, by the same rules.
 * - Of a list, the texts of its first ten entries are joined with `; `.
 * - Any other object is written as JSON. Lists and JSON are cut off after 500 characters.
 *
 * `null`, `false`, blank strings, and objects and lists of these are empty. A job that has not failed has no reason.
 *
 * @example
 * import { Job } from "effect-queue-status"
 *
 * const job = Job.ref("my-org/video-generator", "019ba379-92da-71e4-ac40-d98059fd67c7")
 *
 * Job.failureReason(Job.Failed({ job, info: { error: "out of memory" } })) // Option.some("out of memory")
 * // Option.some("no prompt")
 * Job.failureReason(Job.Failed({ job, info: { error: { detail: [{ msg: "no prompt" }] } } }))
 * Job.failureReason(Job.Failed({ job, outputs: { code: 7 } })) // Option.some("{\"code\":7}")
 *
 * @since 0.1.0
 * @category failures
 */
export const failureReason = (status: JobStatus): Option.Option<string> =>
  status._tag === "Failed"
    ? Option.fromNullable(
      errorText(status.info["error"]) ?? errorText(status.outputs["error"]) ?? errorText(status.outputs)
    )
    : Option.none()

/**
 * The rule by which streams read the reason of a failure. Defaults to `failureReason`.
 *
 * @since 0.1.0
 * @category failures
 */
export class ReasonRule extends Context.Reference<ReasonRule>()("effect-queue-status/Job/ReasonRule", {
  defaultValue: (): (status: Failed) => Option.Option<string> => failureReason
}) {}

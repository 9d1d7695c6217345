import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as ParseResult from "effect/ParseResult"
import * as Predicate from "effect/Predicate"
import * as Schema from "effect/Schema"
import { maxBodyLength } from "../../model/internal/limits.js"
import { JobRef, JsonObject, ModelName } from "../../model/Job.js"
import { InvalidRequest, type Operation } from "../../model/QueueError.js"
import { toJson } from "./toJson.js"
import { SubmitRequest } from "./wire.js"

/** @internal */
export interface Issue {
  readonly message: string
  readonly path: ReadonlyArray<PropertyKey>
}

const offersNothing = ({ message }: Issue): boolean => /^Expected (?:null|undefined), /.test(message)

/** Removes the issues that only report that a field could be omitted. @internal */
export const withoutOffers = <A extends Issue>(issues: ReadonlyArray<A>): ReadonlyArray<A> => {
  const reported = new Set(
    issues.filter((issue) => !offersNothing(issue)).map(({ path }) => path.map(String).join("."))
  )
  return issues.filter((issue) => !offersNothing(issue) || !reported.has(issue.path.map(String).join(".")))
}

/** Formats the first issues for people. @internal */
export const sayIssues = (issues: ReadonlyArray<Issue>): string =>
  withoutOffers(issues)
    .slice(0, 5)
    .map(({ message, path }) => path.length === 0 ? message : `${path.map(String).join(".")}: ${message}`)
    .join("; ")

/**
 * Formats the issues of a value that did not decode, for people: `priority: Expected an integer, actual 1.5`.
 *
 * @internal
 */
export const formatIssues = (error: ParseResult.ParseError): string => {
  try {
    return sayIssues(ParseResult.ArrayFormatter.formatErrorSync(error))
  } catch {
    // it shows the value, and overflows the stack for one of some thousand levels
    return "not as expected, and too deep to be shown"
  }
}

/** Cuts a text to the length that an error keeps. @internal */
export const clip = (text: string, max: number = maxBodyLength): string =>
  text.length <= max ? text : `${text.slice(0, max - 1)}…`

const isJsonObject = Schema.is(JsonObject)
const isRef = Schema.decodeUnknown(JobRef, { errors: "all" })
const isModel = Schema.decodeUnknown(ModelName)
const isSubmit = Schema.decodeUnknown(SubmitRequest, { errors: "all" })

// A model that is not a string is replaced: an object may have no `toString`, or one that throws.
const invalid = (operation: Operation, model: unknown, detail: string): InvalidRequest =>
  new InvalidRequest({
    operation,
    model: Predicate.isObject(model) ? "(no string)" : String(model),
    detail: clip(detail)
  })

/** Validates a reference. Returns one that compares by value. @internal */
export const checkRef = (operation: Operation, job: JobRef): Effect.Effect<JobRef, InvalidRequest> =>
  Effect.mapBoth(isRef(job), {
    onFailure: (error) => invalid(operation, job?.model, formatIssues(error)),
    onSuccess: (ref) => Equal.isEqual(job) ? job : ref
  })

/** @internal */
export const checkModel = (operation: Operation, model: string): Effect.Effect<string, InvalidRequest> =>
  Effect.mapError(isModel(model), (error) => invalid(operation, model, `model: ${formatIssues(error)}`))

/** Creates the error of a submit that is rejected before it is sent. @internal */
export const invalidSubmit = (request: { readonly model: string }, detail: string): InvalidRequest =>
  invalid("submit", request?.model, detail)

/** A job to submit. A public type extends it, so it is not marked as internal: the build would leave it out. */
export interface Submit {
  /** The name of the model that runs the job. */
  readonly model: string
  /** The payload of the job: any object that can be represented in JSON. */
  readonly payload: object
  /** Notes that stay with the job: any object that can be represented in JSON. */
  readonly info?: object | undefined
  /** The priority, an integer. Jobs of a higher priority go first. Defaults to 0. */
  readonly priority?: number | undefined
}

interface CheckedSubmit extends Submit {
  readonly payload: JsonObject
  readonly info?: JsonObject | undefined
}

const asJsonObject = (value: unknown, name: string): Either.Either<JsonObject, string> =>
  Either.filterOrLeft(toJson(value, name), isJsonObject, () => `${name}: its toJSON does not return an object`)

/** Returns the request to send: a copy that JSON represents without loss. @internal */
export const checkSubmit = (request: Submit): Effect.Effect<CheckedSubmit, InvalidRequest> =>
  Effect.gen(function*() {
    const { info, model, payload, priority } = yield* Effect.mapError(isSubmit(request), formatIssues)
    return {
      model,
      payload: yield* asJsonObject(payload, "payload"),
      ...(Predicate.isNotNullable(info) && { info: yield* asJsonObject(info, "info") }),
      // JSON has no -0
      ...(Predicate.isNotNullable(priority) && { priority: priority + 0 })
    }
  }).pipe(Effect.mapError((detail) => invalidSubmit(request, detail)))

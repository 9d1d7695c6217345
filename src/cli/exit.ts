// How the command ends: its exit code and its last message.
import * as ValidationError from "@effect/cli/ValidationError"
import type { PlatformError } from "@effect/platform/Error"
import type { ServeError } from "@effect/platform/HttpServerError"
import * as ConfigError from "effect/ConfigError"
import * as Data from "effect/Data"
import * as Match from "effect/Match"
import * as Predicate from "effect/Predicate"
import type { OutcomeError, WatchError } from "../model/QueueError.js"
import * as Response from "../queue/internal/response.js"

export const codes = {
  done: 0,
  bug: 1,
  usage: 2,
  failed: 3,
  canceled: 4,
  gaveUp: 5,
  notCanceled: 6,
  interrupted: 130, // SIGINT
  unread: 141, // SIGPIPE
  terminated: 143 // SIGTERM
} as const

/** Ends the command with a code, and a message unless everything has been said. */
export class ExitWith extends Data.TaggedError("ExitWith")<{
  readonly code: number
  readonly message: string | undefined
}> {}

export const silently = (code: number): ExitWith => new ExitWith({ code, message: undefined })

export const usage = (message: string): ExitWith => new ExitWith({ code: codes.usage, message })

const withCode = (code: number) => ({ message }: { readonly message: string }) => new ExitWith({ code, message })

export const asUsage = withCode(codes.usage)

const fromConfigError = (error: ConfigError.ConfigError): ExitWith =>
  usage(
    error._op === "MissingData"
      ? `${error.path.join(".")} is not set: it is the token of the service (any word for an emulator)`
      : error._op === "InvalidData"
      ? `${error.path.join(".")}: ${error.message}`
      : String(error)
  )

/** The errors of a command: what has its code, and what is given one. */
export type Failure = ExitWith | WatchError | OutcomeError | ConfigError.ConfigError | ValidationError.ValidationError

export const fromFailure: (failure: Failure) => ExitWith = Match.type<Failure>().pipe(
  Match.when(ConfigError.isConfigError, fromConfigError),
  // `@effect/cli` has printed it
  Match.when(ValidationError.isValidationError, () => silently(codes.usage)),
  Match.tag("ExitWith", (exit) => exit),
  Match.tag("JobFailed", "JobRetriesExhausted", "InvalidOutputs", withCode(codes.failed)),
  Match.tag("JobCanceled", withCode(codes.canceled)),
  Match.tag("InvalidRequest", asUsage),
  Match.orElse(withCode(codes.gaveUp))
)

/** The reason behind an error. */
export const reasonOf = (error: { readonly cause?: unknown; readonly message: string }): string =>
  Response.reasonOf(error) ?? error.message

export const fromServeError =
  ({ host, port }: { readonly host: string; readonly port: number }) => (error: ServeError): ExitWith =>
    usage(`can't listen at ${host}:${port}: ${reasonOf(error)}`)

export const fromUnwritten = (error: PlatformError): ExitWith =>
  Predicate.hasProperty(error.cause, "code") && error.cause.code === "EPIPE"
    ? silently(codes.unread)
    : usage(`can't write to standard output: ${reasonOf(error)}`)

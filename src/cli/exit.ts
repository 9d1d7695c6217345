/**
 * How the command ends: the code that a script reads, and the sentence that a person does.
 *
 * @internal
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as ConfigError from "effect/ConfigError"
import * as Data from "effect/Data"
import * as Match from "effect/Match"
import * as Predicate from "effect/Predicate"
import type { OutcomeError, WatchError } from "../model/QueueError.js"

/**
 * - `done`: what was asked for is so; of a watch, that the job is done.
 * - `bug`: something that should not happen.
 * - `usage`: the command was used wrongly, or its environment is.
 * - `failed`, `canceled`: how the job ended.
 * - `gaveUp`: the service could not be asked, said no, or did not get the job done in time; the job may go on.
 * - `notCanceled`: the job was no longer pending.
 * - `interrupted`, `unread`, `terminated`: by SIGINT; since nobody reads any more; by SIGTERM. As shells count signals.
 *
 * @internal
 */
export const codes = {
  done: 0,
  bug: 1,
  usage: 2,
  failed: 3,
  canceled: 4,
  gaveUp: 5,
  notCanceled: 6,
  interrupted: 130,
  unread: 141,
  terminated: 143
} as const

/**
 * The command ends with a code, and with a message where it has not said all yet.
 *
 * @internal
 */
export class ExitWith extends Data.TaggedError("ExitWith")<{
  readonly code: number
  readonly message: string | undefined
}> {}

/** @internal */
export const silently = (code: number): ExitWith => new ExitWith({ code, message: undefined })

/** @internal */
export const usage = (message: string): ExitWith => new ExitWith({ code: codes.usage, message })

const withCode = (code: number) => ({ message }: { readonly message: string }) => new ExitWith({ code, message })

/**
 * How an error of the library ends the command.
 *
 * @internal
 */
export const fromError: (error: WatchError | OutcomeError) => ExitWith = Match.type<WatchError | OutcomeError>().pipe(
  Match.tag("JobFailed", "JobRetriesExhausted", "InvalidOutputs", withCode(codes.failed)),
  Match.tag("JobCanceled", withCode(codes.canceled)),
  Match.tag("InvalidRequest", withCode(codes.usage)),
  Match.orElse(withCode(codes.gaveUp))
)

/**
 * The environment lacks something, or it can't be what it says.
 *
 * @internal
 */
export const fromConfigError = (error: ConfigError.ConfigError): ExitWith =>
  usage(
    error._op === "MissingData"
      ? `${error.path.join(".")} is not set: the token of the service; of an emulator, any word will do`
      : error._op === "InvalidData"
      ? `${error.path.join(".")}: ${error.message}`
      : String(error)
  )

/**
 * What was to be read can't be.
 *
 * @internal
 */
export const fromPlatformError = (error: PlatformError): ExitWith => usage(error.message)

/**
 * What was to be written can't be: nobody reads it any more, or there is no room for it.
 *
 * @internal
 */
export const fromUnwritten = (error: PlatformError): ExitWith => {
  const { cause } = error
  return Predicate.hasProperty(cause, "code") && cause.code === "EPIPE"
    ? silently(codes.unread)
    : usage(`can't write to standard output: ${cause instanceof Error ? cause.message : error.message}`)
}

/** Defects: bugs, also of the functions and services that an app provides. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { scrubber } from "./scrubber.js"

/**
 * Logs the defects of a cause, if it has any. As a text: a defect may quote the token of the request, or hold it.
 *
 * @internal
 */
export const logDefects =
  (what: string, token: Option.Option<{ readonly value: Redacted.Redacted }> = Option.none()) =>
  (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
    const defects = Cause.keepDefects(cause)
    if (Option.isNone(defects)) return Effect.void
    const text = Cause.pretty(defects.value, { renderErrorCause: true })
    return Effect.logError(`${what} died`, Option.isSome(token) ? scrubber(token.value.value)(text) : text)
  }

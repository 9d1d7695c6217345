/** Defects of the gateway: bugs, also of the functions that an app gives it. */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { scrubber } from "../../queue/internal/scrubber.js"
import type { Token } from "../GatewayAccess.js"
import { tokenOf } from "./request.js"
import { json } from "./response.js"

/**
 * Logs the defects of a cause, if it has any. As a text: a defect may quote the token of the request, or hold it.
 *
 * @internal
 */
export const logDefects =
  (what: string, token: Option.Option<Token> = Option.none()) => (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
    const defects = Cause.keepDefects(cause)
    if (Option.isNone(defects)) return Effect.void
    const text = Cause.pretty(defects.value, { renderErrorCause: true })
    return Effect.logError(`${what} died`, Option.isSome(token) ? scrubber(token.value.value)(text) : text)
  }

const internalError = json({ _tag: "InternalError", message: "the server failed: its log has the cause" }, 500)

/** Logs the defects of an app, and answers its request with 500. @internal */
export const respondToDefects = (what: string) => <E, R>(app: HttpApp.Default<E, R>): HttpApp.Default<E, R> =>
  app.pipe(
    Effect.tapErrorCause((cause) =>
      Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => logDefects(what, tokenOf(request))(cause))
    ),
    Effect.catchAllDefect(() => Effect.succeed(internalError))
  )

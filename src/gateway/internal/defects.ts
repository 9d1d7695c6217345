/** Defects of the gateway: bugs, also of the functions that an app gives it. */
import type * as HttpApp from "@effect/platform/HttpApp"
import * as HttpServerRequest from "@effect/platform/HttpServerRequest"
import * as Effect from "effect/Effect"
import { logDefects } from "../../queue/internal/defects.js"
import { tokenOf } from "./request.js"
import { json } from "./response.js"

const internalError = json({ _tag: "InternalError", message: "the server failed: its log has the cause" }, 500)

/** Logs the defects of an app, and answers its request with 500. @internal */
export const respondToDefects = (what: string) => <E, R>(app: HttpApp.Default<E, R>): HttpApp.Default<E, R> =>
  app.pipe(
    Effect.tapErrorCause((cause) =>
      Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => logDefects(what, tokenOf(request))(cause))
    ),
    Effect.catchAllDefect(() => Effect.succeed(internalError))
  )

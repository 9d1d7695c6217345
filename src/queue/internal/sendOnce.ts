import type * as HttpClientError from "@effect/platform/HttpClientError"
import type * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Tracer from "effect/Tracer"
import { defaultTracer, isTracerEnabled } from "./fiber.js"
import * as Answer from "./response.js"

/** @internal */
export class SentAgain extends Data.TaggedError("SentAgain") {
  readonly reason = "the HTTP client would have sent the request again"
  override readonly cause = undefined
}

const isSent = ({ attributes }: Tracer.Span): boolean => attributes.has("http.request.method")

const headerPrefix = "http.response.header."

const headersOf = ({ attributes }: Tracer.Span): { readonly [name: string]: string } =>
  Object.fromEntries(
    Array.from(attributes).flatMap(([name, value]) =>
      name.startsWith(headerPrefix) ? [[name.slice(headerPrefix.length), String(value)]] : []
    )
  )

const outcomeOf = (sent: Tracer.Span): Effect.Effect<Answer.Response, HttpClientError.HttpClientError | SentAgain> => {
  const httpStatus = sent.attributes.get("http.response.status_code")
  if (typeof httpStatus === "number") return Answer.toResponse(httpStatus, headersOf(sent), new Uint8Array())
  return sent.status._tag === "Ended" && Exit.isFailure(sent.status.exit)
    // the error of the platform's client
    ? Effect.failCause(sent.status.exit.cause as Cause.Cause<HttpClientError.HttpClientError>)
    : new SentAgain()
}

/**
 * Ensures that a client sends a request once, even if the app configured it to repeat requests (`retryTransient`,
 * `followRedirects`). It is stopped before the second request, and the outcome of the first is returned, without the
 * body of its response.
 *
 * The platform's clients open a span for each request that they send, below anything that an app can wrap around them.
 * These spans go to a tracer of our own, which rejects the second; all other spans go to the app's tracer. A client
 * that opens no spans, or a `fetch` that follows a redirect by itself, is not detected.
 *
 * @internal
 */
export const sendOnce = <E>(
  exchange: Effect.Effect<Answer.Response, E>
): Effect.Effect<Answer.Response, E | HttpClientError.HttpClientError | SentAgain> =>
  Effect.flatMap(Effect.all([Effect.tracer, isTracerEnabled]), ([tracer, isEnabled]) => {
    const requests: Array<Tracer.Span> = []
    const guard = Tracer.make({
      context: (f, fiber) => tracer.context(f, fiber),
      span: (name, parent, context, links, startTime, kind, options) => {
        if (kind !== "client") {
          return (isEnabled ? tracer : defaultTracer).span(name, parent, context, links, startTime, kind, options)
        }

        if (requests.some(isSent)) throw new SentAgain()
        const span = defaultTracer.span(name, parent, context, links, startTime, kind, options)
        requests.push(span)
        return span
      }
    })
    return exchange.pipe(
      Effect.withTracer(guard),
      Effect.withTracerEnabled(true),
      Effect.catchAllDefect((defect) => {
        const sent = requests.find(isSent)
        return defect instanceof SentAgain && sent !== undefined ? outcomeOf(sent) : Effect.die(defect)
      })
    )
  })

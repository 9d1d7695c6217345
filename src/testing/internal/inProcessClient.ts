/**
 * The HTTP client over an effect that returns the responses, so that faults have the same result as over a network.
 *
 * @internal
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import type { QueueError } from "../../model/QueueError.js"
import * as JobQueue from "../../queue/JobQueue.js"
import type { Disconnected } from "./fault.js"
import { isBodiless } from "./wireResponse.js"
import type { WireResponse } from "./wireResponse.js"

type Responding = Effect.Effect<WireResponse, Disconnected>

class Current extends Context.Reference<Current>()("effect-queue-status/testing/Responding", {
  defaultValue: (): Responding => Effect.dieMessage("no call is being made")
}) {}

const bodyOf = ({ body, status, then }: WireResponse): string | ReadableStream<Uint8Array> | null =>
  isBodiless(status) || (body === "" && then === undefined)
    ? null
    : then === undefined
    ? body
    : new ReadableStream({
      start(controller) {
        controller.enqueue(new TextEncoder().encode(body))
        if (then === "breaks") controller.error(new Error("the connection broke"))
      }
    })

const http = HttpClient.make((request) =>
  Effect.flatMap(Current, (responding) =>
    responding.pipe(
      Effect.mapError(({ code, reason }) =>
        new HttpClientError.RequestError({
          request,
          reason: "Transport",
          cause: Object.assign(new Error(reason), { code })
        })
      ),
      Effect.map((response) => {
        const { headers, status } = response
        return HttpClientResponse.fromWeb(request, new Response(bodyOf(response), { status, headers }))
      })
    ))
)

/**
 * Creates a client. It is run with a response for each call, and without spans: the queue in memory has none, with a
 * fault or without.
 *
 * @internal
 */
export const make = (requestTimeout: Duration.DurationInput) =>
  JobQueue.make({ apiKey: Redacted.make("test"), baseUrl: "http://queue.test/v1", requestTimeout }).pipe(
    Effect.provideService(HttpClient.HttpClient, http),
    Effect.orDie,
    Effect.map(
      (client) => <A>(send: (client: JobQueue.Service) => Effect.Effect<A, QueueError>, responding: Responding) =>
        send(client).pipe(Effect.provideService(Current, responding), Effect.withTracerEnabled(false))
    )
  )

/** @internal */
export type Client = Effect.Effect.Success<ReturnType<typeof make>>

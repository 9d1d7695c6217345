/**
 * The client over HTTP, with nothing behind it but an effect that gives the answers: whatever goes wrong on the wire, it
 * makes of it what it makes of it everywhere.
 *
 * @internal
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientError from "@effect/platform/HttpClientError"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberRef from "effect/FiberRef"
import * as Redacted from "effect/Redacted"
import type { QueueError } from "../../model/QueueError.js"
import * as JobQueue from "../../queue/JobQueue.js"
import { type Answer, type Disconnected, isBodiless } from "./faultInjection.js"

type Exchange = Effect.Effect<Answer, Disconnected>

const current = FiberRef.unsafeMake<Exchange>(Effect.dieMessage("no call is being made"))

const bodyOf = ({ body, status, then }: Answer): string | ReadableStream<Uint8Array> | null =>
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
  Effect.flatMap(FiberRef.get(current), (exchange) =>
    exchange.pipe(
      Effect.mapError(({ code, reason }) =>
        new HttpClientError.RequestError({
          request,
          reason: "Transport",
          cause: Object.assign(new Error(reason), { code })
        })
      ),
      Effect.map((answer) =>
        HttpClientResponse.fromWeb(
          request,
          new Response(bodyOf(answer), { status: answer.status, headers: answer.headers })
        )
      )
    ))
)

/** @internal */
export const make = (requestTimeout: Duration.DurationInput): Effect.Effect<JobQueue.Service> =>
  JobQueue.make({ apiKey: Redacted.make("test"), baseUrl: "http://queue.test/v1", requestTimeout }).pipe(
    Effect.provideService(HttpClient.HttpClient, http),
    Effect.orDie
  )

/**
 * What a call of this client comes to, when this is the answer. The queue in memory has no spans, with a fault or without.
 *
 * @internal
 */
export const answered = <A>(call: Effect.Effect<A, QueueError>, exchange: Exchange): Effect.Effect<A, QueueError> =>
  call.pipe(Effect.locally(current, exchange), Effect.withTracerEnabled(false))

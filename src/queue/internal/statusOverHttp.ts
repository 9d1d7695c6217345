import type * as HttpClient from "@effect/platform/HttpClient"
import type * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as Effect from "effect/Effect"
import type { JobRef } from "../../model/Job.js"
import * as Fiber from "./fiber.js"
import { forkOutside } from "./noStore.js"
import * as Answer from "./response.js"
import type { Entry } from "./responseCache.js"
import type { Outcome, Outcomes, Transport } from "./statusCall.js"

type Request = HttpClientRequest.HttpClientRequest

/**
 * Sends the status call over a client of `withNoStore`. Each request has a fiber of its own, which a timeout interrupts.
 * `untraced` is used where there are no spans, and costs less.
 *
 * @internal
 */
export const overHttp = (
  clients: { readonly traced: HttpClient.HttpClient; readonly untraced: HttpClient.HttpClient },
  maxResponseBytes: number,
  prepare: (job: JobRef) => Request
) =>
(outcomes: Outcomes<Request>): Transport<Request> => {
  const exchange = (client: HttpClient.HttpClient, entry: Entry<Request>): Outcome =>
    Answer.execute(client, entry.request).pipe(
      Effect.flatMap((response) => {
        const { headers, status } = response
        return Effect.map(
          Answer.readBody(response, headers, maxResponseBytes),
          (body) =>
            body === undefined ? outcomes.tooLarge(entry, status) : outcomes.received(entry, status, headers, body)
        )
      }),
      Effect.catchAll((error) => Effect.succeed(outcomes.lost(entry, error.cause, error.reason))),
      Effect.flatten
    )
  return {
    prepare,
    send: (entry, report, caller) => {
      const client = Fiber.isTraced(caller) ? clients.traced : clients.untraced
      const fiber = forkOutside(caller, exchange(client, entry))
      fiber.addObserver(report)
      return Fiber.interruptAndWait(fiber)
    }
  }
}

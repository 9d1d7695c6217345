/**
 * The status call is written by hand, for speed. It is the call that the `HttpApi` defines.
 */
import * as HttpApiClient from "@effect/platform/HttpApiClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import { Job, JobQueue, QueueApi } from "effect-queue-status"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as FastCheck from "effect/FastCheck"
import * as Redacted from "effect/Redacted"
import * as Documents from "../fixtures/documents.js"
import { job } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"
import { tally } from "../fixtures/tally.js"

const token = "tgp_v1_0123456789abcdef"
const baseUrl = "https://queue.test/some/v1"

/** A client whose responses have this body, and the requests that it was given. */
const recording = (body: string) => {
  const requests: Array<{ readonly method: string; readonly url: string; readonly headers: object }> = []
  const client = HttpClient.make((request, url) => {
    const { "accept-encoding": _, "cache-control": __, ...headers } = request.headers
    requests.push({ method: request.method, url: url.href, headers })
    return Effect.succeed(HttpClientResponse.fromWeb(
      request,
      new Response(body, { headers: { "content-type": "application/json", "content-length": `${body.length}` } })
    ))
  })
  return { client, requests }
}

/** The answers of both to one call, and their requests. */
const both = (job: Job.JobRef, body: string) =>
  Effect.gen(function*() {
    const { client, requests } = recording(body)
    const derived = yield* HttpApiClient.makeWith(QueueApi.QueueApi, {
      baseUrl,
      httpClient: client.pipe(
        HttpClient.mapRequest((request) =>
          request.pipe(HttpClientRequest.bearerToken(token), HttpClientRequest.acceptJson)
        ),
        HttpClient.withTracerPropagation(false)
      )
    })
    const expected = yield* Effect.either(
      derived.queue.status({ urlParams: { request_id: job.requestId, model: job.model } })
    )
    const queue = yield* Effect.provideService(
      JobQueue.make({ apiKey: Redacted.make(token), baseUrl }),
      HttpClient.HttpClient,
      client
    )
    const actual = yield* Effect.either(queue.status(job))
    const again = yield* Effect.either(queue.status(job))
    return { expected, actual, again, requests }
  })

describe("the status call", () => {
  it.effect.prop(
    "sends the request of the HttpApi",
    { job: Arbitrary.make(Job.JobRef) },
    ({ job }) =>
      Effect.gen(function*() {
        const { requests } = yield* both(job, "{}")
        assert.lengthOf(requests, 3)
        deepStrictEqual(requests[1], requests[0])
        deepStrictEqual(requests[2], requests[0])
      })
  )

  it("decodes what the HttpApi decodes, and the same again", async () => {
    const { met, note } = tally()
    await FastCheck.assert(
      FastCheck.asyncProperty(FastCheck.oneof(Documents.good, Documents.odd), (document) =>
        Effect.gen(function*() {
          const { actual, again, expected } = yield* both(job, JSON.stringify(document))
          note(Either.isRight(expected) ? "decoded" : "refused")
          if (Either.isRight(expected)) {
            deepStrictEqual(Either.getOrThrow(actual), expected.right)
            assert.strictEqual(Either.getOrThrow(again), Either.getOrThrow(actual))
          } else {
            assert.strictEqual(Either.isLeft(actual) && actual.left._tag, "UnexpectedResponse")
            assert(Either.isLeft(again))
          }
        }).pipe(Effect.runPromise)),
      { numRuns: runs(200, 1_000) }
    )
    met("decoded", "refused")
  })
})

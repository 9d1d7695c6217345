/**
 * The calls do not use `HttpApi`: the status call for speed, and all of them so that a client need not load it. They
 * are equal to the calls that the `HttpApi` defines.
 */
import * as HttpApiClient from "@effect/platform/HttpApiClient"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientRequest from "@effect/platform/HttpClientRequest"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import { Job, JobQueue } from "effect-queue-status"
import { QueueApi } from "effect-queue-status/api"
import * as Arbitrary from "effect/Arbitrary"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Equal from "effect/Equal"
import * as FastCheck from "effect/FastCheck"
import * as Redacted from "effect/Redacted"
import * as Documents from "../fixtures/documents.js"
import { job } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"
import { tally } from "../fixtures/tally.js"

const token = "tgp_v1_0123456789abcdef"
const baseUrl = "https://queue.test/some/v1"

const textOf = (bytes: Uint8Array): unknown => JSON.parse(new TextDecoder().decode(bytes))

/** A client whose responses have this body, and the requests that it received. */
const recording = (body: string) => {
  const requests: Array<{ readonly [part: string]: unknown }> = []
  const client = HttpClient.make((request, url) => {
    const { "accept-encoding": _, "cache-control": __, ...headers } = request.headers
    const { body: sent, method } = request
    const json = sent._tag === "Uint8Array" ? textOf(sent.body) : undefined
    requests.push({ method, url: url.href, headers, json })
    return Effect.succeed(HttpClientResponse.fromWeb(
      request,
      new Response(body, { headers: { "content-type": "application/json", "content-length": `${body.length}` } })
    ))
  })
  return { client, requests }
}

/** The client of the `HttpApi`, and the queue, over a client that records requests. */
const clients = (body: string) =>
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
    const queue = yield* Effect.provideService(
      JobQueue.make({ apiKey: Redacted.make(token), baseUrl }),
      HttpClient.HttpClient,
      client
    )
    return { derived, queue, requests }
  })

/** The responses of both to one status call, and their requests. */
const both = (job: Job.JobRef, body: string) =>
  Effect.gen(function*() {
    const { derived, queue, requests } = yield* clients(body)
    const expected = yield* Effect.either(
      derived.queue.status({ urlParams: { request_id: job.requestId, model: job.model } })
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

  it("decodes the same documents as the HttpApi, and returns the same snapshot for the same response", async () => {
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
      { numRuns: runs(200, 400) }
    )
    met("decoded", "refused")
  })

  it.effect("shares the reference among the snapshots of a job, and another job has its own", () =>
    Effect.gen(function*() {
      const { queue } = yield* clients(
        JSON.stringify({ model: job.model, request_id: job.requestId, status: "running" })
      )
      assert.strictEqual((yield* queue.status(job)).job, job)

      const other = yield* queue.status(Job.ref(job.model, "another"))
      deepStrictEqual(other.job, job)
    }))

  it.effect("returns a reference that compares by value for any reference", () =>
    Effect.gen(function*() {
      const { queue } = yield* clients(
        JSON.stringify({ model: job.model, request_id: job.requestId, status: "running" })
      )
      const passed = { model: job.model, requestId: job.requestId }
      const snapshot = yield* queue.status(passed)
      passed.requestId = "changed later"
      assert(Equal.equals(snapshot.job, job))
    }))
})

const canceledAs = (result: JobQueue.CancelResult) => result._tag === "Canceled" ? "canceled" : result.status

describe("the other calls", () => {
  it.effect.prop(
    "send the requests of the HttpApi, and decode its responses",
    {
      job: Arbitrary.make(Job.JobRef),
      payload: Arbitrary.make(Job.JsonObject),
      info: Arbitrary.make(Job.JsonObject),
      priority: FastCheck.integer()
    },
    ({ info, job, payload, priority }) =>
      Effect.gen(function*() {
        const { derived: { queue: expected }, queue, requests } = yield* clients(JSON.stringify({
          requestId: job.requestId,
          status: "canceled",
          canceled_count: 2,
          messages_running: 3,
          messages_waiting: 4,
          total_jobs: 7
        }))
        const request = { model: job.model, payload, info, priority }
        const pairs: ReadonlyArray<readonly [Effect.Effect<unknown, unknown>, Effect.Effect<unknown, unknown>]> = [
          [
            Effect.map(expected.submit({ payload: request }), ({ requestId }) => Job.ref(job.model, requestId)),
            queue.submit(request)
          ],
          [
            Effect.map(expected.cancel({ payload: job }), ({ status }) => status),
            Effect.map(queue.cancel(job), canceledAs)
          ],
          [
            Effect.map(expected.clear({ payload: { model: job.model } }), ({ canceledCount }) => canceledCount),
            queue.clear(job.model)
          ],
          [expected.metrics({ urlParams: { model: job.model } }), queue.metrics(job.model)]
        ]
        for (const [derived, direct] of pairs) {
          deepStrictEqual(yield* direct, yield* derived)
          const [actual, wanted] = requests.splice(0)
          deepStrictEqual(actual, wanted)
        }
      }),
    { fastCheck: { numRuns: runs(20, 80) } }
  )
})

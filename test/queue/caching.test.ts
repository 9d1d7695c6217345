/**
 * No response comes from a cache, with any client of the app.
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import { assert, describe, it } from "@effect/vitest"
import { JobQueue, JobStream } from "effect-queue-status"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Clients from "../fixtures/clients.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { calls, document, job, operations } from "../fixtures/job.js"
import { watched } from "../fixtures/watched.js"

type Fetch = typeof globalThis.fetch

const { answer } = HostileServer

const options = ({ url }: HostileServer.HostileServer): JobQueue.Options => ({
  apiKey: Redacted.make("tgp_v1_0123456789abcdef"),
  baseUrl: `${url}/v1`
})

/** A service whose job is done in the third response. */
const service = HostileServer.make((...call) =>
  answer(200, { ...document, status: call[2] < 2 ? "running" : "done", outputs: {} })(...call)
)

/** Like the `fetch` of Next.js 13 and 14: it caches the response to a GET, unless `init` disables that. */
const caching = (fetch: Fetch): Fetch => {
  const kept = new Map<string, Response>()
  return async (input, init) => {
    const key = String(input)
    if (init?.method !== "GET" || init.cache === "no-store") return fetch(input, init)
    const response = kept.get(key) ?? await fetch(input, init)
    kept.set(key, response.clone())
    return response
  }
}

/** Like the `fetch` of Cloudflare Workers: it does not support the field. */
const withoutField = (fetch: Fetch, thrown: Array<string>): Fetch => async (input, init) => {
  if (init !== undefined && "cache" in init) {
    thrown.push(String(input))
    throw new Error("The 'cache' field on 'RequestInitializerDict' is not implemented.")
  }
  return fetch(input, init)
}

const inits = (fetch: Fetch, seen: Array<RequestInit | undefined>): Fetch => (input, init) => {
  seen.push(init)
  return fetch(input, init)
}

const overFetch = (fetch: Fetch, init: RequestInit = {}) =>
  FetchHttpClient.layer.pipe(
    Layer.provide([Layer.succeed(FetchHttpClient.Fetch, fetch), Layer.succeed(FetchHttpClient.RequestInit, init)])
  )

const result = (server: HostileServer.HostileServer) =>
  // from a cache, the job would never be done
  JobStream.result(job, { cadence: Schedule.intersect(Schedule.spaced("1 millis"), Schedule.recurs(20)) }).pipe(
    Effect.provide(watched(Layer.effect(JobQueue.JobQueue, JobQueue.make(options(server)))))
  )

describe("no-store", () => {
  for (const { layer, name } of Clients.clients) {
    it.scopedLive(`is sent by the GETs of ${name}, and by no other request`, () =>
      Effect.gen(function*() {
        const server = yield* service
        const queue = yield* Clients.make(options(server))
        for (const operation of operations) {
          const before = server.requests.length
          yield* Effect.exit(calls[operation](queue))
          const [request] = server.requests.slice(before)
          assert.strictEqual(
            request?.headers["cache-control"],
            request?.method === "GET" ? "no-store" : undefined,
            operation
          )
        }
      }).pipe(Effect.provide(layer)))
  }

  it.scopedLive("bypasses a fetch that caches", () =>
    Effect.gen(function*() {
      const server = yield* service
      yield* Effect.provide(result(server), overFetch(caching(fetch)))
      assert.strictEqual(server.requests.length, 3)
    }))

  it.scopedLive("bypasses the global fetch of a runtime that caches", () =>
    Effect.gen(function*() {
      const server = yield* service
      const ours = globalThis.fetch
      yield* Effect.acquireUseRelease(
        Effect.sync(() => {
          globalThis.fetch = caching(ours)
        }),
        () => Effect.provide(result(server), FetchHttpClient.layer),
        () =>
          Effect.sync(() => {
            globalThis.fetch = ours
          })
      )
      assert.strictEqual(server.requests.length, 3)
    }))

  it.scopedLive("is omitted if the fetch does not support the field, after one attempt", () =>
    Effect.gen(function*() {
      const server = yield* service
      const thrown: Array<string> = []
      yield* Effect.provide(result(server), overFetch(withoutField(fetch, thrown)))
      assert.strictEqual(server.requests.length, 3)
      assert.strictEqual(thrown.length, 1)
    }))

  it.scopedLive("keeps the fetch and the RequestInit of the app", () =>
    Effect.gen(function*() {
      const server = yield* service
      const seen: Array<RequestInit | undefined> = []
      const client = overFetch(inits(fetch, seen), { redirect: "error", cache: "force-cache" })
      const queue = yield* Effect.provide(JobQueue.make(options(server)), client)
      yield* queue.status(job)
      yield* Effect.exit(queue.submit({ model: "m", payload: {} }))
      assert.deepStrictEqual(seen.map((init) => [init?.method, init?.redirect, init?.cache]), [
        ["GET", "error", "no-store"],
        // the values of the app, except for the redirect of a request that must not be repeated
        ["POST", "manual", "force-cache"]
      ])
    }))

  it.scopedLive("does not bypass a client that the app has wrapped", () =>
    Effect.gen(function*() {
      for (
        const wrap of [
          HttpClient.filterStatusOk,
          HttpClient.retryTransient({ schedule: Schedule.recurs(1) }),
          HttpClient.followRedirects(2),
          HttpClient.transform((effect) => effect)
        ] as ReadonlyArray<(client: HttpClient.HttpClient) => HttpClient.HttpClient>
      ) {
        const server = yield* service
        const seen: Array<RequestInit | undefined> = []
        const client = Layer.effect(HttpClient.HttpClient, Effect.map(HttpClient.HttpClient, wrap)).pipe(
          Layer.provide(overFetch(inits(fetch, seen), { redirect: "manual" }))
        )
        const queue = yield* Effect.provide(JobQueue.make(options(server)), client)
        yield* queue.status(job)
        yield* queue.status(job)
        assert.deepStrictEqual(seen.map((init) => init?.redirect), ["manual", "manual"])
        assert.strictEqual(server.requests[0]?.headers["cache-control"], "no-store")
      }
    }))

  it.scopedLive("reports the failure of a fetch", () =>
    Effect.gen(function*() {
      for (const message of ["fetch failed", "no cache today"]) {
        let calls = 0
        const failing: Fetch = () => {
          calls++
          return Promise.reject(new TypeError(message))
        }
        const queue = yield* Effect.provide(
          JobQueue.make({ apiKey: Redacted.make("tgp_v1_0123456789abcdef") }),
          overFetch(failing)
        )
        const error = yield* Effect.flip(queue.status(job))
        assert.include(error.message, message)
        assert.isAtMost(calls, 2)
      }
    }))
})

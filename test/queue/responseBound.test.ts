/**
 * The body of a response has a bound, with every client.
 */
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import { assert, describe, it } from "@effect/vitest"
import type { Job } from "effect-queue-status"
import { JobQueue, JobRun, JobStream } from "effect-queue-status"
import * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Clients from "../fixtures/clients.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { calls, document, job, model, operations } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"
import { provideQueue } from "../fixtures/watched.js"

const { answer, endless } = HostileServer

const token = "tgp_v1_0123456789abcdef"

const MiB = 1024 * 1024

const connect = (server: HostileServer.HostileServer, options: Partial<JobQueue.Options> = {}) =>
  Clients.make({ apiKey: Redacted.make(token), baseUrl: `${server.url}/v1`, ...options })

/** A document of `bytes` bytes. */
const sized = (bytes: number): string => {
  const done = (video: string) => JSON.stringify({ ...document, status: "done", outputs: { video } })
  return done("x".repeat(bytes - done("").length))
}

it.effect("no bound exceeds the longest string", () =>
  Effect.gen(function*() {
    const chunk = new Uint8Array(MiB).fill(32)
    const queue = yield* JobQueue.make({ apiKey: Redacted.make(token), maxResponseBytes: Number.MAX_SAFE_INTEGER })
      .pipe(
        Effect.provideService(
          HttpClient.HttpClient,
          HttpClient.make((request) => {
            let left = 513
            const body = new ReadableStream({
              pull: (controller) => left-- > 0 ? controller.enqueue(chunk) : controller.close()
            })
            return Effect.succeed(HttpClientResponse.fromWeb(request, new Response(body)))
          })
        )
      )
    for (const operation of operations) {
      const error = yield* Effect.flip(calls[operation](queue))
      assert(error._tag === "ResponseTooLarge", error.message)
      assert.strictEqual(error.maxBytes, 2 ** 29 - 24)
    }
  }))

for (const { layer, name } of runs(Clients.plain, Clients.clients)) {
  describe(`over ${name}`, () => {
    it.scopedLive("a successful response without an end is read up to the bound, and its connection is closed", () =>
      // concurrently: with the transport for Node, each waits some seconds for its connection to close
      Effect.forEach(operations, (operation) =>
        Effect.gen(function*() {
          const server = yield* HostileServer.make(endless(200))
          const queue = yield* connect(server, { maxResponseBytes: MiB })
          const error = yield* Effect.flip(calls[operation](queue))
          assert(error._tag === "ResponseTooLarge", error.message)
          assert.strictEqual(error.operation, operation)
          assert.strictEqual(error.maxBytes, MiB)
          assert.strictEqual(error.httpStatus, 200)
          yield* server.until("the connection is closed", () => server.open.size === 0)
          // the bound, and the buffers of two sockets
          assert.isBelow(server.written, 32 * MiB, operation)
        }), { concurrency: "unbounded" }).pipe(Effect.provide(layer)))

    it.scopedLive("the bound is exact, and the connection serves the next request", () =>
      Effect.gen(function*() {
        const bound = 100_000
        for (const [bytes, fits] of [[bound - 1, true], [bound, true], [bound + 1, false], [bound, true]] as const) {
          const server = yield* HostileServer.make(answer(200, sized(bytes)))
          const queue = yield* connect(server, { maxResponseBytes: bound })
          const result = yield* Effect.either(queue.status(job))
          assert.strictEqual(result._tag === "Right" ? "Done" : result.left._tag, fits ? "Done" : "ResponseTooLarge")
        }
      }).pipe(Effect.provide(layer)))

    it.scopedLive("the outputs of a job may take 50 MB", () =>
      Effect.gen(function*() {
        const server = yield* HostileServer.make(answer(200, sized(50_000_000)))
        const status = yield* Effect.flatMap(connect(server, { requestTimeout: "5 minutes" }), calls.status)
        assert((status as Job.JobStatus)._tag === "Done")
      }).pipe(Effect.provide(layer)))

    it.scopedLive("a watch ends with the first response that is too long, and a submit is uncertain", () =>
      Effect.gen(function*() {
        const server = yield* HostileServer.make(endless(200))
        const queue = yield* connect(server, { maxResponseBytes: MiB })
        const inQueue = provideQueue(queue)
        const ended = yield* Effect.flip(inQueue(JobStream.result(job)))
        assert.strictEqual(ended._tag, "ResponseTooLarge")
        assert.strictEqual(server.requests.length, 1)
        const submitted = yield* Effect.flip(inQueue(JobRun.submit({ model, payload: {} })))
        assert.strictEqual(submitted._tag, "SubmitUncertain")
        assert.strictEqual(server.requests.length, 2)
      }).pipe(Effect.provide(layer)))

    it.scopedLive("the bound must be a positive integer", () =>
      Effect.gen(function*() {
        for (const maxResponseBytes of [0, -1, 1.5, NaN, Infinity]) {
          const error = yield* Effect.flip(Clients.make({ apiKey: Redacted.make(token), maxResponseBytes }))
          assert.isTrue(ConfigError.isConfigError(error))
          assert.match(String(error), /maxResponseBytes.*positive integer/)
        }
      }).pipe(Effect.provide(layer)))
  })
}

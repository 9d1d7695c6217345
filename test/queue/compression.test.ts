/**
 * A gateway that compresses responses unless the request forbids it, or always.
 */
import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import { Job, QueueError } from "effect-queue-status"
import { NodeJobQueue } from "effect-queue-status/node"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib"
import * as Clients from "../fixtures/clients.js"
import { run } from "../fixtures/command.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { calls, document, job, model, operations } from "../fixtures/job.js"

const token = "tgp_v1_0123456789abcdef"

const bodies: { readonly [path: string]: unknown } = {
  "/v1/queue/status": { ...document, info: { note: "größe 🦊".repeat(100) } },
  "/v1/queue/submit": { requestId: job.requestId },
  "/v1/queue/cancel": { status: "canceled" },
  "/v1/queue/clear": { canceled_count: 4 },
  "/v1/queue/metrics": { messages_running: 1, messages_waiting: 2, total_jobs: 3 }
}

const codings = { br: brotliCompressSync, gzip: gzipSync, deflate: deflateSync }

type Coding = keyof typeof codings

/** Compresses as the request allows (RFC 9110: in any coding without the header), or always in `stubborn`. */
const gateway = (
  { body, httpStatus = 200, stubborn }: {
    readonly httpStatus?: number
    readonly body?: string
    readonly stubborn?: Coding
  } = {}
) =>
  HostileServer.make((response, { headers, path }) => {
    const accepted = headers["accept-encoding"]
    const coding = stubborn ?? (Object.keys(codings) as Array<Coding>).find((coding) =>
      accepted === undefined || String(accepted).includes(coding)
    )
    const text = body ?? JSON.stringify(bodies[path])
    response.writeHead(httpStatus, coding === undefined ? {} : { "content-encoding": coding })
    response.end(coding === undefined ? text : codings[coding](text))
  })

const connect = (server: HostileServer.HostileServer) =>
  Clients.make({ apiKey: Redacted.make(token), baseUrl: `${server.url}/v1` })

for (const { layer, name } of Clients.clients) {
  describe(`over ${name}`, () => {
    it.scopedLive("requests forbid compression, which a gateway would use by default", () =>
      Effect.gen(function*() {
        const server = yield* gateway()
        const queue = yield* connect(server)
        for (const operation of operations) {
          yield* calls[operation](queue)
        }
        deepStrictEqual(
          yield* queue.status(job),
          Job.Running({ job, info: { note: "größe 🦊".repeat(100) } })
        )
        const refusing = yield* gateway({ httpStatus: 401, body: JSON.stringify({ message: "no such key" }) })
        const error = yield* Effect.flip((yield* connect(refusing)).status(job))
        assert.include(error.message, "no such key")
      }).pipe(Effect.provide(layer)))

    for (const stubborn of Object.keys(codings) as Array<Coding>) {
      it.scopedLive(`a response in ${stubborn} that was not requested is read, or the error reports it`, () =>
        Effect.gen(function*() {
          const server = yield* gateway({ stubborn })
          const queue = yield* connect(server)
          for (const operation of operations) {
            const exit = yield* Effect.either(calls[operation](queue))
            if (exit._tag === "Right") continue
            assert.notStrictEqual(name, "fetch")
            assert(exit.left._tag === "UnexpectedResponse")
            assert.include(exit.left.message, `compressed (${stubborn})`)
            assert.notInclude(JSON.stringify(exit.left), "\ufffd")
          }
        }).pipe(Effect.provide(layer)))

      it.scopedLive(`an error response in ${stubborn} that was not requested fails by its status`, () =>
        Effect.gen(function*() {
          for (
            const [httpStatus, tag] of [[401, "AccessDenied"], [503, "Unavailable"], [
              418,
              "UnexpectedResponse"
            ]] as const
          ) {
            for (
              const body of [JSON.stringify({ message: "no such key" }), "<html>no such key</html>".repeat(10_000)]
            ) {
              const server = yield* gateway({ stubborn, httpStatus, body })
              const error = yield* Effect.flip((yield* connect(server)).status(job))
              assert.strictEqual(error._tag, tag)
              assert.match(error.message, name === "fetch" ? /no such key/ : /compressed|no such key/)
              assert.notInclude(JSON.stringify(error), "\ufffd")
            }
          }
        }).pipe(Effect.provide(layer)))
    }
  })
}

describe("a large response, over the lean transport", () => {
  const large = (length: number) => JSON.stringify({ ...document, info: { note: "ab".repeat(length / 2) } })

  const lean = (server: HostileServer.HostileServer, options: Partial<NodeJobQueue.Options> = {}) =>
    NodeJobQueue.make({ apiKey: Redacted.make(token), baseUrl: `${server.url}/v1`, ...options })

  const coding = ({ headers }: HostileServer.HostileServer["requests"][number]) => headers["accept-encoding"]

  for (const length of [20_000, 1_000_000]) {
    it.scopedLive(`is compressed from the second poll on: ${length} letters`, () =>
      Effect.gen(function*() {
        const server = yield* gateway({ body: large(length) })
        const queue = yield* lean(server)
        const statuses = yield* Effect.replicateEffect(queue.status(job), 4)
        for (const status of statuses) deepStrictEqual(status, statuses[0])
        assert.deepStrictEqual(server.requests.map(coding), ["identity", "gzip", "gzip", "gzip"])
      }))
  }

  it.scopedLive("is no longer compressed after a small response", () =>
    Effect.gen(function*() {
      const bodies = [large(20_000), large(200), large(200)]
      const server = yield* HostileServer.make((response, { headers }, index) => {
        const isZipped = headers["accept-encoding"] === "gzip"
        response.writeHead(200, isZipped ? { "content-encoding": "gzip" } : {})
        response.end(isZipped ? gzipSync(bodies[index]!) : bodies[index])
      })
      const queue = yield* lean(server)
      yield* Effect.replicateEffect(queue.status(job), 3)
      assert.deepStrictEqual(server.requests.map(coding), ["identity", "gzip", "identity"])
    }))

  for (const [shown, length] of [[true, 0], [false, 200_000]] as const) {
    it.scopedLive(`is followed by an error that is compressed as well, with ${length} more letters`, () =>
      Effect.gen(function*() {
        const refusal = JSON.stringify({ message: "no such key", code: "invalid_api_key", pad: "x".repeat(length) })
        const server = yield* HostileServer.make((response, { headers }) => {
          const isZipped = headers["accept-encoding"] === "gzip"
          response.writeHead(isZipped ? 401 : 200, isZipped ? { "content-encoding": "gzip" } : {})
          response.end(isZipped ? gzipSync(refusal) : large(20_000))
        })
        const queue = yield* lean(server)
        yield* queue.status(job)
        const error = yield* Effect.flip(queue.status(job))
        assert(error._tag === "AccessDenied")
        assert.strictEqual(error.code, shown ? "invalid_api_key" : undefined)
        assert.strictEqual(error.detail, shown ? "no such key" : "the body can't be read: it is compressed (gzip)")
      }))
  }

  it.scopedLive("is bounded after decompression", () =>
    Effect.gen(function*() {
      const server = yield* gateway({ stubborn: "gzip", body: large(10_000_000) })
      const error = yield* Effect.flip((yield* lean(server, { maxResponseBytes: 1_000_000 })).status(job))
      assert(error._tag === "ResponseTooLarge")
      assert.strictEqual(error.maxBytes, 1_000_000)
    }))

  it.scopedLive("is read with the highest bound", () =>
    Effect.gen(function*() {
      const server = yield* gateway({ stubborn: "gzip", body: large(20_000) })
      const queue = yield* lean(server, { maxResponseBytes: Number.MAX_SAFE_INTEGER })
      assert.strictEqual((yield* queue.status(job))._tag, "Running")
    }))

  it.scopedLive("that breaks off, or is not gzip, is a transient error", () =>
    Effect.gen(function*() {
      const zipped = gzipSync(large(20_000))
      for (const body of [zipped.subarray(0, 40), Buffer.from("no gzip")]) {
        const server = yield* HostileServer.make((response) => {
          response.writeHead(200, { "content-encoding": "gzip" })
          response.end(body)
        })
        const error = yield* Effect.flip((yield* lean(server)).status(job))
        assert.strictEqual(error._tag, "Unreachable")
        assert.isTrue(QueueError.isTransient(error))
      }
    }))

  it.scopedLive("does not delay an interruption", () =>
    Effect.gen(function*() {
      const server = yield* gateway({ stubborn: "gzip", body: large(10_000_000) })
      const queue = yield* lean(server)
      const fiber = yield* Effect.fork(queue.status(job))
      yield* server.until("it is sent", () => server.requests.length === 1)
      assert(Exit.isInterrupted(yield* Fiber.interrupt(fiber)))
      deepStrictEqual((yield* queue.status(job)).job, job)
    }))
})

describe("the command", () => {
  it.scopedLive("reads the response of a gateway that compresses by default", () =>
    Effect.gen(function*() {
      const server = yield* gateway()
      const { code, stderr, stdout } = yield* run(["metrics", "--json", model], {
        TOGETHER_API_KEY: token,
        TOGETHER_BASE_URL: `${server.url}/v1`
      })
      assert.deepStrictEqual({ code, stderr }, { code: 0, stderr: "" })
      assert.include(stdout, "\"total\":3")
    }))

  it.scopedLive("reports a response that is compressed although the request forbids it", () =>
    Effect.gen(function*() {
      const server = yield* gateway({ stubborn: "gzip" })
      const { code, stderr } = yield* run(["metrics", model], {
        TOGETHER_API_KEY: token,
        TOGETHER_BASE_URL: `${server.url}/v1`
      })
      assert.strictEqual(code, 5)
      assert.include(stderr, "compressed (gzip)")
    }))
})

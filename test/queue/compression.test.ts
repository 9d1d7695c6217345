/**
 * A gateway that compresses what it sends, unless it is told otherwise, or even then.
 */
import { assert, describe, it } from "@effect/vitest"
import { deepStrictEqual } from "@effect/vitest/utils"
import { Job } from "effect-queue-status"
import * as Effect from "effect/Effect"
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

/** Compresses as the request allows it (RFC 9110: whatever it does not say), or, if it is stubborn, by one coding. */
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
    it.scopedLive("a gateway that compresses unless told otherwise is told otherwise", () =>
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
      it.scopedLive(`an answer in ${stubborn} that was not asked for is read, or the error says so`, () =>
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

      it.scopedLive(`a refusal in ${stubborn} that was not asked for is what its status says`, () =>
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

describe("the command", () => {
  it.scopedLive("reads what a gateway that compresses unless told otherwise sends", () =>
    Effect.gen(function*() {
      const server = yield* gateway()
      const { code, stderr, stdout } = yield* run(["metrics", "--json", model], {
        TOGETHER_API_KEY: token,
        TOGETHER_BASE_URL: `${server.url}/v1`
      })
      assert.deepStrictEqual({ code, stderr }, { code: 0, stderr: "" })
      assert.include(stdout, "\"total\":3")
    }))

  it.scopedLive("says that an answer is compressed all the same", () =>
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

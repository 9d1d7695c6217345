/**
 * Webhooks over sockets, signed by Web Crypto: what a receiver can do with its response.
 */
import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import * as HttpClient from "@effect/platform/HttpClient"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Http from "node:http"
import type * as Net from "node:net"
import { Webhook } from "../../src/gateway/index.js"
import { JobQueue } from "../../src/index.js"
import { NodeWebhookClient } from "../../src/node/index.js"
import { TestJobQueue, Worker } from "../../src/testing/index.js"
import { until } from "../fixtures/command.js"
import { model } from "../fixtures/job.js"
import { disk, secret, start, verify } from "../fixtures/webhooks.js"

interface Message {
  readonly path: string
  readonly type: string
}

/** A receiver, which responds as its path says. */
const receive = Effect.gen(function*() {
  const messages: Array<Message> = []
  const failures: Array<unknown> = []
  const closed: Array<string> = []
  const server = Http.createServer((request, response) => {
    let body = ""
    const path = request.url ?? ""
    response.on("close", () => closed.push(path))
    request.setEncoding("utf8").on("data", (text) => body += text).on("end", () => {
      try {
        const { type } = verify(body, request.headers as Record<string, string>, Date.now()) as {
          readonly type: string
        }
        messages.push({ path, type })
      } catch (error) {
        failures.push(error)
      }
      if (path === "/redirect") response.writeHead(307, { location: "/target" }).end()
      else if (path === "/endless") {
        response.writeHead(200)
        const write = () => {
          while (response.write("x".repeat(64 * 1024))) if (response.destroyed) return
        }
        response.on("drain", write)
        write()
      } else if (path === "/stalled") response.writeHead(200).write("x")
      else response.writeHead(200, { "content-type": "text/html" }).end("<p>thanks</p>")
    })
  })
  yield* Effect.acquireRelease(
    Effect.async<void>((resume) => {
      server.listen(0, "127.0.0.1", () => resume(Effect.void))
    }),
    () => Effect.sync(() => server.close().closeAllConnections())
  )
  const url = (path: string) => `http://127.0.0.1:${(server.address() as Net.AddressInfo).port}${path}`
  return { messages, failures, closed, url }
})

const clients: ReadonlyArray<readonly [name: string, layer: Layer.Layer<Webhook.Client, unknown>]> = [
  ["NodeWebhookClient", NodeWebhookClient.layer({ allow: ["127.0.0.1/32"] })],
  ["fetch", Layer.effect(Webhook.Client, HttpClient.HttpClient).pipe(Layer.provide(FetchHttpClient.layer))]
]

for (const [name, layer] of clients) {
  describe(`a receiver of ${name}`, () => {
    const deliver = (path: string, signedWith = secret) =>
      Effect.gen(function*() {
        const receiver = yield* receive
        const client = Context.get(yield* Layer.build(layer), Webhook.Client)
        const errors: Array<Webhook.DeliveryError> = []
        const { entries, store } = disk()
        const webhooks = yield* start(client, store, {
          endpoint: () => Effect.succeedSome({ url: receiver.url(path), secrets: [signedWith] }),
          retry: Schedule.stop,
          timeout: "1 second",
          onStopped: (error) => Effect.sync(() => errors.push(error))
        })
        const job = yield* JobQueue.submit({ model, payload: {} })
        yield* webhooks.register(job, "receiver")
        yield* until(() =>
          errors.length > 0 || entries.get("effect-queue-status/webhook/outbox")?.includes(model) === false
        )
        assert.deepStrictEqual(receiver.failures, [])
        return { ...receiver, errors, types: receiver.messages.map(({ type }) => type) }
      }).pipe(Effect.provide(TestJobQueue.layer({ workers: { script: Worker.always(Worker.finish("10 millis")) } })))

    const whole = ["job.queued", "job.claimed", "job.completed"]

    it.scopedLive("may respond with a page", () =>
      Effect.gen(function*() {
        const { errors, types } = yield* deliver("/")
        assert.deepStrictEqual([errors, types], [[], whole])
      }))

    it.scopedLive("has accepted a message by its status, though its body does not end", () =>
      Effect.gen(function*() {
        for (const path of ["/endless", "/stalled"]) {
          const { closed, errors, types } = yield* deliver(path)
          assert.deepStrictEqual([errors, types], [[], whole])
          // the rest is not read
          yield* until(() => closed.length === 3)
        }
      }))

    it.scopedLive("receives nothing without a secret", () =>
      Effect.gen(function*() {
        const { errors: [error], types } = yield* deliver("/", Redacted.make("whsec_"))
        assert(error?._tag === "DeliveryFailed")
        assert.strictEqual(error.lastError.reason, "a secret of the endpoint is not base64, or empty")
        assert.deepStrictEqual(types, [])
      }))

    it.scopedLive("cannot redirect a message", () =>
      Effect.gen(function*() {
        const { errors, messages } = yield* deliver("/redirect")
        assert.deepStrictEqual(messages, [{ path: "/redirect", type: "job.queued" }])
        const [error] = errors
        assert(error?._tag === "DeliveryFailed")
        assert.strictEqual(error.lastError.httpStatus, 307)
        assert.notInclude(JSON.stringify(error), "/redirect")
      }))
  })
}

/** `npm run bench`: what it costs to decode a status document, and to poll once over loopback. */
import { FetchHttpClient } from "@effect/platform"
import type { HttpClient } from "@effect/platform"
import { NodeHttpClient } from "@effect/platform-node"
import type { Layer } from "effect"
import { Effect, Redacted, Schema } from "effect"
import { Job, JobQueue } from "effect-queue-status"
import { cpu, document, interleaved, large, startServer, table } from "./fixtures.js"

const rounds = 5

// --- decoding

const decode = Schema.decodeUnknownSync(Job.JobStatus)
const text = JSON.stringify(document)
const largeText = JSON.stringify(large)

const decoding = (name: string, calls: number, f: () => unknown) => ({
  name,
  run: () =>
    cpu(calls, () => {
      for (let i = 0; i < calls; i++) f()
    })
})

console.log(table(
  "decoding a status document",
  "µs of CPU",
  await interleaved(rounds, [
    decoding("`JSON.parse`", 20_000, () => JSON.parse(text)),
    decoding("`JSON.parse` and `Job.JobStatus`", 20_000, () => decode(JSON.parse(text)))
  ])
))

console.log(table(
  "decoding what is parsed already",
  "µs of CPU",
  await interleaved(rounds, [
    decoding("a usual document", 20_000, () => decode(document)),
    decoding("one with 2,000 keys in `outputs`", 20_000, () => decode(large))
  ])
))

console.log(table(
  "a document with 2,000 keys in `outputs`",
  "µs of CPU",
  await interleaved(rounds, [
    decoding("`JSON.parse`", 2_000, () => JSON.parse(largeText)),
    decoding("`JSON.parse` and `Job.JobStatus`", 2_000, () => decode(JSON.parse(largeText)))
  ])
))

// --- polling

const calls = 2_000
const concurrency = 16
const server = await startServer()
const token = "a-token-of-some-length"
const query = new URLSearchParams({ request_id: document.request_id, model: document.model })
const headers = { authorization: `Bearer ${token}`, accept: "application/json" }

const plainFetch = async () => {
  const response = await fetch(`${server.url}/queue/status?${query}`, { headers })
  return JSON.parse(await response.text()) as unknown
}

const plain = {
  name: "`fetch` and `JSON.parse`",
  run: () =>
    cpu(calls, async () => {
      await Promise.all(
        Array.from({ length: concurrency }, async () => {
          for (let i = 0; i < calls / concurrency; i++) await plainFetch()
        })
      )
    })
}

const service = (name: string, client: Layer.Layer<HttpClient.HttpClient>, traced: boolean) => {
  const polls = Effect.gen(function*() {
    const queue = yield* JobQueue.make({ apiKey: Redacted.make(token), baseUrl: server.url })
    const poll = queue.status({ model: document.model, requestId: document.request_id }).pipe(
      Effect.withTracerEnabled(traced)
    )
    const before = yield* Effect.sync(() => process.cpuUsage())
    yield* Effect.forEach(Array.from({ length: calls }), () => poll, { concurrency, discard: true })
    const { system, user } = yield* Effect.sync(() => process.cpuUsage(before))
    return (system + user) / calls
  }).pipe(Effect.provide(client))
  return { name, run: () => Effect.runPromise(polls) }
}

console.log(table(
  `a poll over loopback, ${concurrency} at a time`,
  "µs of the client's CPU",
  await interleaved(rounds, [
    plain,
    service("`JobQueue.status` over `FetchHttpClient`, as a watch polls", FetchHttpClient.layer, false),
    service("`JobQueue.status` over `NodeHttpClient.layerUndici`, as a watch polls", NodeHttpClient.layerUndici, false),
    service("`JobQueue.status` over `NodeHttpClient.layerUndici`, with its spans", NodeHttpClient.layerUndici, true)
  ])
))

server.stop()

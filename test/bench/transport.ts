/**
 * The client's cost of one poll: both transports, bare undici and `fetch`, the platform's clients, and other libraries.
 *
 *     npm run build && node --import tsx test/bench/transport.ts
 *
 * Each polls 64 jobs at a time over loopback, over 64 connections if it has that setting, and receives a document of
 * some 600 bytes in the form of its own protocol. With `taskset`, the client runs on one core and the server on
 * another.
 */
import { createHttpPoller } from "@azure/core-lro"
import { FetchHttpClient, HttpClient, HttpClientRequest } from "@effect/platform"
import { NodeHttpClient, Undici } from "@effect/platform-node"
import { createFalClient } from "@fal-ai/client"
import { Effect, Redacted } from "effect"
import { Job, JobQueue } from "effect-queue-status"
import { NodeJobQueue } from "effect-queue-status/node"
import { execFileSync, fork } from "node:child_process"
import { availableParallelism, cpus } from "node:os"
import { fileURLToPath } from "node:url"
import Replicate from "replicate"
import Together from "together-ai"
import { compile, cpu, document as usual, interleaved, table } from "./fixtures.js"
import { type Figure, handOver } from "./goals.js"

const rounds = 3
const concurrency = 64
const token = "a-token-of-some-length"

// letters
const size = 600

/** A document that is padded to its length. */
const padded = (make: (letters: string) => object): object => make("x".repeat(size - JSON.stringify(make("")).length))

const requestId = usual.request_id

const status = padded((note) => ({ ...usual, info: { ...usual.info, progress: 0.4000001, note } }))

const prediction = padded((logs) => ({
  id: requestId,
  model: usual.model,
  status: "processing",
  created_at: usual.created_at,
  started_at: usual.claimed_at,
  input: usual.inputs,
  logs,
  urls: { get: `https://api.replicate.com/v1/predictions/${requestId}` }
}))

const inProgress = padded((message) => ({
  status: "IN_PROGRESS",
  request_id: requestId,
  response_url: `https://queue.fal.run/${usual.model}/requests/${requestId}`,
  logs: [{ message, level: "INFO", timestamp: usual.created_at }]
}))

const ids = Array.from({ length: concurrency }, (_, i) => requestId.slice(0, -2) + (10 + i))

const answers = [
  ["/changing/queue/status", status],
  ["/queue/status", status],
  ["/v1/predictions/", prediction],
  ["/requests/", inProgress]
]

// -----------------------------------------------------------------------------
// the client
// -----------------------------------------------------------------------------

const peers = ["`replicate`, `predictions.get`", "`@fal-ai/client`, `queue.status`", "`together-ai`, `queue.retrieve`"]

interface Contender {
  readonly name: string
  readonly polls: number
  readonly poll: (id: string) => Promise<unknown>
}

const many = 100 * concurrency
const fewer = 30 * concurrency

const statusOf = (queue: JobQueue.Service) => (id: string) => queue.status(Job.ref(usual.model, id))

// each contender makes `polls` polls, one at a time for each job
const inPromises = ({ name, poll, polls }: Contender) => ({
  name,
  run: () =>
    cpu(polls, async () => {
      await Promise.all(ids.map(async (id) => {
        for (let i = 0; i < polls / concurrency; i++) await poll(id)
      }))
    })
})

const inFibers = (name: string, polls: number, poll: (id: string) => Effect.Effect<unknown, unknown>) => ({
  name,
  run: () =>
    cpu(polls, () =>
      Effect.forEach(
        ids,
        (id) => Effect.repeatN(poll(id), polls / concurrency - 1),
        { concurrency, discard: true }
      ).pipe(
        // as a watch polls
        Effect.withTracerEnabled(false),
        Effect.runPromise
      ))
})

const measure = async (origin: string) => {
  const headers = { authorization: `Bearer ${token}`, accept: "application/json" }
  const pool = new Undici.Pool(origin, { connections: concurrency })
  const ask = async (path: string, signal?: unknown) => {
    const { body, headers: answerHeaders, statusCode } = await pool.request({
      method: "GET",
      path,
      headers,
      signal: signal ?? null
    })
    return { statusCode, headers: answerHeaders, body: JSON.parse(await body.text()) }
  }
  const pathOf = (id: string) => `/v1/queue/status?${new URLSearchParams([["request_id", id], ["model", usual.model]])}`
  const paths = new Map(ids.map((id) => [id, pathOf(id)]))

  const together = new Together({ apiKey: token, baseURL: `${origin}/v1` })
  const replicate = new Replicate({ auth: token, baseUrl: `${origin}/v1` })
  const fal = createFalClient({
    credentials: token,
    requestMiddleware: async (request) => ({ ...request, url: request.url.replace("https://queue.fal.run", origin) })
  })

  /** A poller of Azure for `polls` polls, over the same `request` as the first row and with the signal of Azure. */
  const pollerOf = (id: string, polls: number) => {
    let left = polls
    return createHttpPoller({
      sendInitialRequest: async () => ({
        flatResponse: {},
        rawResponse: {
          statusCode: 202,
          headers: { "operation-location": pathOf(id) },
          body: {},
          request: { method: "POST", url: "/v1/queue/submit" }
        }
      }),
      sendPollRequest: async (path, options) => {
        const { body, statusCode } = await ask(path, options?.abortSignal)
        const answer = --left === 0 ? { ...body, status: "succeeded" } : body
        return {
          flatResponse: answer,
          rawResponse: { statusCode, headers: {}, body: answer, request: { method: "GET", url: path } }
        }
      }
    }, { intervalInMs: 0 })
  }
  const pollers = new Map(ids.map((id) => [id, pollerOf(id, Infinity)]))

  const program = Effect.gen(function*() {
    const options = { apiKey: Redacted.make(token), connections: concurrency }
    const unchanged = { ...options, baseUrl: `${origin}/v1` }
    const changing = { ...options, baseUrl: `${origin}/changing` }
    const lean = yield* NodeJobQueue.make(unchanged)
    const leanChanging = yield* NodeJobQueue.make(changing)
    const overUndici = yield* JobQueue.make(unchanged)
    const overUndiciChanging = yield* JobQueue.make(changing)
    const client = yield* HttpClient.HttpClient
    const fetchClient = yield* Effect.provide(HttpClient.HttpClient, FetchHttpClient.layer)
    const overFetch = yield* Effect.provideService(JobQueue.make(unchanged), HttpClient.HttpClient, fetchClient)
    const overFetchChanging = yield* Effect.provideService(JobQueue.make(changing), HttpClient.HttpClient, fetchClient)
    const requests = new Map(
      ids.map((id) => [id, HttpClientRequest.get(`${origin}${paths.get(id)}`, { headers })])
    )
    const read = (client: HttpClient.HttpClient) => (id: string) =>
      Effect.flatMap(client.execute(requests.get(id)!), (response) => response.arrayBuffer)
    const rows = yield* Effect.promise(() =>
      interleaved(rounds, [
        inPromises({
          name: "undici `request` and `JSON.parse`",
          polls: many,
          poll: (id) => ask(paths.get(id)!).then(({ body }) => body)
        }),
        inFibers("`NodeJobQueue`, the same response", many, statusOf(lean)),
        inFibers("`NodeJobQueue`, a different response", many, statusOf(leanChanging)),
        inFibers("`NodeHttpClient.layerUndici` alone, `execute` and `arrayBuffer`", fewer, read(client)),
        inFibers("`JobQueue` over `layerUndici`, the same response", fewer, statusOf(overUndici)),
        inFibers("`JobQueue` over `layerUndici`, a different response", fewer, statusOf(overUndiciChanging)),
        inPromises({
          name: "`fetch` and `JSON.parse`",
          polls: fewer,
          poll: (id) => fetch(`${origin}${paths.get(id)}`, { headers }).then((response) => response.json())
        }),
        inFibers("`FetchHttpClient.layer` alone, `execute` and `arrayBuffer`", fewer, read(fetchClient)),
        inFibers("`JobQueue` over `FetchHttpClient`, the same response", fewer, statusOf(overFetch)),
        inFibers("`JobQueue` over `FetchHttpClient`, a different response", fewer, statusOf(overFetchChanging)),
        inPromises({
          name: "`@azure/core-lro`, `poll` over the first row",
          polls: many,
          poll: (id) => pollers.get(id)!.poll()
        }),
        inPromises({
          name: "the same, with an `AbortSignal` for each poll",
          polls: many,
          poll: (id) => pollers.get(id)!.poll({ abortSignal: new AbortController().signal })
        }),
        {
          name: "`@azure/core-lro`, `pollUntilDone` over the first row",
          run: () =>
            cpu(fewer, async () => {
              await Promise.all(ids.map((id) => pollerOf(id, fewer / concurrency).pollUntilDone()))
            })
        },
        inPromises({
          name: "`replicate`, `predictions.get`",
          polls: fewer,
          poll: (id) => replicate.predictions.get(id)
        }),
        inPromises({
          name: "`@fal-ai/client`, `queue.status`",
          polls: fewer,
          poll: (id) => fal.queue.status(usual.model, { requestId: id })
        }),
        inPromises({
          name: "`together-ai`, `queue.retrieve`",
          polls: fewer,
          poll: (id) => together.beta.jig.queue.retrieve({ model: usual.model, request_id: id })
        })
      ])
    )
    console.log(table(`a poll over loopback, ${concurrency} at a time`, "µs of the client's CPU", rows))
    const microsOf = (name: string) => rows.find((row) => row.name === name)!.micros
    const yardstick = "undici `request` and `JSON.parse`"
    const cheapest = peers.reduce((a, b) => microsOf(a) < microsOf(b) ? a : b)
    const beside = (name: string, other: string, ...goal: NonNullable<Figure["goal"]>): Figure => ({
      what: `CPU of a poll: ${name}, beside ${other}`,
      value: microsOf(name) / microsOf(other),
      unit: "times",
      goal
    })
    yield* Effect.promise(() =>
      handOver([
        beside("`NodeJobQueue`, the same response", yardstick, "≤", 1.2),
        beside("`NodeJobQueue`, a different response", yardstick, "≤", 1.6),
        beside("`JobQueue` over `layerUndici`, the same response", yardstick, "≤", 5),
        beside("`JobQueue` over `layerUndici`, a different response", yardstick, "≤", 6),
        beside("`JobQueue` over `layerUndici`, the same response", cheapest, "<", 1),
        beside("`JobQueue` over `FetchHttpClient`, the same response", "`fetch` and `JSON.parse`", "≤", 1.3)
      ])
    )
  })

  await program.pipe(Effect.scoped, Effect.provide(NodeHttpClient.layerUndici), Effect.runPromise)
  await pool.destroy()
}

// -----------------------------------------------------------------------------
// the server, and the cores of both
// -----------------------------------------------------------------------------

const pin = (core: number, pid: number | undefined): boolean => {
  try {
    execFileSync("taskset", ["--all-tasks", "--cpu-list", "--pid", String(core), String(pid)], { stdio: "ignore" })
    return true
  } catch {
    return false
  }
}

const main = async () => {
  const file = await compile(fileURLToPath(import.meta.url))
  const server = fork(fileURLToPath(new URL("./transportServer.mjs", import.meta.url)), [JSON.stringify(answers)], {
    execArgv: []
  })
  const port = await new Promise<number>((resolve) => server.once("message", (port) => resolve(Number(port))))
  const client = fork(file, [`http://127.0.0.1:${port}`], { execArgv: ["--expose-gc"] })
  client.on("message", (figures) => void handOver(figures as ReadonlyArray<Figure>))
  const isPinned = availableParallelism() > 1 && pin(0, client.pid) && pin(1, server.pid)
  const where = isPinned ? "the client on one core, the server on another" : "neither on a core of its own"
  console.log(`Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim()}, ${where}\n`)
  const code = await new Promise((resolve) => client.once("exit", resolve))
  server.disconnect()
  process.exitCode = code === 0 ? 0 : 1
}

const [origin] = process.argv.slice(2)
await (origin === undefined ? main() : measure(origin))

/**
 * The throughput of the emulator, and the memory that it retains.
 *
 *     node --import tsx test/bench/emulator.ts
 *
 * The emulator runs in its own process, not pinned to a core: on two cores it shares them with the client. Requests of
 * the first part are due at even intervals, independently of the responses to earlier requests. A latency is measured
 * from the time at which its request was due.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import { type ChildProcess, fork } from "node:child_process"
import * as Http from "node:http"
import * as Os from "node:os"
import { performance } from "node:perf_hooks"
import { fileURLToPath } from "node:url"
import { Emulator } from "../../src/emulator/index.js"

const model = "my-org/video-generator"
const rate = 2_000
const duration = 5_000
const jobs = 3_000
const retention = 2_000

// -----------------------------------------------------------------------------
// the emulator
// -----------------------------------------------------------------------------

interface Memory {
  readonly heap: number
  readonly rss: number
}

const serve = () => {
  const send = (message: unknown) => process.send?.(message)
  const program = Effect.gen(function*() {
    send(Context.get(yield* Layer.build(Emulator.layer({ retention })), Emulator.Emulator).origin)
    return yield* Effect.never
  })
  // no client reads its spans
  const fiber = Effect.runFork(Effect.scoped(program))
  process.on("message", () => {
    globalThis.gc?.()
    const { heapUsed, rss } = process.memoryUsage()
    send({ heap: heapUsed / 2 ** 20, rss: rss / 2 ** 20 } satisfies Memory)
  })
  process.on("disconnect", () => Effect.runFork(Fiber.interrupt(fiber)))
}

const next = <A>(child: ChildProcess): Promise<A> =>
  new Promise((resolve) => child.once("message", (message) => resolve(message as A)))

const memory = (child: ChildProcess): Promise<Memory> => {
  const answer = next<Memory>(child)
  child.send("memory")
  return answer
}

// -----------------------------------------------------------------------------
// the client
// -----------------------------------------------------------------------------

const makeAsk = (origin: string, maxSockets: number) => {
  const agent = new Http.Agent({ keepAlive: true, maxSockets })
  const { hostname, port } = new URL(origin)
  const ask = (path: string, body?: unknown): Promise<any> =>
    new Promise((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body)
      const request = Http.request({
        agent,
        hostname,
        port,
        path,
        method: text === undefined ? "GET" : "POST",
        headers: {
          authorization: "Bearer any",
          ...(text !== undefined && { "content-length": Buffer.byteLength(text) })
        }
      }, (answer) => {
        let received = ""
        answer.setEncoding("utf8").on("data", (chunk) => received += chunk).on("end", () => {
          if (answer.statusCode === 200) resolve(JSON.parse(received))
          else reject(new Error(`${path}: ${answer.statusCode} ${received}`))
        })
      })
      request.on("error", reject)
      request.end(text)
    })
  return { ask, close: () => agent.destroy() }
}

const quantile = (sorted: ReadonlyArray<number>, q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? NaN

const millis = (n: number): string => `${n.toFixed(1)} ms`

/** Requests at even intervals, and the latencies of their responses. */
const openLoop = async (ask: () => Promise<unknown>) => {
  const latencies: Array<number> = []
  const start = performance.now()
  const pending: Array<Promise<void>> = []
  const total = rate * duration / 1_000
  for (let sent = 0; sent < total;) {
    const now = performance.now()
    for (; sent < total && start + sent * 1_000 / rate <= now; sent++) {
      const due = start + sent * 1_000 / rate
      pending.push(
        ask().then(() => {
          latencies.push(performance.now() - due)
        })
      )
    }
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await Promise.all(pending)
  const took = (performance.now() - start) / 1_000
  latencies.sort((a, b) => a - b)
  return { latencies, achieved: latencies.length / took }
}

/** Requests a second, with `atATime` requests in flight. */
const closedLoop = async (ask: () => Promise<unknown>, atATime: number, time: number): Promise<number> => {
  const end = performance.now() + time
  let count = 0
  await Promise.all(Array.from({ length: atATime }, async () => {
    while (performance.now() < end) {
      await ask()
      count++
    }
  }))
  return count * 1_000 / time
}

/** Jobs from their submission to their end, by workers over HTTP, with the memory of the emulator meanwhile. */
const lives = async (ask: (path: string, body?: unknown) => Promise<any>, child: ChildProcess) => {
  const samples: Array<readonly [number, Memory]> = []
  const step = jobs / 3
  for (let done = 0; done < jobs; done += step) {
    await Promise.all(Array.from({ length: 20 }, async (_, i) => {
      for (let n = i; n < step; n += 20) {
        await ask("/v1/queue/submit", { model, payload: { prompt: "a cat at the piano", n } })
        const { data } = await ask(`/internal/v1/queue/retrieve?model=${model}&timeout=5s&claim_timeout=90`)
        const { request_id } = data
        await ask("/internal/v1/videos/status", {
          model,
          request_id,
          status: "running",
          payload: {},
          info: { progress: 0.5 }
        })
        await ask("/internal/v1/videos/status", { model, request_id, status: "done", payload: { url: "x" } })
      }
    }))
    // the next call after the retention removes the ended jobs
    await new Promise((resolve) => setTimeout(resolve, retention + 100))
    await ask(`/v1/queue/metrics?model=${model}`)
    samples.push([done + step, await memory(child)])
  }
  return samples
}

const main = async () => {
  const file = fileURLToPath(import.meta.url)
  const child = fork(file, ["serve"], { execArgv: ["--expose-gc", "--import", "tsx"] })
  const origin = await next<string>(child)
  const { ask, close } = makeAsk(origin, 100)
  const { requestId } = await ask("/v1/queue/submit", { model, payload: { prompt: "a cat at the piano" } })
  const path = `/v1/queue/status?${new URLSearchParams({ model, request_id: requestId })}`
  const status = () => ask(path)
  await closedLoop(status, 20, 3_000) // warm

  console.log(
    `Node ${process.version}, ${Os.cpus().length} × ${Os.cpus()[0]?.model.trim()}, emulator and client share them\n`
  )
  const { achieved, latencies } = await openLoop(status)
  console.log(`| ${rate} status requests a second, for ${duration / 1_000} s | |\n| --- | ---: |`)
  console.log(`| achieved | ${achieved.toFixed(0)} a second |`)
  for (const [name, q] of [["p50", 0.5], ["p95", 0.95], ["p99", 0.99], ["longest", 1]] as const) {
    console.log(`| ${name} | ${millis(quantile(latencies, q))} |`)
  }
  console.log(`| as many as it bears, 50 at a time | ${(await closedLoop(status, 50, 3_000)).toFixed(0)} a second |`)

  console.log(`\n| jobs done, and forgotten after ${retention / 1_000} s | heap | resident |\n| ---: | ---: | ---: |`)
  for (const [count, { heap, rss }] of await lives(ask, child)) {
    console.log(`| ${count} | ${heap.toFixed(1)} MiB | ${rss.toFixed(0)} MiB |`)
  }
  close()
  child.disconnect()
}

if (process.argv[2] === "serve") serve()
else await main()

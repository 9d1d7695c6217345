/**
 * The cost of a gateway for each connected client and for each event written, beside a bare `node:http` server that
 * writes the same bytes at the same rate; the time until clients reconnect after a restart; the cost of clients that
 * never read.
 *
 *     npm run build && node --import tsx test/bench/gateway.ts
 *
 * Clients are bare sockets in their own process. Each watches one of 100 jobs.
 */
import type { HttpApp } from "@effect/platform"
import { HttpServer } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import type { Scope } from "effect"
import { Clock, Context, DateTime, Effect, Layer, Option } from "effect"
import { Job, JobQueue, JobWatcher, Transition, WatchPolicy } from "effect-queue-status"
import { Gateway } from "effect-queue-status/gateway"
import { NodeGateway } from "effect-queue-status/node"
import { fork } from "node:child_process"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { connect } from "node:net"
import { fileURLToPath } from "node:url"
import { compile } from "./fixtures.js"
import { type Figure, handOver } from "./goals.js"

const jobs = 100

const jobOf = (n: number) =>
  Job.ref("my-org/video-generator", `019ba379-92da-71e4-ac40-d98059fd6${String(n).padStart(3, "0")}`)

const begun = DateTime.make(Date.now() - 60_000)

let polls = 0

/** The status of a job: its progress changes at each poll. */
const statusOf = (job: Job.JobRef, now: number): Job.JobStatus =>
  Job.Running({
    job,
    createdAt: begun,
    claimedAt: begun,
    info: { progress: Math.floor(now / 100) % 10_000 / 10_000 }
  })

// -----------------------------------------------------------------------------
// servers
// -----------------------------------------------------------------------------

const never = Effect.never

const QueueLive = Layer.succeed(JobQueue.JobQueue, {
  status: (job) =>
    Effect.map(Clock.currentTimeMillis, (now) => {
      polls++
      return statusOf(job, now)
    }),
  submit: () => never,
  cancel: () => never,
  clear: () => never,
  metrics: () => never
})

const listen = (
  app: HttpApp.Default<never, JobWatcher.JobWatcher | Scope.Scope>,
  { cadence, output, port }: Settings
) =>
  HttpServer.serve(app).pipe(
    Layer.provide(JobWatcher.layer({ pollsPerSecond: 1_000 }).pipe(Layer.provide(QueueLive))),
    Layer.provide(Layer.succeed(
      WatchPolicy.Default,
      WatchPolicy.defaultPolicy.pipe(WatchPolicy.withCadence(`${cadence} seconds`))
    )),
    Layer.provide(output),
    Layer.provideMerge(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port })),
    Layer.build,
    Effect.map((context) => {
      const { address } = Context.get(context, HttpServer.HttpServer)
      return address._tag === "TcpAddress" ? address.port : 0
    })
  )

/** The bytes of an event, as the gateway writes it. */
const eventOf = (job: Job.JobRef, now: number, before: Transition.Cursor | undefined) => {
  const { cursor, transitions } = Effect.runSync(
    Transition.derive(Option.fromNullable(before), statusOf(job, now), { observedAt: DateTime.unsafeMake(now) })
  )
  const text = transitions.map((transition) => {
    const { snapshot: _, ...data } = transition
    return `id: ${Transition.formatCursor(transition.cursor)}\nevent: ${transition._tag}\ndata: ${
      JSON.stringify(data)
    }\n\n`
  }).join("")
  return { cursor, bytes: Buffer.from(text) }
}

const bare = () =>
  new Promise<number>((resolve) => {
    const clients = Array.from({ length: jobs }, () => new Set<{ readonly write: (bytes: Uint8Array) => unknown }>())
    const server = createServer((request, response) => {
      const n = Number(new URL(request.url!, "http://x").searchParams.get("job")!.slice(-3))
      response.writeHead(200, { "content-type": "text/event-stream" })
      response.write(": hello\n\n")
      clients[n]!.add(response)
      response.on("close", () => clients[n]!.delete(response))
    })
    const cursors: Array<Transition.Cursor | undefined> = []
    const progress = (n: number) => {
      const { bytes, cursor } = eventOf(jobOf(n), Date.now(), cursors[n])
      cursors[n] = cursor
      for (const client of clients[n]!) client.write(bytes)
    }
    // jobs progress one after the other, as for the gateway: writing all events at once would cost half
    for (let n = 0; n < jobs; n++) setTimeout(() => setInterval(progress, 1_000, n), n * 1_000 / jobs)
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port))
  })

interface Settings {
  /** Seconds between the polls of a job. */
  readonly cadence: number
  readonly output: Layer.Layer<never>
  readonly port: number
}

const large = "x".repeat(200_000)

const launch = (options: Gateway.Options, settings: Settings) =>
  new Promise<number>((resolve) =>
    Effect.runFork(Effect.scoped(Effect.flatMap(
      listen(Gateway.httpApp({ ...options, maxConnections: 100_000 }), settings),
      (port) => {
        resolve(port)
        return Effect.never
      }
    )))
  )

const serve = async (kind: string, cadence: number, port: number) => {
  const options: Gateway.Options = kind === "large"
    ? { view: ({ _tag, observedAt }) => ({ _tag, observedAt: DateTime.formatIso(observedAt), large }) }
    : {}
  const first = kind === "bare"
    ? await bare()
    : await launch(options, { cadence, output: kind === "stream" ? Layer.empty : NodeGateway.layer, port })
  process.on("message", (question) => {
    // after the CPU time is read, so that the collection does not count as a cost of the events
    if (question === "memory") { for (let i = 0; i < 2; i++) globalThis.gc?.() }
    const { external, heapUsed } = process.memoryUsage()
    process.send?.({ heap: heapUsed, memory: heapUsed + external, cpu: process.cpuUsage(), polls })
  })
  process.send?.(first)
}

// -----------------------------------------------------------------------------
// clients
// -----------------------------------------------------------------------------

const follow = (port: number, clients: number, isReading: boolean) => {
  let events = 0
  let begun = 0
  // for each event: the time at which it arrived first, the number of clients with it, and the delays since the poll
  let seen = new Map<string, { readonly at: number; count: number }>()
  let delays: Array<number> = []
  // the times at which responses began, and the pause after which an `EventSource` reconnects
  let starts: Array<number> = []
  const open = (n: number, lastEventId: string) => {
    const socket = connect(port, "127.0.0.1")
    let id = lastEventId
    let retry: number | undefined
    const again = () => setTimeout(() => open(n, id), retry ?? 1_000)
    socket.on("error", () => {}).on("close", again)
    socket.setEncoding("latin1").on("data", (text: string) => {
      const now = Date.now()
      if (retry === undefined) {
        retry = Number(text.match(/^retry: (\d+)$/m)?.[1] ?? 1_000)
        begun++
        starts.push(now)
        if (!isReading) socket.pause()
      }
      for (const [, next = ""] of text.matchAll(/^id: (.+)$/gm)) {
        events++
        id = next
        const event = seen.get(id)
        if (event === undefined) seen.set(id, { at: now, count: 1 })
        else event.count++
      }
      for (const [, at = ""] of text.matchAll(/"observedAt":"([^"]+)"/g)) delays.push(now - Date.parse(at))
    })
    const from = id === "" ? "" : `last-event-id: ${id}\r\n`
    const job = encodeURIComponent(Job.format(jobOf(n % jobs)))
    socket.write(`GET /events?job=${job} HTTP/1.1\r\nhost: 127.0.0.1\r\n${from}\r\n`)
  }
  for (let n = 0; n < clients; n++) setTimeout(() => open(n, ""), n / 3)
  process.on("message", (question) => {
    if (question === "reset") {
      seen = new Map()
      delays = []
      starts = []
      begun = 0
    }
    // the events in between may still be in flight
    const now = Date.now()
    const begin = Math.min(...Array.from(seen.values(), ({ at }) => at)) + 1_000
    const lost = Array.from(seen.values()).filter(({ at }) => at > begin && at < now - 1_500)
      .reduce((sum, { count }) => sum + clients / jobs - count, 0)
    delays.sort((a, b) => a - b)
    process.send?.({ events, begun, lost, starts, p99: delays[Math.floor(delays.length * 0.99)] ?? Number.NaN })
  })
  process.send?.("started")
}

// -----------------------------------------------------------------------------
// the table
// -----------------------------------------------------------------------------

const start = async (file: string, args: ReadonlyArray<string>) => {
  const process = fork(file, args, { execArgv: ["--expose-gc"] })
  const first = await new Promise<any>((resolve) => process.once("message", resolve))
  const ask = (question = "?") =>
    new Promise<any>((resolve) => {
      process.once("message", resolve)
      process.send(question)
    })
  return { first, ask, stop: () => process.kill() }
}

const sleep = (millis: number) => new Promise((resolve) => setTimeout(resolve, millis))

const begin = async (file: string, kind: string, clients: number, cadence: number, isReading = true) => {
  const server = await start(file, ["serve", kind, String(cadence), "0"])
  await sleep(500)
  const empty = await server.ask("memory")
  const followers = await start(file, ["follow", String(server.first), String(clients), String(isReading)])
  while ((await followers.ask()).begun < clients) await sleep(200)
  return { server, followers, empty }
}

const measure = async (
  file: string,
  kind: string,
  clients: number,
  { cadence, seconds } = { cadence: 1, seconds: 5 }
) => {
  const { empty, followers, server } = await begin(file, kind, clients, cadence)
  await sleep(5_000) // until V8 has optimized the hot code
  const before = await server.ask("memory") // costs before this point do not count
  const { events: eventsBefore } = await followers.ask("reset")
  await sleep(seconds * 1_000)
  const after = await server.ask()
  const { events: eventsAfter, lost, p99 } = await followers.ask()
  const { heap } = await server.ask("memory")
  const events = eventsAfter - eventsBefore
  followers.stop()
  server.stop()
  const cpu = after.cpu.user + after.cpu.system - before.cpu.user - before.cpu.system
  return {
    heap: (heap - empty.heap) / clients,
    micros: cpu / events,
    events: events / seconds,
    polls: (after.polls - before.polls) / seconds,
    lost,
    p99
  }
}

type Measured = Awaited<ReturnType<typeof measure>>

/** The server is killed and started again: each client reconnects after the `retry:` of its stream. */
const restart = async (file: string, clients: number) => {
  const { followers, server } = await begin(file, "node", clients, 1)
  await sleep(1_000)
  await followers.ask("reset")
  server.stop()
  const next = await start(file, ["serve", "node", "1", String(server.first)])
  const at = Date.now()
  while ((await followers.ask()).begun < clients) await sleep(200)
  const { starts } = await followers.ask()
  const { cpu } = await next.ask()
  followers.stop()
  next.stop()
  const peaks = new Map<number, number>()
  for (const start of starts) peaks.set(Math.floor(start / 100), (peaks.get(Math.floor(start / 100)) ?? 0) + 1)
  return { last: Math.max(...starts) - at, peak: Math.max(...peaks.values()), cpu: (cpu.user + cpu.system) / 1_000 }
}

/** The cost of a client that reads only the first bytes of its stream. */
const neverRead = async (file: string, clients: number) => {
  const { empty, followers, server } = await begin(file, "large", clients, 0.25, false)
  await sleep(6_000) // until the buffers of the system are full
  const { memory } = await server.ask("memory")
  followers.stop()
  server.stop()
  return (memory - empty.memory) / clients
}

const kib = (bytes: number) => `${(bytes / 1024).toFixed(1)} KiB`

const main = async () => {
  const file = await compile(fileURLToPath(import.meta.url))
  const contenders = [
    { kind: "bare", name: "bare `node:http`" },
    { kind: "stream", name: "`Gateway.httpApp`" },
    { kind: "node", name: "`Gateway.httpApp`, `NodeGateway.layer`" }
  ]
  console.log(
    `| ${jobs} jobs | clients | events a second | polls a second | CPU of an event | heap a client | lost | from poll to client, p99 |`
  )
  console.log("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
  const print = (kind: string, name: string, clients: number, row: Measured) => {
    const more = kind === "bare"
      ? "| |"
      : `${row.lost} | ${row.p99} ms |`
    console.log(
      `| ${name} | ${clients} | ${row.events.toFixed(0)} | ${kind === "bare" ? "" : row.polls.toFixed(0)} | ${
        row.micros.toFixed(1)
      } µs | ${kib(row.heap)} | ${more}`
    )
  }
  const measured: Array<Measured> = []
  for (const { kind, name } of contenders) {
    const row = await measure(file, kind, 1_000)
    print(kind, name, 1_000, row)
    measured.push(row)
  }
  const [bare, , node] = measured as [Measured, Measured, Measured]
  const figures: Array<Figure> = [
    {
      what: "CPU of an event to a client, beside bare `node:http`",
      value: node.micros / bare.micros,
      unit: "times",
      goal: ["≤", 3]
    },
    { what: "heap of a connected client", value: node.heap / 1_000, unit: "kB", goal: ["≤", 24] },
    {
      what: "polls a second of a job with 10 followers and a cadence of a second",
      value: node.polls / jobs,
      goal: ["≤", 1.1]
    }
  ]
  // each job progresses every 4 seconds: the clients use the same machine
  const { soft } = (process.report.getReport() as any).userLimits.open_files
  if (soft !== "unlimited" && soft < 11_000) console.log(`10,000 clients: not measured, ${soft} open files are allowed`)
  else {
    const row = await measure(file, "node", 10_000, { cadence: 4, seconds: 10 })
    print("node", "the same", 10_000, row)
    figures.push(
      { what: "events lost, 10,000 clients", value: row.lost, goal: ["≤", 0] },
      { what: "from poll to client, p99, 10,000 clients", value: row.p99, unit: "ms", goal: ["<", 250] }
    )
  }
  const { cpu, last, peak } = await restart(file, 1_000)
  console.log(
    `\nAfter a restart 1,000 clients are back within ${
      (last / 1_000).toFixed(1)
    } s, at most ${peak} of them in 100 ms; ` +
      `the new server takes ${cpu.toFixed(0)} ms of CPU.`
  )
  const unread = await neverRead(file, 50)
  console.log(`A client that never reads costs ${kib(unread)}, with events of 200 kB.`)
  await handOver([...figures, {
    what: "a client that never reads, with events of 200 kB",
    value: unread / 1_024,
    unit: "KiB",
    goal: ["≤", 1_024]
  }])
}

const [command, first = "", ...others] = process.argv.slice(2)
if (command === "serve") await serve(first, Number(others[0]), Number(others[1]))
else if (command === "follow") follow(Number(first), Number(others[0]), others[1] === "true")
else await main()

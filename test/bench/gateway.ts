/**
 * What a gateway costs for each connected client and for each event written, beside a bare `node:http` server that writes
 * the same bytes.
 *
 *     npm run build && node --import tsx test/bench/gateway.ts
 *
 * Clients are bare sockets in a process of their own. Each follows one of the jobs, each of which progresses once a second.
 */
import type { HttpApp } from "@effect/platform"
import { HttpServer, HttpServerResponse } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import type { Scope } from "effect"
import { Clock, Context, DateTime, Effect, Layer, Option, Schedule, Stream } from "effect"
import { Job, JobQueue, JobWatcher, Transition, WatchPolicy } from "effect-queue-status"
import { Gateway } from "effect-queue-status/gateway"
import { fork } from "node:child_process"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { connect } from "node:net"
import { fileURLToPath } from "node:url"
import { compile, median } from "./fixtures.js"

const seconds = 8

const jobs = 100

const jobOf = (n: number) =>
  Job.ref("my-org/video-generator", `019ba379-92da-71e4-ac40-d98059fd6${String(n).padStart(3, "0")}`)

const begun = DateTime.make(Date.now() - 60_000)

/** What the service says of a job: another progress each second. */
const statusOf = (job: Job.JobRef, now: number): Job.JobStatus =>
  Job.Running({
    job,
    createdAt: begun,
    claimedAt: begun,
    info: { progress: Math.floor(now / 1_000) % 1_000 / 1_000 }
  })

// -----------------------------------------------------------------------------
// servers
// -----------------------------------------------------------------------------

const never = Effect.never

const QueueLive = Layer.succeed(JobQueue.JobQueue, {
  status: (job) => Effect.map(Clock.currentTimeMillis, (now) => statusOf(job, now)),
  submit: () => never,
  cancel: () => never,
  clear: () => never,
  metrics: () => never
})

const PolicyLive = Layer.succeed(
  WatchPolicy.Default,
  WatchPolicy.defaultPolicy.pipe(WatchPolicy.withCadence("1 second"))
)

const listen = (app: HttpApp.Default<never, JobWatcher.JobWatcher | Scope.Scope>) =>
  HttpServer.serve(app).pipe(
    Layer.provide(JobWatcher.layer({ pollsPerSecond: 1_000 }).pipe(Layer.provide(QueueLive))),
    Layer.provide(PolicyLive),
    Layer.provideMerge(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 0 })),
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
    setInterval(() => {
      clients.forEach((clients, n) => {
        const { bytes, cursor } = eventOf(jobOf(n), Date.now(), cursors[n])
        cursors[n] = cursor
        for (const client of clients) client.write(bytes)
      })
    }, 1_000)
    server.listen(0, "127.0.0.1", () => resolve((server.address() as AddressInfo).port))
  })

/** A stream of the platform alone: what no gateway on it goes below. */
const platform = Effect.succeed(HttpServerResponse.stream(
  Stream.schedule(
    Stream.forever(Stream.make(eventOf(jobOf(0), Date.now(), undefined).bytes)),
    Schedule.spaced("1 second")
  )
))

const launch = (app: HttpApp.Default<never, JobWatcher.JobWatcher | Scope.Scope>) =>
  new Promise<number>((resolve) =>
    Effect.runFork(Effect.scoped(Effect.flatMap(listen(app), (port) => {
      resolve(port)
      return Effect.never
    })))
  )

const serve = async (kind: string) => {
  const port = kind === "bare"
    ? await bare()
    : await launch(kind === "platform" ? platform : Gateway.httpApp({ maxConnections: 100_000 }))
  process.on("message", () => {
    globalThis.gc?.()
    globalThis.gc?.()
    process.send?.({ heap: process.memoryUsage().heapUsed, cpu: process.cpuUsage() })
  })
  process.send?.(port)
}

// -----------------------------------------------------------------------------
// clients
// -----------------------------------------------------------------------------

const follow = (port: number, clients: number) => {
  let events = 0
  let begun = 0
  // of each event: when it came first, by how many clients it was seen, and how long after the poll
  let seen = new Map<string, { readonly at: number; count: number }>()
  let delays: Array<number> = []
  for (let n = 0; n < clients; n++) {
    setTimeout(() => {
      const socket = connect(port, "127.0.0.1")
      let isBegun = false
      socket.on("error", () => process.exit(1))
      socket.setEncoding("latin1").on("data", (text: string) => {
        if (!isBegun) {
          isBegun = true
          begun++
        }
        const now = Date.now()
        for (const [, id = ""] of text.matchAll(/^id: (.+)$/gm)) {
          events++
          const event = seen.get(id)
          if (event === undefined) seen.set(id, { at: now, count: 1 })
          else event.count++
        }
        for (const [, at = ""] of text.matchAll(/"observedAt":"([^"]+)"/g)) delays.push(now - Date.parse(at))
      })
      socket.write(
        `GET /events?job=${encodeURIComponent(Job.format(jobOf(n % jobs)))} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n`
      )
    }, n / 2)
  }
  process.on("message", (question) => {
    if (question === "reset") {
      seen = new Map()
      delays = []
    }
    // those in between may still be on their way
    const now = Date.now()
    const begin = Math.min(...Array.from(seen.values(), ({ at }) => at)) + 1_000
    const lost = Array.from(seen.values()).filter(({ at }) => at > begin && at < now - 1_500)
      .reduce((sum, { count }) => sum + clients / jobs - count, 0)
    delays.sort((a, b) => a - b)
    process.send?.({ events, begun, lost, p99: delays[Math.floor(delays.length * 0.99)] ?? Number.NaN })
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

const measure = async (file: string, kind: string, clients: number) => {
  const server = await start(file, ["serve", kind])
  await sleep(1_000)
  const empty = (await server.ask()).heap
  const followers = await start(file, ["follow", String(server.first), String(clients)])
  while ((await followers.ask()).begun < clients) await sleep(200)
  await sleep(3_000)
  const before = await server.ask()
  const { events: eventsBefore } = await followers.ask("reset")
  await sleep(seconds * 1_000)
  const after = await server.ask()
  const { events: eventsAfter, lost, p99 } = await followers.ask()
  const events = eventsAfter - eventsBefore
  followers.stop()
  server.stop()
  const cpu = after.cpu.user + after.cpu.system - before.cpu.user - before.cpu.system
  return { heap: (after.heap - empty) / clients / 1024, micros: cpu / events, events: events / seconds, lost, p99 }
}

type Measured = Awaited<ReturnType<typeof measure>>

const all = [
  { kind: "bare", name: "bare `node:http`" },
  { kind: "platform", name: "`HttpServerResponse.stream` alone" },
  { kind: "gateway", name: "`Gateway.httpApp`" }
]

const main = async () => {
  const file = await compile(fileURLToPath(import.meta.url))
  console.log(
    `| ${jobs} jobs, one event a second each | clients | events a second | CPU of an event | heap a client | lost | from poll to client, p99 |`
  )
  console.log("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
  for (const clients of [1_000, 3_000]) {
    const kinds = clients === 1_000 ? all : all.slice(-1)
    const measured = kinds.map(() => [] as Array<Measured>)
    for (let round = 0; round < (clients === 1_000 ? 3 : 1); round++) {
      for (const [i, { kind }] of kinds.entries()) measured[i]!.push(await measure(file, kind, clients))
    }
    for (const [i, { kind, name }] of kinds.entries()) {
      const of = (get: (row: Measured) => number) => median(measured[i]!.map(get))
      console.log(
        `| ${name} | ${clients} | ${of((row) => row.events).toFixed(0)} | ${of((row) => row.micros).toFixed(1)} µs | ${
          of((row) => row.heap).toFixed(1)
        } KiB | ${kind === "gateway" ? `${of((row) => row.lost)} | ${of((row) => row.p99)} ms |` : "| |"}`
      )
    }
  }
}

const [command, ...args] = process.argv.slice(2)
if (command === "serve") await serve(args[0]!)
else if (command === "follow") follow(Number(args[0]), Number(args[1]))
else await main()

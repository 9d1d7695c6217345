/**
 * The cost of a fleet: the heap of a job, the polls of one runner, the load on the database, and, from these figures,
 * the cost of a fleet for a million jobs.
 *
 *     npm run build && node --import tsx test/bench/cluster.ts
 */
import { TestRunner } from "@effect/cluster"
import { Reactivity } from "@effect/experimental"
import { PgClient } from "@effect/sql-pg"
import { Clock, Effect, Exit, Layer, Redacted, Scope } from "effect"
import { Cadence, Job, JobQueue, JobWatcher, WatchPolicy } from "effect-queue-status"
import { ClusterWatcher } from "effect-queue-status/cluster"
import { NodeJobQueue } from "effect-queue-status/node"
import { VirtualTime } from "effect-queue-status/testing"
import { fork, spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import * as Postgres from "../fixtures/postgres.js"
import { child, compile, cpuNow, document, heap } from "./fixtures.js"
import { handOver } from "./goals.js"

const jobsOfRunner = 50_000
const jobsInSimulation = 20_000
const { model } = document

const refs = (count: number, of = model) =>
  Array.from({ length: count }, (_, i) => Job.ref(of, `019ba379-92da-71e4-ac40-${String(i).padStart(12, "0")}`))

const policyOf = (pause: "500 millis" | "20 seconds" | "1 minute" | "1 hour") =>
  WatchPolicy.withCadence(WatchPolicy.defaultPolicy, Cadence.fixed(pause))

const refuse = () => Effect.die("no such call here")

/** A runner in this process and its client, over a queue. */
const runner = (
  status: JobQueue.Service["status"],
  options: JobWatcher.Options,
  cadence: Parameters<typeof policyOf>[0]
) =>
  Effect.map(
    Layer.build(
      ClusterWatcher.layer(options).pipe(
        Layer.provide(TestRunner.layer),
        Layer.provide(
          Layer.succeed(JobQueue.JobQueue, { status, submit: refuse, cancel: refuse, clear: refuse, metrics: refuse })
        ),
        Layer.provide(Layer.succeed(WatchPolicy.Default, policyOf(cadence)))
      )
    ),
    (context) => ({
      /** Watches jobs until the scope closes, and returns when each has been polled. */
      watch: (refs: ReadonlyArray<Job.JobRef>, cadence: Parameters<typeof policyOf>[0]) =>
        Effect.gen(function*() {
          const { subscribe } = yield* JobWatcher.JobWatcher
          const subscription = yield* subscribe({ policy: policyOf(cadence), wants: "changes" })
          yield* Effect.forkScoped(Effect.forEach(refs, (job) => subscription.add(job), { discard: true }))
          for (let samples = 0; samples < refs.length;) {
            for (const { _tag } of yield* subscription.next) if (_tag === "Sample") samples++
          }
        }).pipe(Effect.provide(context))
    })
  )

const decoded: JobQueue.Service["status"] = (job) =>
  Effect.sync(() => Job.fromDocument({ ...document, request_id: job.requestId, model: job.model }, job))

const boundless = { pollsPerSecond: 1_000_000 }

// --- memory

const memory = Effect.gen(function*() {
  const { watch } = yield* runner(decoded, boundless, "1 hour")
  // every bucket has its entity
  yield* Effect.scoped(watch(refs(2_000, "other"), "1 hour"))
  const before = heap()
  const scope = yield* Scope.make()
  yield* Scope.extend(watch(refs(jobsOfRunner), "1 hour"), scope)
  const both = heap()
  yield* Scope.close(scope, Exit.void)
  const alone = heap()
  return [(alone - before) / jobsOfRunner, (both - alone) / jobsOfRunner]
})

// --- polls

/** Polls a second, and microseconds of CPU a poll: more are due than one core can make. */
const polling = (origin: string) =>
  Effect.gen(function*() {
    const queue = yield* NodeJobQueue.make({ apiKey: Redacted.make("token"), baseUrl: `${origin}/v1`, connections: 64 })
    let polls = 0
    const status: JobQueue.Service["status"] = (job) => {
      polls++
      return queue.status(job)
    }
    const { watch } = yield* runner(status, boundless, "500 millis")
    yield* watch(refs(5_000), "20 seconds")
    yield* Effect.sleep("1 second")
    const before = { polls, at: performance.now(), cpu: cpuNow() }
    yield* Effect.sleep("5 seconds")
    const made = polls - before.polls
    return [made / (performance.now() - before.at) * 1_000, (cpuNow() - before.cpu) / made]
  })

/** Two minutes with the runner's share of the rate limit, in virtual time: polls a second, and a job's longest pause. */
const simulated = Effect.gen(function*() {
  let polls = 0
  let longest = 0
  const last = new Map<string, number>()
  const status: JobQueue.Service["status"] = (job) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      polls++
      longest = Math.max(longest, now - (last.get(job.requestId) ?? now))
      last.set(job.requestId, now)
      return decoded(job)
    })
  const { watch } = yield* runner(status, { pollsPerSecond: jobsInSimulation / 60 }, "1 minute")
  yield* watch(refs(jobsInSimulation), "20 seconds")
  const before = { polls, cpu: cpuNow() }
  longest = 0
  yield* Effect.sleep("2 minutes")
  const made = polls - before.polls
  return [made / 120, longest / 1_000, (cpuNow() - before.cpu) / made]
}).pipe(VirtualTime.run)

// --- the database

/** Transactions and rows written a second, and connections, of `runners` runners: idle, and with 600 watched jobs. */
const database = (runners: number, origin: string) =>
  Effect.gen(function*() {
    const { url } = yield* Postgres.make
    const env = { ...process.env, DATABASE_URL: url, TOGETHER_API_KEY: "token", TOGETHER_BASE_URL: `${origin}/v1` }
    const command = fileURLToPath(new URL("../../dist/bin/queue-status.js", import.meta.url))
    const gateways = yield* Effect.forEach(Array.from({ length: runners }, (_, i) => 45_000 + i), (port) =>
      Effect.flatMap(
        Effect.acquireRelease(
          Effect.sync(() =>
            spawn(process.execPath, [command, "runner", "--port", "0", "--runner-port", String(port)], { env })
          ),
          (process) =>
            Effect.sync(() => process.kill("SIGKILL"))
        ),
        ({ stdout }) =>
          Effect.promise(() =>
            new Promise<string>((resolve) => stdout.once("data", (url) => resolve(String(url).trim())))
          )
      ), { concurrency: "unbounded" })
    const sql = yield* PgClient.make({ url: Redacted.make(url), maxConnections: 1 })
    const stats = Effect.map(
      sql<{ at: number; transactions: number; written: number; connections: number }>`
        SELECT extract(epoch FROM clock_timestamp())::float AS at, xact_commit::float AS transactions,
          (tup_inserted + tup_updated + tup_deleted)::float AS written,
          (SELECT count(*) FROM pg_stat_activity WHERE datname = 'postgres' AND pid <> pg_backend_pid())::float AS connections
        FROM pg_stat_database WHERE datname = 'postgres'
      `,
      ([row]) =>
        row!
    )
    const measured = Effect.gen(function*() {
      yield* Effect.sleep("2 seconds")
      const before = yield* stats
      yield* Effect.sleep("6 seconds")
      const after = yield* stats
      const seconds = after.at - before.at
      return [
        (after.transactions - before.transactions) / seconds,
        (after.written - before.written) / seconds,
        after.connections
      ]
    })
    const idle = yield* measured
    const jobs = refs(600)
    for (let i = 0; i < jobs.length; i += 20) {
      const query = new URLSearchParams(jobs.slice(i, i + 20).map((job) => ["job", Job.format(job)]))
      fetch(`${gateways[i / 20 % runners]}/events?${query}`).catch(() => {})
    }
    return [idle, yield* measured]
  })

// --- a million jobs

const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope | Reactivity.Reactivity>): Promise<A> =>
  effect.pipe(Effect.scoped, Effect.provide(Reactivity.layer), Effect.runPromise)

const [mode, argument = ""] = process.argv.slice(2)

const measurements: { readonly [mode: string]: Effect.Effect<unknown, unknown, Scope.Scope> } = {
  memory,
  simulated,
  polling: polling(argument)
}

const number = (value: number, digits = 0) => value.toLocaleString("en", { maximumFractionDigits: digits })

const tableOf = (head: string, rows: ReadonlyArray<readonly [string, ...ReadonlyArray<string>]>) =>
  [
    `| ${head} |`,
    `| --- |${" ---: |".repeat(head.split("|").length - 1)}`,
    ...rows.map((row) => `| ${row.join(" | ")} |`),
    ""
  ].join("\n")

const main = async () => {
  const file = await compile(fileURLToPath(import.meta.url))
  const measure = async (mode: string, argument = ""): Promise<ReadonlyArray<number>> =>
    JSON.parse(await child(file, ["--expose-gc"], [mode, argument]))
  const server = fork(
    fileURLToPath(new URL("./transportServer.mjs", import.meta.url)),
    [JSON.stringify([["/queue/status", document]])],
    { execArgv: [] }
  )
  const origin = `http://127.0.0.1:${await new Promise((resolve) => server.once("message", resolve))}`
  const [[onRunner, atClient], [simulatedRate, longest, simulatedMicros]] = await Promise.all([
    measure("memory") as Promise<[number, number]>,
    measure("simulated") as Promise<[number, number, number]>
  ])
  const [rate, micros] = await measure("polling", origin) as [number, number]
  const kib = (bytes: number) => number(bytes / 1_024, 2)
  console.log(tableOf("one runner | ", [
    [`heap of a job, of ${number(jobsOfRunner)}`, `${kib(onRunner)} KiB`],
    ["… in a process that watches it", `${kib(atClient)} KiB`],
    ["polls a second over `NodeJobQueue`, as many as it bears", number(rate)],
    ["… CPU of a poll, with its response", `${number(micros)} µs`],
    [
      `${number(jobsInSimulation)} jobs, each polled once a minute, in virtual time: polls a second`,
      number(simulatedRate)
    ],
    ["… the longest time without a poll of a job", `${number(longest)} s`],
    ["… CPU of a poll without its request", `${number(simulatedMicros)} µs`]
  ]))
  await handOver([
    { what: "heap of a job on its runner, of 50,000", value: onRunner / 1_000, unit: "kB", goal: ["≤", 3] },
    { what: "CPU of a poll by a runner, 5,000 a second of one core", value: micros, unit: "µs", goal: ["≤", 200] }
  ])
  if (Postgres.hasPostgres) {
    const counts = [1, 4]
    const loads: Array<ReadonlyArray<ReadonlyArray<number>>> = []
    for (const runners of counts) loads.push(await run(database(runners, origin)))
    console.log(tableOf(
      "the database | transactions a second | rows written a second | connections",
      counts.flatMap((runners, i) =>
        ["idle", "600 jobs"].map((load, j) => {
          const [transactions, written, connections] = loads[i]![j] as [number, number, number]
          return [
            `${runners} ${runners === 1 ? "runner" : "runners"}, ${load}`,
            number(transactions, 1),
            number(written, 1),
            number(connections)
          ] as const
        })
      )
    ))
    // the increase for each runner after the first
    const slope = (k: number) => (loads[1]![1]![k]! - loads[0]![1]![k]!) / 3
    const ofFleet = (k: number, runners: number) => loads[0]![1]![k]! + slope(k) * (runners - 1)
    const runners = 1_000_000 / jobsOfRunner
    const pollsOfRunner = simulatedRate / jobsInSimulation * jobsOfRunner
    console.log(tableOf("1,000,000 jobs, each polled once a minute | ", [
      ["runners", number(runners)],
      ["polls a second", `${number(runners * pollsOfRunner)}, ${number(pollsOfRunner)} a runner`],
      ["CPU of the polls", `${number(runners * pollsOfRunner * micros / 1e6, 1)} cores`],
      ["heap of the jobs", `${number(onRunner * runners * jobsOfRunner / 2 ** 30, 1)} GiB`],
      ["transactions a second", number(ofFleet(0, runners))],
      ["rows written a second", number(ofFleet(1, runners))],
      ["connections to the database", number(ofFleet(2, runners))]
    ]))
  }
  server.disconnect()
}

await (mode === undefined
  ? main()
  : run(measurements[mode]!).then((values) => console.log(JSON.stringify(values))))

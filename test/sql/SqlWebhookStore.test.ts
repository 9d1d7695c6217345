/**
 * The store of webhooks in real databases. A process here is a client of the database with a watcher and fibers of its own;
 * one that is killed leaves in the database what it has written.
 */
import * as Reactivity from "@effect/experimental/Reactivity"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import * as Statement from "@effect/sql/Statement"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { assertEquals, assertNone, assertSome } from "@effect/vitest/utils"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Runtime from "effect/Runtime"
import * as Scope from "effect/Scope"
import { Webhook, WebhookStore } from "../../src/gateway/index.js"
import { Job, JobQueue, JobWatcher, Transition, WatchPolicy } from "../../src/index.js"
import { NodeJobQueue, NodeWebhookClient } from "../../src/node/index.js"
import { SqlWebhookStore } from "../../src/sql/index.js"
import { TestJobQueue, Worker } from "../../src/testing/index.js"
import { startProgram, until } from "../fixtures/command.js"
import { type Client, clientOf, type Database, databases } from "../fixtures/databases.js"
import { emulate, submitted } from "../fixtures/emulator.js"
import * as HostileServer from "../fixtures/hostileServer.js"
import { model } from "../fixtures/job.js"
import { runs } from "../fixtures/runs.js"
import { secret, url } from "../fixtures/webhooks.js"

const submit = Effect.orDie(JobQueue.submit({ model, payload: {} }))

const quickly = Layer.succeed(
  WatchPolicy.Default,
  WatchPolicy.defaultPolicy.pipe(WatchPolicy.withCadence("20 millis"))
)

const quick = TestJobQueue.layer({
  workers: { pickup: "20 millis", script: Worker.always(Worker.finish("60 millis")) }
})

interface Step {
  readonly what: "add" | "stop" | "enable" | "hold"
  /** The delivery. */
  readonly nth: number
  /** The process. */
  readonly by: number
}

const step: FastCheck.Arbitrary<Step> = FastCheck.record({
  what: FastCheck.constantFrom("add", "stop", "enable", "hold"),
  nth: FastCheck.nat(2),
  by: FastCheck.nat(2)
})

/** A receiver, which notes the messages of each job, and whether it had two of them at the same time. */
const receiver = (statusOf: (type: string) => number = () => 204) => {
  const accepted = new Map<string, Array<string>>()
  const open = new Set<string>()
  const seen = { overlaps: 0, requests: 0 }
  const client = HttpClient.make((request) =>
    Effect.gen(function*() {
      assert(request.body._tag === "Uint8Array")
      const { data, type } = JSON.parse(new TextDecoder().decode(request.body.body))
      const { requestId } = data.job
      seen.requests++
      if (open.has(requestId)) seen.overlaps++
      open.add(requestId)
      yield* Effect.ensuring(Effect.sleep("5 millis"), Effect.sync(() => open.delete(requestId)))
      const status = statusOf(type)
      if (status === 204) accepted.set(requestId, [...accepted.get(requestId) ?? [], type])
      return HttpClientResponse.fromWeb(request, new Response(null, { status }))
    })
  )
  return { accepted, client, seen }
}

const history = ["job.queued", "job.claimed", "job.completed"]

/** A process, and what kills it: then its deliveries are not released. */
const start = (client: Client, http: HttpClient.HttpClient, lease: SqlWebhookStore.Options["lease"]) =>
  Effect.gen(function*() {
    const store = yield* Layer.build(Layer.provide(SqlWebhookStore.layer({ lease }), client))
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    const context = yield* Webhook.layer({ endpoint: () => Effect.succeedSome({ url, secrets: [secret] }) }).pipe(
      Layer.provide([Layer.succeed(Webhook.Client, http), Layer.succeedContext(store), JobWatcher.layer()]),
      Layer.provide(quickly),
      Layer.build,
      Scope.extend(scope)
    )
    return { webhooks: Context.get(context, Webhook.Webhooks), kill: Scope.close(scope, Exit.void) }
  })

for (const { isMissing, make, name } of databases) describe.skipIf(isMissing)(name, () => suite(make))

function suite(make: Database["make"]) {
  // one server for all tests, with other jobs in each
  const scope = Effect.runSync(Scope.make())
  let address = ""
  let client: Client = Layer.die("not started")
  beforeAll(async () => {
    address = await Effect.runPromise(Scope.extend(make, scope))
    client = clientOf(address)
    // processes that start at the same time
    await Effect.runPromise(Effect.all(
      Array.from({ length: 4 }, () => Effect.provide(SqlWebhookStore.migrate, client)),
      { concurrency: "unbounded" }
    ))
  })
  afterAll(() => Effect.runPromise(Scope.close(scope, Exit.void)))

  const stores = (count: number, lease: SqlWebhookStore.Options["lease"]) =>
    Effect.replicateEffect(
      Effect.map(
        Layer.build(Layer.provide(SqlWebhookStore.layer({ lease }), client)),
        Context.get(WebhookStore.WebhookStore)
      ),
      count
    )

  /** Leaves the database empty. */
  const clear = ([store]: ReadonlyArray<WebhookStore.Service>, deliveries: ReadonlyArray<WebhookStore.Delivery>) =>
    Effect.addFinalizer(() => Effect.orDie(Effect.forEach(deliveries, store!.remove)))

  it.scopedLive("law: a delivery is held by one process at most, and by one if it has not stopped", () =>
    Effect.gen(function*() {
      const three = yield* stores(3, "1 hour")
      const all = ["a", "b", "c"].map((endpoint) => ({ endpoint, job: Job.ref(model, "x") }))
      const run = (turns: ReadonlyArray<ReadonlyArray<Step>>) =>
        Effect.gen(function*() {
          for (const steps of turns) {
            // all at once
            yield* Effect.forEach(steps, ({ by, nth, what }) => {
              const store = three[by]!
              const delivery = all[nth]!
              return what === "hold"
                ? store.hold
                : what === "enable"
                ? store.enable(delivery.endpoint)
                : store[what](delivery)
            }, { concurrency: "unbounded" })
            for (const delivery of all) {
              const states = yield* Effect.forEach(three, (store) => store.check(delivery))
              assert.isAtMost(states.filter((state) => state === "Held").length, 1)
            }
          }
          yield* Effect.forEach(all, three[0]!.add)
          const held = yield* Effect.all(three.map(({ hold }) => hold), { concurrency: "unbounded" })
          assert.deepStrictEqual(held.flat().map(({ endpoint }) => endpoint).sort(), ["a", "b", "c"])
          yield* Effect.forEach(all, three[0]!.remove)
        })
      const runPromise = Runtime.runPromise(yield* Effect.runtime())
      yield* Effect.promise(() =>
        FastCheck.assert(
          FastCheck.asyncProperty(
            FastCheck.array(FastCheck.array(step, { maxLength: 4 }), { maxLength: 6 }),
            (turns) => runPromise(run(turns))
          ),
          { numRuns: runs(15, 120) }
        )
      )
    }))

  it.scopedLive("a delivery that stopped is held again if it is added, or its own endpoint enabled", () =>
    Effect.gen(function*() {
      const [store] = yield* stores(1, "1 hour")
      const deliveries = ["a", "b"].map((endpoint) => ({ endpoint, job: Job.ref(model, "v") }))
      yield* clear([store!], deliveries)
      const held = Effect.map(store!.hold, (all) => all.map(({ endpoint }) => endpoint).sort())
      yield* Effect.forEach(deliveries, store!.add)
      assert.deepStrictEqual(yield* held, ["a", "b"])
      yield* Effect.forEach(deliveries, store!.stop)
      assert.deepStrictEqual(yield* held, [])
      yield* store!.enable("a")
      assert.deepStrictEqual(yield* held, ["a"])
      yield* store!.add(deliveries[1]!)
      assert.deepStrictEqual(yield* held, ["a", "b"])
    }))

  it.scopedLive("a delivery is that of one endpoint, model and request", () =>
    Effect.gen(function*() {
      const [store] = yield* stores(1, "1 hour")
      const delivery = { endpoint: "a", job: Job.ref(model, "u") }
      const others = [
        { endpoint: "b", job: delivery.job },
        { endpoint: "a", job: Job.ref("another", "u") },
        { endpoint: "a", job: Job.ref(model, "w") }
      ]
      const all = [delivery, ...others]
      yield* clear([store!], all)
      yield* Effect.forEach(all, store!.add)
      assert.lengthOf(yield* store!.hold, 4)
      const { cursor } = yield* Transition.derive(Option.none(), Job.Running({ job: delivery.job, info: {} }), {
        observedAt: yield* DateTime.now
      })
      const accepted = Effect.map(Effect.forEach(all, store!.accepted), (cursors) => cursors.map(Option.isSome))
      yield* store!.accept(delivery, cursor)
      assert.deepStrictEqual(yield* accepted, [true, false, false, false])
      const states = Effect.forEach(all, store!.check)
      for (const end of [store!.stop, store!.remove]) {
        yield* end(delivery)
        assert.deepStrictEqual(yield* states, ["Lost", "Held", "Held", "Held"])
      }
      yield* store!.disable("a")
      assert.deepStrictEqual(yield* states, ["Lost", "Held", "Disabled", "Disabled"])
      yield* store!.enable("a")
    }))

  it.scopedLive("a lease is renewed by each hold", () =>
    Effect.gen(function*() {
      const [store] = yield* stores(1, "1 hour")
      const delivery = { endpoint: "renewed", job: Job.ref(model, "t") }
      yield* clear([store!], [delivery])
      yield* store!.add(delivery)
      const sql = yield* SqlClient.SqlClient
      const held = Effect.zipRight(
        store!.hold,
        Effect.map(
          sql<{ readonly expires: number }>`SELECT expires FROM queue_status_webhooks WHERE endpoint = 'renewed'`,
          ([row]) => row!.expires
        )
      )
      const first = yield* held
      yield* Effect.sleep("10 millis")
      assert.isAbove(yield* held, first)
    }).pipe(Effect.provide(Layer.suspend(() => client))))

  it.scopedLive("a lease is 30 seconds by default, at least 50 milliseconds, and at most a day", () =>
    Effect.gen(function*() {
      const [unset] = yield* stores(1, undefined)
      assertSome(unset!.holdInterval, Duration.seconds(10))
      const shortest = Duration.times("50 millis", 1 / 3)
      for (const lease of [0, -1, NaN, "1 micro", Infinity] as const) {
        const [store] = yield* stores(1, lease)
        const interval = Option.getOrThrow(store!.holdInterval)
        assertEquals(interval, lease === Infinity ? Duration.hours(8) : shortest)
        const delivery = { endpoint: "short", job: Job.ref(model, "z") }
        yield* clear([store!], [delivery])
        yield* store!.add(delivery)
        assert.lengthOf(yield* store!.hold, 1)
        yield* store!.remove(delivery)
      }
    }))

  it.scopedLive("a process whose lease has expired sends and stores nothing more", () =>
    Effect.gen(function*() {
      const delivery = { endpoint: "late", job: Job.ref(model, "y") }
      const { cursor } = yield* Transition.derive(Option.none(), Job.Running({ job: delivery.job, info: {} }), {
        observedAt: yield* DateTime.now
      })
      const both = yield* stores(2, "60 millis")
      const [first, second] = both as [WebhookStore.Service, WebhookStore.Service]
      yield* clear(both, [delivery])
      yield* first.add(delivery)
      assert.lengthOf(yield* first.hold, 1)
      assert.strictEqual(yield* first.check(delivery), "Held")
      yield* Effect.repeat(first.check(delivery), { until: (state) => state === "Lost" })
      yield* Effect.repeat(second.hold, { until: (held) => held.length === 1 })
      assert.strictEqual(yield* first.check(delivery), "Lost")
      yield* first.accept(delivery, cursor)
      yield* first.stop(delivery)
      assertNone(yield* second.accepted(delivery))
      yield* second.accept(delivery, cursor)
      assertSome(Option.map(yield* first.accepted(delivery), Transition.formatCursor), Transition.formatCursor(cursor))
      // an endpoint is disabled for all
      yield* first.disable("late")
      yield* Effect.repeat(Effect.zipRight(second.hold, second.check(delivery)), {
        until: (state) => state === "Disabled"
      })
      yield* first.enable("late")
      yield* Effect.repeat(Effect.zipRight(second.hold, second.check(delivery)), { until: (state) => state === "Held" })
    }))

  it.scopedLive("several processes send each transition once, in order", () =>
    Effect.gen(function*() {
      const { accepted, client: http, seen } = receiver()
      const processes = yield* Effect.replicateEffect(start(client, http, "3 seconds"), 3)
      for (let i = 0; i < 12; i++) yield* processes[i % 3]!.webhooks.register(yield* submit, "receiver")
      yield* until(() => accepted.size === 12 && Array.from(accepted.values()).every(({ length }) => length === 3))
      for (const types of accepted.values()) assert.deepStrictEqual(types, history)
      assert.deepStrictEqual(seen, { overlaps: 0, requests: 36 })
    }).pipe(Effect.provide(quick)))

  it.scopedLive("another process continues the deliveries of one that is killed", () =>
    Effect.gen(function*() {
      let isOpen = false
      const { accepted, client: http, seen } = receiver((type) => type === "job.queued" || isOpen ? 204 : 500)
      const job = yield* submit
      const first = yield* start(client, http, "400 millis")
      yield* first.webhooks.register(job, "receiver")
      // the second message is refused, and will be sent again by its sender in seconds
      yield* until(() => accepted.size === 1 && seen.requests === 2)
      yield* start(client, http, "400 millis")
      isOpen = true
      yield* first.kill
      yield* until(() => accepted.get(job.requestId)?.length === 3)
      assert.deepStrictEqual(accepted.get(job.requestId), history)
      assert.strictEqual(seen.overlaps, 0)
    }).pipe(Effect.provide(quick)))

  it.scopedLive("a process that stops releases its deliveries", () =>
    Effect.gen(function*() {
      let isOpen = false
      const { accepted, client: http } = receiver(() => isOpen ? 204 : 500)
      const job = yield* submit
      yield* Effect.scoped(Effect.gen(function*() {
        const { webhooks } = yield* start(client, http, "1 hour")
        yield* webhooks.register(job, "receiver")
      }))
      isOpen = true
      yield* start(client, http, "1 hour")
      yield* until(() => accepted.get(job.requestId)?.length === 3)
    }).pipe(Effect.provide(quick)))

  it.scopedLive("the deliveries of a real process that is killed are continued, in order and at least once", () =>
    Effect.gen(function*() {
      const emulator = yield* emulate({ workers: { workers: 6, script: Worker.always(Worker.finish("100 millis")) } })
      const received = new Map<string, Array<{ readonly id: unknown; readonly type: string }>>()
      // the messages that come before all jobs are registered
      let held: Array<() => void> | undefined = []
      let kill: (() => void) | undefined
      const { url } = yield* HostileServer.make((response, { body, headers }) => {
        const { data, type } = JSON.parse(body)
        const { requestId } = data.job
        received.set(requestId, [...received.get(requestId) ?? [], { id: headers["webhook-id"], type }])
        const accept = () => void response.writeHead(204).end()
        if (held !== undefined) return held.push(accept)
        if (type === "job.queued" || kill === undefined) return accept()
        // it has arrived, but the sender does not learn that
        kill()
        kill = undefined
      })
      const jobs = (yield* Effect.replicateEffect(submitted(emulator, { model }), 6)).map((id) => `${model}/${id}`)
      const first = yield* startProgram(
        "test/fixtures/sqlWebhooks",
        emulator.baseUrl,
        {},
        address,
        url,
        ...jobs
      )
      yield* until(() => first.stdout().includes("registered"))
      kill = () => first.kill("SIGKILL")
      for (const accept of held) accept()
      held = undefined
      assert.strictEqual((yield* first.exited).signal, "SIGKILL")
      const { baseUrl } = emulator
      yield* Webhook.layer({ endpoint: () => Effect.succeedSome({ url, secrets: [secret] }) }).pipe(
        Layer.provide([
          Layer.provide(SqlWebhookStore.layer(), client),
          NodeWebhookClient.layer({ allow: ["127.0.0.1/32"] }),
          JobWatcher.layer()
        ]),
        Layer.provide([
          quickly,
          Layer.scoped(JobQueue.JobQueue, NodeJobQueue.make({ baseUrl, apiKey: Redacted.make("any") }))
        ]),
        Layer.build
      )
      yield* until(() => Array.from(received.values()).every((messages) => messages.at(-1)?.type === "job.completed"))
      assert.strictEqual(received.size, jobs.length)
      for (const messages of received.values()) {
        const once = new Map(messages.map(({ id, type }) => [id, type]))
        assert.deepStrictEqual(Array.from(once.values()), history)
        // at most the one that was being sent
        assert.isAtMost(messages.length, once.size + 1)
      }
      assert.isAbove(Array.from(received.values()).flat().length, history.length * jobs.length)
    }))
}

const [sqlite] = databases

it.scoped("reports why there is no connection, also if several addresses were tried", () =>
  Effect.gen(function*() {
    const cause = new AggregateError([new Error("connect ECONNREFUSED ::1:5432")])
    const sql = yield* SqlClient.make({
      acquirer: new SqlError({ message: "Failed to acquire connection", cause }),
      compiler: Statement.makeCompilerSqlite(),
      spanAttributes: []
    })
    const error = yield* Effect.flip(Effect.provideService(SqlWebhookStore.make(), SqlClient.SqlClient, sql))
    assert.include(error.message, "connect ECONNREFUSED ::1:5432")
  }).pipe(Effect.provide(Reactivity.layer)))

it.scopedLive.skipIf(sqlite!.isMissing)("reports what the database reports", () =>
  Effect.gen(function*() {
    const withoutTables = clientOf(yield* sqlite!.make)
    const error = yield* Effect.flip(Effect.provide(SqlWebhookStore.make(), withoutTables))
    assert.strictEqual(error._tag, "OutboxError")
    assert.match(error.message, /queue_status_webhooks/)
  }))

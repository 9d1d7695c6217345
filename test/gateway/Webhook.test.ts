import { SystemError } from "@effect/platform/Error"
import type * as HttpClient from "@effect/platform/HttpClient"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { inspect } from "node:util"
import { Webhook, WebhookStore } from "../../src/gateway/index.js"
import { Job, JobQueue, JobWatcher, Transition } from "../../src/index.js"
import { Arbitraries, TestJobQueue, Worker } from "../../src/testing/index.js"
import * as CollectingTracer from "../fixtures/collectingTracer.js"
import { submit, test } from "../fixtures/gateway.js"
import { job as someJob, model } from "../fixtures/job.js"
import { expectLogged, withLogs } from "../fixtures/logs.js"
import { runs } from "../fixtures/runs.js"
import {
  disk,
  ok,
  type Reaction,
  type Received,
  receiver,
  secret,
  signInTurn,
  start,
  url,
  verify
} from "../fixtures/webhooks.js"

const restored = { signing: () => {} }
beforeAll(() => {
  restored.signing = signInTurn()
})
afterAll(() => restored.signing())

/** A job that has ended: a watch sees its whole history at once. */
const ended = Effect.tap(submit, () => Effect.sleep("10 minutes"))

/** The service over a store that is changed. */
const startWith = (
  client: HttpClient.HttpClient,
  change: (store: WebhookStore.Service) => Partial<WebhookStore.Service>,
  options: Partial<Webhook.Options> = {}
) =>
  Webhook.layer({ endpoint: () => Effect.succeedSome(billing), ...options }).pipe(
    Layer.provide(Layer.effect(
      WebhookStore.WebhookStore,
      Effect.map(WebhookStore.WebhookStore, (store) => ({ ...store, ...change(store) }))
    )),
    Layer.provide(WebhookStore.layerKeyValueStore),
    Layer.provide([
      JobWatcher.layer(),
      Layer.succeed(Webhook.Client, client),
      Layer.succeed(KeyValueStore.KeyValueStore, disk().store)
    ]),
    Layer.build,
    Effect.map(Context.get(Webhook.Webhooks))
  )

const typesOf = (messages: ReadonlyArray<Received>) => messages.map(({ type }) => type)

const history = ["job.queued", "job.claimed", "job.completed"]

const outboxIn = (entries: ReadonlyMap<string, string>): { deliveries: Array<unknown>; disabled: Array<string> } =>
  JSON.parse(entries.get("effect-queue-status/webhook/outbox") ?? `{ "deliveries": [], "disabled": [] }`)

/** The law: what the receiver has of a job is its history. */
const expectHistory = (job: Job.JobRef, accepted: ReadonlyArray<Received>) =>
  Effect.gen(function*() {
    const ids = new Set<string>()
    const once = accepted.filter(({ id }) => ids.size < ids.add(id).size)
    const recorded = yield* Effect.flatMap(TestJobQueue.TestJobQueue, ({ transitions }) => transitions(job))
    const encode = Schema.encodeSync(Job.JobStatus)
    // the snapshots are not sent: for progress, that of the same attempt that has what was sent
    const seen = once.map(({ data }) => {
      const real = recorded.find(({ attempt, snapshot: { info } }) =>
        attempt === data.attempt &&
        Object.entries(data.changed ?? {}).every(([key, value]) => JSON.stringify(info[key]) === JSON.stringify(value))
      )
      const snapshot = real?.snapshot ?? Job.Running({ job, info: data.changed ?? {} })
      return Schema.decodeUnknownSync(Transition.Transition)({ ...data, snapshot: encode(snapshot) })
    })
    yield* TestJobQueue.expectMatchesHistory(job, seen)
    assert.isTrue(seen.length > 0 && Transition.isTerminal(seen.at(-1)!), "the end was sent")
  })

const reaction: FastCheck.Arbitrary<Reaction> = FastCheck.oneof(
  { weight: 4, arbitrary: FastCheck.constant(ok) },
  { weight: 3, arbitrary: FastCheck.constantFrom<Array<Reaction>>("lost", "unreachable", "silent") },
  {
    weight: 3,
    arbitrary: FastCheck.constantFrom<Array<Reaction>>(
      { status: 500 },
      { status: 302, headers: { location: "https://elsewhere.example/" } },
      { status: 429, headers: { "retry-after": "90" } },
      { status: 410 }
    )
  }
)

it("law: each transition is accepted, in order, with any failures of the receiver and any crashes of the program", async () => {
  const seen = { crashes: 0, given: 0, disabled: 0, repeated: 0 }
  await FastCheck.assert(
    FastCheck.asyncProperty(
      Arbitraries.pool,
      FastCheck.array(reaction, { maxLength: 15 }),
      FastCheck.array(FastCheck.nat(20), { maxLength: 12 }),
      (workers, reactions, crashes) =>
        test(
          Effect.gen(function*() {
            let untilCrash = Infinity
            let crash = yield* Deferred.make<void>()
            // nothing of the program runs after a crash, except its finalizers
            const onStep = Effect.suspend(() =>
              untilCrash-- > 0
                ? Effect.void
                : Effect.zipRight(Deferred.succeed(crash, undefined), Effect.interruptible(Effect.never))
            )
            const { entries, store } = disk(onStep)
            let isGone = false
            let isRegistered = false
            let violations = 0
            let mayRepeat = 0
            const { accepted, client, received } = receiver(
              (function*() {
                for (let nth = 0;; nth++) {
                  if (isGone) violations++
                  const reaction = reactions[nth] ?? ok
                  if (reaction === "lost") mayRepeat++
                  if (typeof reaction === "object" && reaction.status === 410) isGone = true
                  yield reaction
                }
              })(),
              onStep
            )
            const job = yield* submit

            const program = Effect.gen(function*() {
              const stopped = yield* Deferred.make<Webhook.DeliveryError>()
              let stops = stopped
              const webhooks = yield* start(client, store, {
                retry: Schedule.intersect(Schedule.spaced("7 seconds"), Schedule.recurs(2)),
                onStopped: (error) => Effect.asVoid(Deferred.succeed(stops, error))
              })
              // one registration is enough: the store keeps it
              if (!isRegistered) yield* webhooks.register(job, "receiver")
              isRegistered = true
              for (;;) {
                const error = yield* Effect.raceFirst(
                  Deferred.await(stops),
                  Effect.repeat(Effect.sleep("10 seconds"), { until: () => outboxIn(entries).deliveries.length === 0 })
                )
                if (error === undefined) return
                stops = yield* Deferred.make<Webhook.DeliveryError>()
                yield* Effect.sleep("20 seconds")
                if (error._tag === "EndpointDisabled") {
                  seen.disabled++
                  isGone = false
                  yield* webhooks.enable("receiver")
                } else {
                  assert.strictEqual(error._tag, "DeliveryFailed")
                  seen.given++
                  yield* webhooks.register(job, "receiver")
                }
              }
            })

            const lives = [...crashes, Infinity]
            for (const steps of lives) {
              untilCrash = steps
              crash = yield* Deferred.make<void>()
              const scope = yield* Scope.make()
              const isOver = yield* Effect.raceFirst(
                Effect.as(Scope.extend(program, scope), true),
                Effect.as(Deferred.await(crash), false)
              )
              yield* Scope.close(scope, Exit.void)
              if (isOver) break
              seen.crashes++
              mayRepeat++
              // the program does not know a 410 that it could not store before the crash
              isGone = outboxIn(entries).disabled.includes("receiver")
              yield* Effect.sleep("3 seconds")
            }
            seen.repeated += received.length - new Set(received.map(({ id }) => id)).size
            yield* expectHistory(job, accepted)
            assert.strictEqual(violations, 0, "sent after a 410")
            // the store has what was accepted: a crash, like a lost response, costs one message at most
            assert.isAtMost(accepted.length - new Set(accepted.map(({ id }) => id)).size, mayRepeat)
          }),
          { workers }
        ).pipe(Effect.runPromise)
    ),
    { numRuns: runs(60, 240) }
  )
  for (const [what, times] of Object.entries(seen)) assert.isAbove(times, 5, what)
})

const billing: Webhook.Endpoint = { url, secrets: [secret] }

/** The errors that stopped deliveries, as they come. */
const stops = () => {
  const errors: Array<Webhook.DeliveryError> = []
  return { errors, onStopped: (error: Webhook.DeliveryError) => Effect.sync(() => errors.push(error)) }
}

describe("a message", () => {
  it.effect("is one of Standard Webhooks, with the slim transition", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const { client, received } = receiver()
      const webhooks = yield* start(client, disk().store)
      yield* webhooks.register(job, "billing")
      yield* Effect.sleep("10 minutes")
      assert.deepStrictEqual(typesOf(received), ["job.queued", "job.claimed", "job.progressed", "job.completed"])
      assert.strictEqual(new Set(received.map(({ id }) => id)).size, 4)
      for (const { at, data, headers, id, timestamp } of received) {
        assert.strictEqual(headers["webhook-timestamp"], String(Math.floor(at / 1000)))
        assert.strictEqual(timestamp, data.at ?? data.observedAt)
        assert.match(id, /^[\w.~*-]+$/)
        assert.notProperty(data, "snapshot")
        assert.notInclude(JSON.stringify(data), "aSecretOfTheSubmitter")
      }
      assert.deepStrictEqual(received.at(-1)?.data.outputs, { video_url: "https://example.com/cat.mp4" })
    })))

  it.effect("has a type for each transition", () =>
    test(
      Effect.gen(function*() {
        const { client, received } = receiver()
        const webhooks = yield* start(client, disk().store)
        for (const model of ["done", "failed", "lost", "canceled"]) {
          const job = yield* JobQueue.submit({ model, payload: {} })
          if (model === "canceled") yield* JobQueue.cancel(job)
          yield* webhooks.register(job, "billing")
        }
        yield* Effect.sleep("1 hour")
        const guide = readFileSync(fileURLToPath(new URL("../../docs/webhooks.md", import.meta.url)), "utf8")
        const documented = Array.from(guide.matchAll(/^\| `(job\.\w+)` \|/gm), ([, type]) => type)
        // a watch ends with an unknown state only if the policy says so
        assert.sameMembers(documented, [...new Set(typesOf(received)), "job.unrecognized"])
      }),
      {
        workers: {
          workers: 1,
          pickup: "2 seconds",
          claimTimeout: "5 seconds",
          script: Worker.byModel({
            done: Worker.always(Worker.progress("5 seconds", 0.5), Worker.finish("5 seconds")),
            failed: Worker.always(Worker.fail("1 second", "broken")),
            lost: Worker.always(Worker.stopResponding)
          })
        }
      }
    ))

  it.effect("is signed with each secret of the endpoint, as it is at the attempt", () =>
    test(Effect.gen(function*() {
      const job = yield* ended
      const old = "whsec_" + Buffer.from("the old secret of the endpoint").toString("base64")
      const { client, received } = receiver([{ status: 401 }, ok])
      const secrets: Array<Webhook.Endpoint["secrets"]> = [[Redacted.make(old), secret], [secret]]
      const webhooks = yield* start(client, disk().store, {
        endpoint: () => Effect.sync(() => Option.some({ url, secrets: secrets.shift() ?? [secret] }))
      })
      yield* webhooks.register(job, "billing")
      yield* Effect.sleep("1 hour")
      const [first, second] = received
      assert(first !== undefined && second !== undefined)
      assert.strictEqual(first.id, second.id)
      assert.strictEqual(first.headers["webhook-signature"]?.split(" ").length, 2)
      // the receiver has verified the signature of the other secret already
      verify(first.text, first.headers, first.at, old)
      assert.throws(() => verify(second.text, second.headers, second.at, old))
    })))
})

describe("an attempt that fails", () => {
  it.effect("is repeated for some 18 hours, then the delivery stops and keeps its place", () =>
    test(Effect.gen(function*() {
      const job = yield* ended
      const { client, received, times } = receiver([ok, ...Array.from({ length: 7 }, () => ({ status: 503 }))])
      const { errors, onStopped } = stops()
      const webhooks = yield* start(client, disk().store, { onStopped })
      yield* webhooks.register(job, "billing")
      yield* Effect.sleep("2 days")
      const pauses = times.slice(2).map((time, i) => time - times[i + 1]!)
      const expected = ["5 seconds", "5 minutes", "30 minutes", "2 hours", "5 hours", "10 hours"] as const
      assert.strictEqual(pauses.length, expected.length)
      for (const [i, pause] of expected.entries()) {
        assert.isAtLeast(pauses[i]!, Duration.toMillis(pause) * 0.8 - 1)
        assert.isAtMost(pauses[i]!, Duration.toMillis(pause) * 1.2 + 1)
      }
      const [error] = errors
      assert(error?._tag === "DeliveryFailed")
      assert.deepStrictEqual([error.attempts, error.job, error.lastError.httpStatus], [7, job, 503])
      assert.include(error.message, "given up after 7 attempts: webhook endpoint billing: HTTP 503")
      yield* webhooks.register(job, "billing")
      yield* Effect.sleep("1 minute")
      assert.deepStrictEqual(typesOf(received.slice(8)), ["job.claimed", "job.completed"])
      assert.strictEqual(errors.length, 1)
    })))

  it.effect("is repeated no earlier than Retry-After, and after a day at most", () =>
    test(Effect.gen(function*() {
      const job = yield* ended
      const { client, times } = receiver([
        { status: 429, headers: { "retry-after": "90" } },
        { status: 503, headers: { "retry-after": "9999999" } }
      ])
      const webhooks = yield* start(client, disk().store, { retry: Schedule.spaced("7 seconds") })
      yield* webhooks.register(job, "billing")
      yield* Effect.sleep("2 days")
      assert.deepStrictEqual(times.slice(1, 3).map((time, i) => time - times[i]!), [90_000, 86_400_000])
    })))

  it.effect("is repeated after 50 milliseconds at least", () =>
    test(Effect.gen(function*() {
      const job = yield* ended
      for (const retry of [Schedule.forever, Schedule.spaced("1 milli"), Schedule.windowed(0)]) {
        const { client, times } = receiver([{ status: 500 }, { status: 500 }])
        const webhooks = yield* start(client, disk().store, { retry })
        yield* webhooks.register(job, "billing")
        yield* Effect.sleep("1 minute")
        assert.deepStrictEqual(times.slice(1, 3).map((time, i) => time - times[i]!), [50, 50])
      }
    })))

  it.effect("is one without a response in time, with a redirect, or with an invalid secret", () =>
    test(Effect.gen(function*() {
      const job = yield* ended
      const reasonOf = (reactions: ReadonlyArray<Reaction>, endpoint = billing) =>
        Effect.gen(function*() {
          const { errors, onStopped } = stops()
          const { client } = receiver(reactions)
          const webhooks = yield* start(client, disk().store, {
            retry: Schedule.stop,
            endpoint: () => Effect.succeedSome(endpoint),
            onStopped
          })
          yield* webhooks.register(job, "billing")
          yield* Effect.sleep("1 minute")
          const [error] = errors
          assert(error?._tag === "DeliveryFailed")
          return error.lastError.reason
        }).pipe(Effect.scoped)
      assert.strictEqual(yield* reasonOf(["silent"]), "no response within 20s")
      assert.strictEqual(yield* reasonOf(["unreachable"]), "the connection broke")
      assert.strictEqual(yield* reasonOf([{ status: 307, headers: { location: url } }]), "HTTP 307")
      const invalid = yield* reasonOf([], { url, secrets: [Redacted.make("not base64!")] })
      assert.strictEqual(invalid, "a secret of the endpoint is not base64, or empty")
    })))
})

describe("an endpoint", () => {
  it.effect("that responds with 410 receives nothing more, also after a restart, until it is enabled", () =>
    test(Effect.gen(function*() {
      const jobs = [yield* ended, yield* ended]
      const { client, received, times } = receiver([{ status: 410 }])
      const { store } = disk()
      const { errors, onStopped } = stops()
      yield* Effect.scoped(Effect.gen(function*() {
        const webhooks = yield* start(client, store, { onStopped })
        for (const job of jobs) yield* Effect.zipLeft(webhooks.register(job, "billing"), Effect.sleep("1 second"))
      }))
      const webhooks = yield* start(client, store, { onStopped })
      yield* Effect.sleep("1 day")
      assert.deepStrictEqual(errors, Array.from(errors, () => new Webhook.EndpointDisabled({ endpoint: "billing" })))
      assert.deepStrictEqual([times.length, errors.length], [1, 4])
      for (const endpoint of ["another", "billing"]) {
        yield* webhooks.enable(endpoint)
        yield* Effect.sleep("1 minute")
      }
      assert.sameMembers(typesOf(received.slice(1)), [...history, ...history])
      assert.strictEqual(errors.length, 4)
    })))

  it.effect("that is enabled by an interrupted call continues", () =>
    test(Effect.gen(function*() {
      const { client, received } = receiver([{ status: 410 }])
      const { store } = disk()
      const slow = {
        ...store,
        set: (key: string, value: string | Uint8Array) => Effect.delay(store.set(key, value), "1 second")
      }
      const webhooks = yield* start(client, slow, stops())
      yield* webhooks.register(yield* ended, "billing")
      yield* Effect.sleep("1 minute")
      yield* Effect.timeoutOption(webhooks.enable("billing"), "10 millis")
      yield* Effect.sleep("1 minute")
      assert.sameMembers(typesOf(received.slice(1)), history)
    })))

  it.effect("that is unknown stops its deliveries", () =>
    test(Effect.gen(function*() {
      const { client, times } = receiver()
      const { errors, onStopped } = stops()
      const webhooks = yield* start(client, disk().store, { endpoint: () => Effect.succeedNone, onStopped })
      yield* webhooks.register(yield* ended, "former")
      yield* Effect.sleep("1 minute")
      assert.deepStrictEqual(errors, [new Webhook.EndpointUnknown({ endpoint: "former" })])
      assert.deepStrictEqual(times, [])
    })))

  it.effect("receives the same ids as another one: they are those of the transitions", () =>
    test(Effect.gen(function*() {
      const job = yield* ended
      const { client, received } = receiver()
      const webhooks = yield* start(client, disk().store)
      for (const endpoint of ["billing", "a/b\n🦊"]) yield* webhooks.register(job, endpoint)
      yield* Effect.sleep("1 minute")
      assert.sameMembers(typesOf(received), [...history, ...history])
      assert.strictEqual(new Set(received.map(({ id }) => id)).size, 3)
    })))
})

describe("a delivery", () => {
  it.effect("that is registered twice is one", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const { client, received } = receiver()
      const webhooks = yield* start(client, disk().store)
      yield* Effect.all([webhooks.register(job, "billing"), webhooks.register(job, "billing")], {
        concurrency: "unbounded"
      })
      yield* Effect.sleep("10 minutes")
      assert.strictEqual(received.length, 4)
    })))

  it.effect("is stored when its registration returns, that of a concurrent one as well", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const { entries, store } = disk()
      const slow = {
        ...store,
        set: (key: string, value: string | Uint8Array) => Effect.delay(store.set(key, value), "1 second")
      }
      const webhooks = yield* start(receiver().client, slow)
      const stored = Effect.zipRight(
        webhooks.register(job, "billing"),
        Effect.sync(() => outboxIn(entries).deliveries.length)
      )
      assert.deepStrictEqual(yield* Effect.all([stored, stored], { concurrency: "unbounded" }), [1, 1])
      // an interrupted one is stored and begun, or neither
      const other = yield* submit
      yield* Effect.timeoutOption(webhooks.register(other, "other"), "10 millis")
      assert.strictEqual(outboxIn(entries).deliveries.length, 2)
      yield* Effect.sleep("10 minutes")
      assert.deepStrictEqual(outboxIn(entries).deliveries, [])
    })))

  it.effect("that is unregistered ends, and leaves nothing in the store", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const { client, received } = receiver()
      const { entries, store } = disk()
      const webhooks = yield* start(client, store)
      yield* webhooks.register(job, "billing")
      yield* Effect.sleep("20 seconds")
      assert.strictEqual(entries.size, 2)
      yield* webhooks.unregister(job, "billing")
      yield* Effect.sleep("1 hour")
      assert.strictEqual(received.at(-1)?.type, "job.progressed")
      assert.deepStrictEqual(Array.from(entries.values()), [`{"deliveries":[],"disabled":[]}`])
      yield* TestJobQueue.expectNoCallsAfter("25 seconds")
    })))

  it.effect("that is unregistered by an interrupted call leaves nothing in the store", () =>
    test(Effect.gen(function*() {
      const { client } = receiver()
      const { entries, store } = disk()
      const slow = {
        ...store,
        set: (key: string, value: string | Uint8Array) => Effect.delay(store.set(key, value), "1 second")
      }
      const webhooks = yield* start(client, slow)
      const job = yield* submit
      yield* webhooks.register(job, "billing")
      // the cursor of the first transition is being written
      yield* Effect.sleep("10 millis")
      yield* Effect.timeoutOption(webhooks.unregister(job, "billing"), "10 millis")
      yield* Effect.sleep("10 seconds")
      assert.deepStrictEqual(Array.from(entries.values()), [`{"deliveries":[],"disabled":[]}`])
    })))

  it.effect("that is unregistered does not begin again for a registration at the same time", () =>
    test(Effect.gen(function*() {
      const job = yield* submit
      const { client, received } = receiver()
      const { entries, store } = disk()
      const slow = {
        ...store,
        set: (key: string, value: string | Uint8Array) => Effect.delay(store.set(key, value), "1 second")
      }
      const webhooks = yield* start(client, slow)
      yield* webhooks.register(job, "billing")
      yield* Effect.all([webhooks.register(yield* submit, "other"), webhooks.unregister(job, "billing")], {
        concurrency: "unbounded"
      })
      const sent = () => received.filter(({ data }) => data.job.requestId === job.requestId).length
      const before = sent()
      yield* Effect.sleep("1 hour")
      assert.strictEqual(sent(), before)
      assert.deepStrictEqual(Array.from(entries.values()), [`{"deliveries":[],"disabled":[]}`])
    })))

  it.effect("that stopped may be registered again at once, by the function that is called", () =>
    test(Effect.gen(function*() {
      const { client, received } = receiver([{ status: 500 }, { status: 500 }])
      const self = yield* Deferred.make<Webhook.Service>()
      const webhooks = yield* start(client, disk().store, {
        retry: Schedule.stop,
        onStopped: (_, { endpoint, job }) =>
          Effect.orDie(Effect.flatMap(Deferred.await(self), (webhooks) => webhooks.register(job, endpoint)))
      })
      yield* Deferred.succeed(self, webhooks)
      yield* webhooks.register(yield* ended, "billing")
      yield* Effect.sleep("1 minute")
      assert.deepStrictEqual(typesOf(received), ["job.queued", "job.queued", ...history])
    })))

  it.effect("that stopped does not delay the end of the scope, however long the function takes that is called", () =>
    test(Effect.scoped(Effect.gen(function*() {
      const { client } = receiver()
      const options = { endpoint: () => Effect.succeedNone, onStopped: () => Effect.never }
      const webhooks = yield* start(client, disk().store, options)
      yield* webhooks.register(yield* ended, "billing")
      yield* Effect.sleep("1 second")
    }))))

  it.effect("that is registered after the end of the scope is stored, and begins after a restart", () =>
    test(Effect.gen(function*() {
      const { client, received } = receiver()
      const { store } = disk()
      const webhooks = yield* Effect.scoped(start(client, store))
      yield* webhooks.register(yield* ended, "billing")
      yield* webhooks.enable("billing")
      yield* Effect.sleep("1 minute")
      assert.deepStrictEqual(received, [])
      yield* start(client, store)
      yield* Effect.sleep("1 minute")
      assert.deepStrictEqual(typesOf(received), history)
    })))

  it.effect("ends with the scope of a service that was made in an uninterruptible region", () =>
    test(Effect.scoped(Effect.gen(function*() {
      const { client, received } = receiver(["silent"])
      const holdInterval = Option.some(Duration.seconds(10))
      const webhooks = yield* Effect.uninterruptible(startWith(client, () => ({ holdInterval })))
      yield* webhooks.register(yield* ended, "billing")
      yield* Effect.sleep("1 second")
      assert.lengthOf(received, 1)
    }))))

  it.effect("that is registered, or whose endpoint is enabled, while it stops continues", () =>
    test(Effect.gen(function*() {
      const { client, received } = receiver([{ status: 500 }, { status: 410 }])
      const { errors, onStopped } = stops()
      const webhooks = yield* startWith(
        client,
        // its response takes a while
        (store) => ({ stop: (delivery) => Effect.zipLeft(store.stop(delivery), Effect.sleep("2 seconds")) }),
        { retry: Schedule.stop, onStopped }
      )
      const job = yield* ended
      yield* webhooks.register(job, "billing")
      yield* Effect.sleep("1 second")
      yield* webhooks.register(job, "billing")
      yield* Effect.sleep("1 second")
      yield* webhooks.enable("billing")
      yield* Effect.sleep("1 hour")
      assert.deepStrictEqual(errors.map(({ _tag }) => _tag), ["DeliveryFailed", "EndpointDisabled"])
      assert.deepStrictEqual(typesOf(received), ["job.queued", "job.queued", ...history])
    })))

  it.effect("that ends while another one is registered does not begin again", () =>
    test(Effect.gen(function*() {
      const { client, received } = receiver([{ status: 500 }])
      const webhooks = yield* startWith(
        client,
        (store) => ({ hold: Effect.zipLeft(store.hold, Effect.sleep("1 second")) }),
        { retry: Schedule.spaced("7 seconds") }
      )
      const job = yield* ended
      yield* webhooks.register(job, "billing")
      yield* Effect.sleep("6500 millis")
      yield* webhooks.register(yield* submit, "billing")
      yield* Effect.sleep("1 hour")
      const sent = received.filter(({ data }) => data.job.requestId === job.requestId)
      assert.deepStrictEqual(typesOf(sent), ["job.queued", ...history])
    })))

  it.effect("of a job that cannot be watched stops with the error of the watch", () =>
    test(Effect.gen(function*() {
      const { client, times } = receiver()
      const { errors, onStopped } = stops()
      const webhooks = yield* start(client, disk().store, { onStopped })
      yield* webhooks.register(someJob, "billing")
      yield* Effect.sleep("1 hour")
      assert.deepStrictEqual(errors.map(({ _tag }) => _tag), ["JobNotFound"])
      assert.deepStrictEqual(times, [])
    })))

  it.effect("with a name that a store cannot keep is refused by each call", () =>
    test(Effect.gen(function*() {
      const { client, times } = receiver()
      const { entries, store } = disk()
      const { enable, register, unregister } = yield* start(client, store)
      const before = Array.from(entries)
      const malformed = "\ud800"
      const calls = [
        register(someJob, malformed),
        register(Job.ref(malformed, "x"), "billing"),
        register(Job.ref(model, malformed), "billing"),
        register(Job.ref(model, " "), "billing"),
        unregister(someJob, malformed),
        unregister(Job.ref(model, malformed), "billing"),
        enable(malformed)
      ]
      for (const call of calls) {
        const error = yield* Effect.flip(call)
        assert.strictEqual(error._tag, "OutboxError")
        assert.include(error.message, "must not be blank, and must be well-formed Unicode")
      }
      yield* Effect.sleep("1 hour")
      assert.deepStrictEqual(Array.from(entries), before)
      assert.deepStrictEqual(times, [])
    })))

  it.effect("stops if the store fails, and is not accepted by one that does", () =>
    test(Effect.gen(function*() {
      const job = yield* ended
      const { client, times } = receiver()
      const { errors, onStopped } = stops()
      const { entries, store } = disk()
      const failing = {
        ...store,
        set: () => new SystemError({ module: "KeyValueStore", method: "set", reason: "Busy", pathOrDescriptor: "a" })
      }
      const refused = yield* Effect.flatMap(start(client, failing), ({ register }) => Effect.flip(register(job, "b")))
      assert.strictEqual(refused._tag, "OutboxError")
      assert.include(refused.message, "the store of the webhooks: Busy")
      const webhooks = yield* start(client, store, { onStopped })
      const brokenCursor = Effect.sync(() => {
        for (const key of entries.keys()) if (key.includes("/billing/")) entries.set(key, `"no cursor"`)
      })
      yield* webhooks.register(yield* submit, "billing")
      yield* Effect.sleep("20 seconds")
      yield* brokenCursor
      const sent = times.length
      yield* start(client, store, { onStopped })
      yield* Effect.sleep("1 second")
      assert.deepStrictEqual(errors.map(({ _tag }) => _tag), ["OutboxError"])
      assert.strictEqual(times.length, sent)
      entries.set("effect-queue-status/webhook/outbox", "not JSON")
      const unreadable = yield* Effect.flip(start(client, store))
      assert.strictEqual(unreadable._tag, "OutboxError")
    })))
})

describe("a defect is logged once:", () => {
  it.effect("of a delivery, which continues when it is registered again, or its endpoint is enabled", () =>
    test(withLogs((logs) =>
      Effect.gen(function*() {
        let defects = 0
        // a process alone, and one of several
        for (const holdInterval of [Option.none(), Option.some(Duration.seconds(10))]) {
          const job = yield* ended
          const { client, received } = receiver()
          let isBroken = true
          const webhooks = yield* startWith(client, () => ({ holdInterval }), {
            endpoint: (name) =>
              isBroken && name === "billing" ? Effect.dieMessage("no table") : Effect.succeedSome(billing)
          })
          for (const call of [webhooks.register(job, "billing"), webhooks.enable("billing")]) {
            isBroken = true
            yield* webhooks.register(job, "billing")
            yield* Effect.sleep("1 minute")
            expectLogged(logs, ++defects, "a webhook delivery died", "no table")
            yield* webhooks.register(job, "other")
            yield* Effect.sleep("1 minute")
            assert.deepStrictEqual(typesOf(received.splice(0)), history)
            assert.lengthOf(logs, defects)
            isBroken = false
            yield* call
            yield* Effect.sleep("1 minute")
            assert.deepStrictEqual(typesOf(received.splice(0)), history)
          }
        }
      })
    )))

  it.effect("of the function that is called when a delivery has stopped", () =>
    test(withLogs((logs) =>
      Effect.gen(function*() {
        const { client } = receiver()
        const handlers: ReadonlyArray<NonNullable<Webhook.Options["onStopped"]>> = [
          () => Effect.dieMessage("no mail"),
          () => assert.fail("no mail")
        ]
        for (const [i, onStopped] of handlers.entries()) {
          const webhooks = yield* start(client, disk().store, { onStopped })
          yield* webhooks.register(someJob, "billing")
          yield* Effect.sleep("1 hour")
          expectLogged(logs, i + 1, "the onStopped of webhooks died", "no mail")
        }
      })
    )))

  it.effect("of a store that is asked again and again, and is asked further", () =>
    test(withLogs((logs) =>
      Effect.gen(function*() {
        const { client, received } = receiver()
        const asked: Array<number> = []
        const webhooks = yield* startWith(client, (store) => ({
          holdInterval: Option.some(Duration.seconds(10)),
          hold: Effect.flatMap(
            Clock.currentTimeMillis,
            (now) => asked.push(now) === 2 ? Effect.dieMessage("no database") : store.hold
          )
        }))
        yield* Effect.sleep("1 minute")
        expectLogged(logs, 1, "the store of the webhooks died", "no database")
        assert.isAbove(asked.length, 5)
        yield* webhooks.register(yield* ended, "billing")
        yield* Effect.sleep("1 minute")
        assert.deepStrictEqual(typesOf(received), history)
        assert.lengthOf(logs, 1)
      })
    )))
})

it.effect("neither the URL nor a secret is in errors, logs or spans", () =>
  test(Effect.gen(function*() {
    const job = yield* ended
    const { spans, tracer } = CollectingTracer.make()
    const written: Array<string> = []
    const logger = Logger.make(({ annotations, cause, message }) => {
      written.push(inspect([message, Cause.pretty(cause), annotations], { depth: 20 }))
    })
    const { client } = receiver(["unreachable", { status: 500 }])
    const webhooks = yield* start(client, disk().store, {
      retry: Schedule.recurs(1),
      onStopped: (error) =>
        Effect.zipRight(
          Effect.logError("stopped", error, JSON.stringify(error)),
          Effect.fail(error).pipe(Effect.withSpan("stopped"), Effect.ignore)
        )
    }).pipe(Effect.withTracer(tracer), Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
    yield* webhooks.register(job, "billing")
    yield* Effect.sleep("1 hour")
    const all = [...written, ...spans.map((span) => inspect(span, { depth: 20 }))].join("\n")
    assert.include(all, "HTTP 500")
    assert.isAbove(spans.length, 1)
    for (const secret of ["receiver.example", "partOfTheUrl", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_"]) {
      assert.notInclude(all, secret)
    }
  })))

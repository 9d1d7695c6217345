import * as NodeContext from "@effect/platform-node/NodeContext"
import { SystemError } from "@effect/platform/Error"
import * as FileSystem from "@effect/platform/FileSystem"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import { assert, describe, it } from "@effect/vitest"
import { assertNone, assertSome } from "@effect/vitest/utils"
import * as Context from "effect/Context"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { WebhookStore } from "../../src/gateway/index.js"
import { Job, Transition } from "../../src/index.js"
import { job, model } from "../fixtures/job.js"
import { disk } from "../fixtures/webhooks.js"

const cursorOf = (job: Job.JobRef) =>
  Effect.gen(function*() {
    const observedAt = yield* DateTime.now
    const { cursor } = yield* Transition.derive(Option.none(), Job.Running({ job, info: {} }), { observedAt })
    return cursor
  })

it.scoped("in files, a name may have any length", () =>
  Effect.gen(function*() {
    const directory = yield* Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped())
    const open = Effect.map(
      Layer.build(WebhookStore.layerFileSystem(directory)),
      Context.get(WebhookStore.WebhookStore)
    )
    const store = yield* open
    const long = "größe ".repeat(200)
    const deliveries = ["1", "2"].flatMap((end) => [
      { endpoint: long + end, job },
      { endpoint: "billing", job: Job.ref(long + end, "x") },
      { endpoint: "billing", job: Job.ref(model, long + end) }
    ])
    for (const delivery of deliveries) {
      yield* store.add(delivery)
      assertNone(yield* store.accepted(delivery))
      yield* store.accept(delivery, yield* cursorOf(delivery.job))
    }
    const again = yield* open
    assert.deepStrictEqual(yield* again.hold, deliveries)
    for (const delivery of deliveries) {
      const accepted = yield* again.accepted(delivery)
      assertSome(Option.map(accepted, Transition.formatCursor), Transition.formatCursor(yield* cursorOf(delivery.job)))
    }
  }).pipe(Effect.provide(NodeContext.layer)))

it.scoped("in files, a program may have several", () =>
  Effect.gen(function*() {
    const [a, b] = yield* Effect.replicateEffect(
      Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped()),
      2
    )
    class Other extends Context.Tag("Other")<Other, WebhookStore.Service>() {}
    const other = Layer.effect(Other, WebhookStore.WebhookStore).pipe(Layer.provide(WebhookStore.layerFileSystem(b!)))
    const stores = yield* Layer.build(Layer.merge(WebhookStore.layerFileSystem(a!), other))
    yield* Context.get(stores, WebhookStore.WebhookStore).add({ endpoint: "billing", job })
    assert.deepStrictEqual(yield* Context.get(stores, Other).hold, [])
  }).pipe(Effect.provide(NodeContext.layer)))

describe("after a write that failed", () => {
  const delivery: WebhookStore.Delivery = { endpoint: "billing", job }

  /** A store whose writes, or removals of a value, fail. */
  const failing = Effect.gen(function*() {
    const failures = new Set<"set" | "remove">()
    const { entries, store } = disk()
    const unless = <A, E>(method: "set" | "remove", effect: Effect.Effect<A, E>) =>
      Effect.suspend((): Effect.Effect<A, E | SystemError> =>
        failures.has(method)
          ? new SystemError({ module: "KeyValueStore", method, reason: "Busy", pathOrDescriptor: "a" })
          : effect
      )
    const broken: KeyValueStore.KeyValueStore = {
      ...store,
      set: (key, value) => unless("set", store.set(key, value)),
      remove: (key) => unless("remove", store.remove(key))
    }
    const open = Layer.build(WebhookStore.layerKeyValueStore).pipe(
      Effect.provideService(KeyValueStore.KeyValueStore, broken),
      Effect.map(Context.get(WebhookStore.WebhookStore)),
      Effect.scoped
    )
    return { entries, failures, open, store: yield* open }
  })

  it.effect("the store in memory is that on the disk", () =>
    Effect.gen(function*() {
      const { failures, open, store } = yield* failing
      const expectSame = (count: number, state: "Held" | "Disabled") =>
        Effect.gen(function*() {
          for (const each of [store, yield* open]) {
            assert.lengthOf(yield* each.hold, count)
            assert.strictEqual(yield* each.check(delivery), state)
          }
        })
      failures.add("set")
      assert.strictEqual((yield* Effect.flip(store.add(delivery)))._tag, "OutboxError")
      yield* expectSame(0, "Held")
      failures.clear()
      yield* store.add(delivery)
      yield* store.disable("billing")
      failures.add("set")
      assert.strictEqual((yield* Effect.flip(store.enable("billing")))._tag, "OutboxError")
      yield* expectSame(1, "Disabled")
      assert.strictEqual((yield* Effect.flip(store.remove(delivery)))._tag, "OutboxError")
      yield* expectSame(1, "Disabled")
      failures.clear()
      yield* store.enable("billing")
      yield* expectSame(1, "Held")
      yield* store.remove(delivery)
      yield* expectSame(0, "Held")
    }))

  it.effect("a delivery that is registered again begins with the first transition", () =>
    Effect.gen(function*() {
      const { entries, failures, store } = yield* failing
      yield* store.add(delivery)
      yield* store.accept(delivery, yield* cursorOf(job))
      failures.add("remove")
      assert.strictEqual((yield* Effect.flip(store.remove(delivery)))._tag, "OutboxError")
      assert.deepStrictEqual(yield* store.hold, [])
      assert.strictEqual(entries.size, 2)
      failures.clear()
      yield* store.add(delivery)
      assertNone(yield* store.accepted(delivery))
    }))
})

/** Services of an app that are instances of classes, with private fields, or whose methods throw. */
import * as TestRunner from "@effect/cluster/TestRunner"
import * as HttpClient from "@effect/platform/HttpClient"
import * as HttpClientResponse from "@effect/platform/HttpClientResponse"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import { assert, describe, it } from "@effect/vitest"
import { assertNone, deepStrictEqual } from "@effect/vitest/utils"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { ClusterWatcher } from "../src/cluster/index.js"
import { GatewayClient } from "../src/gateway/index.js"
import {
  Deadline,
  Job,
  JobQueue,
  JobStream,
  JobTelemetry,
  JobWatcher,
  LearnedCadence,
  SubmitJournal
} from "../src/index.js"
import { VirtualTime } from "../src/testing/index.js"
import { calls, job, operations } from "./fixtures/job.js"

class Queue implements JobQueue.Service {
  readonly #job = job

  status(_: Job.JobRef) {
    return Effect.succeed(Job.Pending({ job: this.#job }))
  }

  submit(_: JobQueue.SubmitRequest) {
    return Effect.succeed(this.#job)
  }

  cancel(_: Job.JobRef) {
    return Effect.succeed(JobQueue.CancelResult.NotCanceled({ status: this.#job.model }))
  }

  clear(_: string) {
    return Effect.succeed(this.#job.model.length)
  }

  metrics(_: string) {
    return Effect.succeed({ running: 0, waiting: this.#job.model.length, total: this.#job.model.length })
  }
}

const queueLayer = Layer.succeed(JobQueue.JobQueue, new Queue())

/** A watch whose deadline cancels the job. */
const expired = JobStream.result(job, { deadline: Deadline.cancelPending(Deadline.total("2 seconds")) }).pipe(
  Effect.flip,
  Effect.map((error) => "cancel" in error ? error.cancel : error.message)
)

const answered = { _tag: "NotCanceled", status: job.model }

const pendingGateway = Layer.succeed(
  HttpClient.HttpClient,
  HttpClient.make((request) =>
    Effect.succeed(HttpClientResponse.fromWeb(
      request,
      Response.json(Schema.encodeSync(Job.JobStatus)(Job.Pending({ job })))
    ))
  )
)

describe("a queue that is an instance of a class", () => {
  const watchers = {
    "by itself": JobWatcher.layer(),
    "with a learned cadence": Layer.provide(JobWatcher.layer(), LearnedCadence.layer()),
    "with telemetry": Layer.provide(JobTelemetry.layer, JobWatcher.layer()),
    "behind a gateway": GatewayClient.layer({ url: "http://gateway/jobs" }).pipe(
      Layer.provide(pendingGateway),
      Layer.orDie
    ),
    "of a fleet": Layer.provide(ClusterWatcher.layer(), TestRunner.layer)
  }
  for (const [how, watcher] of Object.entries(watchers)) {
    it.effect(`cancels the job of a watcher ${how}`, () =>
      Effect.gen(function*() {
        assert.deepStrictEqual<unknown>(yield* expired, answered)
      }).pipe(Effect.provide(Layer.provide(watcher, queueLayer)), (self) => VirtualTime.run(self)))
  }

  for (const operation of operations) {
    it.effect(`has ${operation} with the propagation of traces`, () =>
      Effect.gen(function*() {
        const queue = yield* JobQueue.JobQueue
        assert.deepStrictEqual(yield* calls[operation](queue), yield* calls[operation](new Queue()))
      }).pipe(Effect.provide(Layer.provide(JobTelemetry.propagation, queueLayer))))
  }
})

describe("a journal of submits", () => {
  const entry: SubmitJournal.Entry = {
    _tag: "Submitted",
    request: "hash",
    model: job.model,
    at: DateTime.unsafeMake(0),
    job
  }

  const keepsEntries = Effect.gen(function*() {
    const journal = yield* SubmitJournal.SubmitJournal
    yield* journal.withLock("key")(journal.set("key", entry))
    deepStrictEqual(yield* journal.get("key"), Option.some(entry))
    yield* journal.remove("key")
    assertNone(yield* journal.get("key"))
  })

  it.effect("has a store that is an instance of a class", () => {
    class Store implements SubmitJournal.Store {
      readonly #entries = new Map<string, SubmitJournal.Entry>()

      get(key: string) {
        return Effect.sync(() => Option.fromNullable(this.#entries.get(key)))
      }

      set(key: string, entry: SubmitJournal.Entry) {
        return Effect.sync(() => void this.#entries.set(key, entry))
      }

      remove(key: string) {
        return Effect.sync(() => void this.#entries.delete(key))
      }
    }
    return Effect.provideServiceEffect(keepsEntries, SubmitJournal.SubmitJournal, SubmitJournal.make(new Store()))
  })

  it.effect("has a `KeyValueStore` whose operations are inherited", () =>
    Effect.gen(function*() {
      const store: KeyValueStore.KeyValueStore = Object.create(yield* KeyValueStore.KeyValueStore)
      yield* keepsEntries.pipe(
        Effect.provide(SubmitJournal.layerKeyValueStore),
        Effect.provideService(KeyValueStore.KeyValueStore, store)
      )
      assert.isTrue(yield* store.isEmpty)
    }).pipe(Effect.provide(KeyValueStore.layerMemory)))
})

it.effect("a watcher that is an instance of a class is observed with its events", () => {
  class Watcher implements JobWatcher.Service {
    readonly #events = Stream.empty

    get pollingEvents() {
      return this.#events
    }

    subscribe() {
      return Effect.never
    }
  }
  return Effect.gen(function*() {
    assert.strictEqual(yield* Stream.runCount(JobWatcher.pollingEvents), 0)
  }).pipe(Effect.provide(Layer.provide(JobTelemetry.layer, Layer.succeed(JobWatcher.JobWatcher, new Watcher()))))
})

describe("a queue whose calls throw", () => {
  const thrown = (): never => {
    throw new Error("a bug of the app")
  }
  const mock = (service: Partial<JobQueue.Service>) =>
    Layer.provide(JobWatcher.layer(), Layer.mock(JobQueue.JobQueue, service))

  it.effect("a status that throws is a defect of the watches of its job, and of no other", () => {
    const other = Job.ref(job.model, "019ba379-92da-71e4-ac40-d98059fd67c8")
    return Effect.gen(function*() {
      const good = yield* Effect.fork(JobStream.result(other))
      const exit = yield* Effect.exit(JobStream.result(job))
      assert(Exit.isFailure(exit) && exit.cause._tag === "Die", String(exit))
      assert.deepStrictEqual(yield* Fiber.join(good), {})
    }).pipe(
      Effect.provide(mock({
        status: (asked) =>
          asked.requestId === job.requestId ? thrown() : Effect.succeed(Job.Done({ job: asked, outputs: {} }))
      })),
      (self) => VirtualTime.run(self)
    )
  })

  it.effect("a cancel that throws is a defect of the watches whose deadline cancels, and of no other", () =>
    Effect.gen(function*() {
      const good = yield* Effect.fork(Effect.flip(JobStream.result(job, { deadline: "10 seconds" })))
      const exit = yield* Effect.exit(expired)
      assert(Exit.isFailure(exit) && exit.cause._tag === "Die", String(exit))
      assert.strictEqual((yield* Fiber.join(good))._tag, "WatchTimeout")
    }).pipe(
      Effect.provide(mock({ status: () => Effect.succeed(Job.Pending({ job })), cancel: thrown })),
      (self) => VirtualTime.run(self)
    ))
})

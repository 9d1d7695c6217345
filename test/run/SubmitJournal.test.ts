import * as NodeContext from "@effect/platform-node/NodeContext"
import * as FileSystem from "@effect/platform/FileSystem"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as Path from "@effect/platform/Path"
import { assert, describe, it } from "@effect/vitest"
import { assertNone, assertSome } from "@effect/vitest/utils"
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { JobRun, QueueError, SubmitJournal } from "../../src/index.js"
import type { JobQueue } from "../../src/index.js"
import { Fault, TestJobQueue, VirtualTime } from "../../src/testing/index.js"
import { Epoch } from "../fixtures/epoch.js"
import { job, model } from "../fixtures/job.js"

const request: JobQueue.SubmitRequest = { model, payload: { prompt: "a cat", nested: { b: 1, a: 2 } } }

const submit = JobRun.submit(request, { key: "order-17" })

const inQueue = (
  journal: Layer.Layer<SubmitJournal.SubmitJournal>,
  options: TestJobQueue.Options = {}
) =>
<A, E>(
  effect: Effect.Effect<A, E, JobQueue.JobQueue | TestJobQueue.TestJobQueue | SubmitJournal.SubmitJournal>
): Effect.Effect<A, E> =>
  effect.pipe(
    VirtualTime.run,
    Effect.provide(Layer.mergeAll(TestJobQueue.layer(options), journal, Epoch))
  )

/** A disk: it outlives the programs that write to it. */
const disk = () => {
  const entries = new Map<string, string>()
  const store = KeyValueStore.makeStringOnly({
    get: (key) => Effect.sync(() => Option.fromNullable(entries.get(key))),
    set: (key, value) => Effect.sync(() => entries.set(key, value)),
    remove: (key) => Effect.sync(() => entries.delete(key)),
    clear: Effect.sync(() => entries.clear()),
    size: Effect.sync(() => entries.size)
  })
  const layer = SubmitJournal.layerKeyValueStore.pipe(
    Layer.provide(Layer.succeed(KeyValueStore.KeyValueStore, store))
  )
  return { entries, store, layer: Layer.fresh(layer) }
}

/** A directory for the time of a test. */
const directory = Effect.flatMap(FileSystem.FileSystem, (fs) => fs.makeTempDirectoryScoped())

/** A journal in files of its own. */
const inFiles = Layer.unwrapScoped(Effect.map(directory, SubmitJournal.layerFileSystem)).pipe(
  Layer.provide(NodeContext.layer),
  Layer.orDie
)

const entry = (_tag: SubmitJournal.Entry["_tag"], at = "2026-02-07T10:30:00Z"): SubmitJournal.Entry => {
  const common = { request: "a fingerprint", model, at: DateTime.unsafeMake(at) }
  return _tag === "Sent" ? { _tag, ...common } : { _tag, ...common, job }
}

const journals: ReadonlyArray<readonly [name: string, make: () => Layer.Layer<SubmitJournal.SubmitJournal>]> = [
  ["in memory", () => SubmitJournal.layerMemory],
  ["in a KeyValueStore", () => disk().layer],
  ["in files", () => Layer.fresh(inFiles)]
]

for (const [name, make] of journals) {
  describe(`a journal ${name}`, () => {
    it.effect("returns what was set, and nothing that was removed", () =>
      Effect.gen(function*() {
        const journal = yield* SubmitJournal.SubmitJournal
        // any text is a key
        for (const key of ["order-17", "__proto__", "../größe/🦊 ?", "🦊".repeat(200)]) {
          assertNone(yield* journal.get(key))
          for (const set of [entry("Sent"), entry("Submitted"), entry("Canceling")]) {
            yield* journal.set(key, set)
            assertSome(yield* journal.get(key), set)
          }
        }
        yield* journal.remove("__proto__")
        assertNone(yield* journal.get("__proto__"))
        assertSome(yield* journal.get("order-17"), entry("Canceling"))
        yield* journal.remove("order-17")
        yield* journal.remove("order-17")
        assertNone(yield* journal.get("order-17"))
      }).pipe(Effect.provide(make())))

    it.effect("sends one of several submits with the same key, and all of them return its job", () =>
      Effect.gen(function*() {
        const jobs = yield* Effect.replicateEffect(submit, 5).pipe(
          (all) => Effect.all([all, all], { concurrency: "unbounded" }),
          Effect.map((both) => both.flat())
        )
        const [made] = yield* TestJobQueue.jobs
        for (const job of jobs) assert.deepStrictEqual(job, made)
        yield* TestJobQueue.expectJobs(1)
        // another key is another job
        yield* JobRun.submit(request, { key: "order-18" })
        yield* TestJobQueue.expectJobs(2)
      }).pipe(inQueue(make(), { faults: [Fault.delay("1 second")] })))
  })
}

describe("a submit with a journal", () => {
  it.effect("is kept over a restart, and returns its job again", () => {
    const { entries, layer } = disk()
    return Effect.gen(function*() {
      const job = yield* Effect.provide(submit, layer)
      assert.deepStrictEqual([...entries.keys()], ["effect-queue-status/submit/order-17"])
      assert.deepStrictEqual(yield* Effect.provide(submit, layer), job)
      yield* TestJobQueue.expectJobs(1)
    }).pipe(inQueue(SubmitJournal.layerMemory))
  })

  it.effect("that was interrupted in flight stays uncertain until its entry is removed", () => {
    const { layer } = disk()
    return Effect.gen(function*() {
      yield* Effect.timeoutOption(Effect.provide(submit, layer), "1 second")
      // the program restarts, and reads the journal again
      const error = yield* Effect.flip(Effect.provide(submit, layer))
      assert(error._tag === "SubmitUncertain" && error.error === undefined)
      assert.strictEqual(error.at.epochMillis, yield* TestJobQueue.startedAt)
      assert.strictEqual((yield* TestJobQueue.counts).submit, 1)

      // an operator has found no job
      yield* Effect.provide(Effect.flatMap(SubmitJournal.SubmitJournal, ({ remove }) => remove(error.key)), layer)
      yield* Effect.provide(submit, layer)
      yield* TestJobQueue.expectJobs(1)
    }).pipe(inQueue(SubmitJournal.layerMemory, { faults: [Fault.noResponse.pipe(Fault.nth(1))] }))
  })

  it.effect("returns the job that was stored in the journal afterwards", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(submit)
      assert(error._tag === "SubmitUncertain")
      const journal = yield* SubmitJournal.SubmitJournal
      const [job] = yield* TestJobQueue.jobs
      const known = Option.getOrThrow(yield* journal.get(error.key))
      yield* journal.set(error.key, { ...known, _tag: "Submitted", job: job! })
      assert.deepStrictEqual(yield* submit, job)
      yield* TestJobQueue.expectJobs(1)
    }).pipe(inQueue(SubmitJournal.layerMemory, { faults: [Fault.answerLost()] })))

  it.effect("that did not arrive has no entry, and may be sent again", () =>
    Effect.gen(function*() {
      const journal = yield* SubmitJournal.SubmitJournal
      // refused for good, and interrupted in a pause between two tries
      assert.strictEqual((yield* Effect.flip(submit))._tag, "AccessDenied")
      assertNone(yield* journal.get("order-17"))
      yield* Effect.timeoutOption(submit, "10 seconds")
      assertNone(yield* journal.get("order-17"))
      yield* submit
      yield* TestJobQueue.expectJobs(1)
    }).pipe(inQueue(SubmitJournal.layerMemory, {
      faults: [
        Fault.unauthorized.pipe(Fault.nth(1)),
        Fault.rateLimited("1 minute").pipe(Fault.nth(2))
      ]
    })))

  it.effect("rejects a key that was used for another request, and ignores the order of fields", () =>
    Effect.gen(function*() {
      const job = yield* submit
      const sameThing = { payload: { nested: { a: 2, b: 1 }, prompt: "a cat" }, model }
      assert.deepStrictEqual(yield* JobRun.submit(sameThing, { key: "order-17" }), job)
      const others: ReadonlyArray<JobQueue.SubmitRequest> = [
        { ...request, payload: {} },
        { ...request, model: "my-org/other" },
        { ...request, priority: 1 },
        { ...request, info: { user: "u1" } }
      ]
      for (const other of others) {
        const error = yield* Effect.flip(JobRun.submit(other, { key: "order-17" }))
        assert(error._tag === "InvalidRequest")
        assert.match(error.detail ?? "", /^key: order-17 was used for another request \(.*Z\)$/)
      }
      yield* TestJobQueue.expectJobs(1)
    }).pipe(inQueue(SubmitJournal.layerMemory)))

  it.effect("without a key has no entry", () => {
    const { entries, layer } = disk()
    return Effect.gen(function*() {
      yield* JobRun.submit(request)
      assert.strictEqual(entries.size, 0)
    }).pipe(inQueue(layer))
  })

  const broken = (when: QueueError.JournalError["operation"], from: number) => {
    let calls = 0
    const fail = (operation: typeof when, key: string) =>
      Effect.suspend(() =>
        operation === when && ++calls >= from
          ? Effect.fail(new QueueError.JournalError({ key, operation, reason: "the disk is full" }))
          : Effect.void
      )
    return Layer.effect(
      SubmitJournal.SubmitJournal,
      SubmitJournal.make({
        get: (key) => Effect.as(fail("get", key), Option.none()),
        set: (key) => fail("set", key),
        remove: (key) => fail("remove", key)
      })
    )
  }

  it.effect("is not sent if the journal can't be read or written", () =>
    Effect.gen(function*() {
      for (const operation of ["get", "set"] as const) {
        const error = yield* Effect.flip(Effect.provide(submit, broken(operation, 1)))
        assert(error._tag === "JournalError")
        assert.strictEqual(error.message, `the journal of submits, ${operation} order-17: the disk is full`)
      }
      yield* TestJobQueue.expectJobs(0)
    }).pipe(inQueue(SubmitJournal.layerMemory)))

  it.effect("returns its job though the journal can't be written, and logs a warning", () => {
    const logged: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      logged.push(`${logLevel.label} ${String(message)}`)
    })
    return Effect.gen(function*() {
      const job = yield* Effect.provide(submit, broken("set", 2))
      assert.deepStrictEqual(yield* TestJobQueue.jobs, [job])
      const [line] = logged
      assert.strictEqual(logged.length, 1)
      assert.include(line, "WARN a job that is not in the journal")
    }).pipe(inQueue(SubmitJournal.layerMemory), Effect.provide(Logger.replace(Logger.defaultLogger, logger)))
  })

  it.effect("cancels its job though the journal can't be read, or has no entry any more", () =>
    Effect.gen(function*() {
      for (const nth of [2, 3]) {
        yield* Effect.scoped(JobRun.scoped(request, { key: "order-17" })).pipe(Effect.provide(broken("get", nth)))
      }
      assert.strictEqual((yield* TestJobQueue.counts).cancel, 2)
    }).pipe(inQueue(SubmitJournal.layerMemory)))

  it.effect("does not change the entry of a later job when it cancels its own", () =>
    Effect.gen(function*() {
      const journal = yield* SubmitJournal.SubmitJournal
      const later = yield* Effect.scoped(Effect.gen(function*() {
        yield* JobRun.scoped(request, { key: "order-17" })
        yield* journal.remove("order-17")
        return yield* submit
      }))
      assert.strictEqual((yield* TestJobQueue.counts).cancel, 1)
      assert.deepStrictEqual(yield* submit, later)
    }).pipe(inQueue(SubmitJournal.layerMemory)))

  it.effect("fails with the reason if the entry is invalid", () => {
    const { entries, layer } = disk()
    entries.set("effect-queue-status/submit/order-17", "{\"_tag\":\"Sent\"}")
    return Effect.gen(function*() {
      const error = yield* Effect.flip(submit)
      assert(error._tag === "JournalError" && error.operation === "get")
      assert.include(error.reason, "request")
      yield* TestJobQueue.expectJobs(0)
    }).pipe(inQueue(layer))
  })

  it("has entries that survive a round trip through JSON", () => {
    for (const made of [entry("Sent"), entry("Submitted"), entry("Canceling")]) {
      const text = Schema.encodeSync(Schema.parseJson(SubmitJournal.Entry))(made)
      assert.deepStrictEqual(Schema.decodeSync(Schema.parseJson(SubmitJournal.Entry))(text), made)
    }
  })
})

describe("a journal in files", () => {
  const written = "effect-queue-status%2Fsubmit%2Forder-17"

  it.scoped("reads what KeyValueStore.layerFileSystem has written", () =>
    Effect.gen(function*() {
      const folder = yield* directory
      for (const known of [entry("Sent"), entry("Submitted")]) {
        const before = SubmitJournal.layerKeyValueStore.pipe(Layer.provide(KeyValueStore.layerFileSystem(folder)))
        yield* Effect.provide(Effect.flatMap(SubmitJournal.SubmitJournal, ({ set }) => set("order-17", known)), before)
        const journal = SubmitJournal.layerFileSystem(folder)
        assertSome(
          yield* Effect.provide(Effect.flatMap(SubmitJournal.SubmitJournal, (_) => _.get("order-17")), journal),
          known
        )
      }
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("creates its directory, with one file per key", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const path = yield* Path.Path
      const folder = path.join(yield* directory, "a", "b")
      const journal = SubmitJournal.layerFileSystem(folder)
      yield* Effect.provide(
        Effect.flatMap(SubmitJournal.SubmitJournal, ({ set }) =>
          Effect.zipRight(set("order-17", entry("Sent")), set("order-17", entry("Submitted")))),
        journal
      )
      assert.deepStrictEqual(yield* fs.readDirectory(folder), [written])
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("reports the errors of its disk", () =>
    Effect.gen(function*() {
      const fs = yield* FileSystem.FileSystem
      const folder = yield* directory
      yield* Effect.gen(function*() {
        const journal = yield* SubmitJournal.SubmitJournal
        yield* fs.makeDirectory(`${folder}/${written}`)
        for (
          const [operation, call] of [
            ["get", journal.get("order-17")],
            ["set", journal.set("order-17", entry("Sent"))]
          ] as const
        ) {
          const error = yield* Effect.flip<unknown, QueueError.JournalError, never>(call)
          assert.deepStrictEqual([error._tag, error.operation], ["JournalError", operation])
        }
      }).pipe(Effect.provide(SubmitJournal.layerFileSystem(folder)))
    }).pipe(Effect.provide(NodeContext.layer)))

  it.scoped("a crash at any step, also during a write, leaves the previous entry or the new one", () =>
    Effect.gen(function*() {
      const real = yield* FileSystem.FileSystem
      const folder = yield* directory

      /** A file system that stops at a step; a write is cut in the middle. */
      const crashing = (step: number) => {
        let steps = 0
        const or = <A, E, R>(effect: Effect.Effect<A, E, R>, instead: Effect.Effect<unknown, E, R> = Effect.void) =>
          Effect.suspend(() =>
            ++steps < step
              ? effect
              : steps === step
              ? Effect.zipRight(instead, Effect.dieMessage("crashed"))
              : Effect.dieMessage("crashed before")
          )
        const file = (file: FileSystem.File): FileSystem.File => ({
          ...file,
          sync: or(file.sync),
          writeAll: (bytes) => or(file.writeAll(bytes), file.writeAll(bytes.slice(0, bytes.length / 2)))
        })
        const fs: FileSystem.FileSystem = {
          ...real,
          open: (path, options) => or(Effect.map(real.open(path, options), file), real.open(path, options)),
          writeFile: (path, data, options) =>
            or(real.writeFile(path, data, options), real.writeFile(path, data.slice(0, data.length / 2), options)),
          writeFileString: (path, text, options) =>
            or(
              real.writeFileString(path, text, options),
              real.writeFileString(path, text.slice(0, text.length / 2), options)
            ),
          rename: (from, to) => or(real.rename(from, to))
        }
        return { layer: Layer.succeed(FileSystem.FileSystem, fs), steps: () => steps }
      }

      const read = Effect.flatMap(SubmitJournal.SubmitJournal, ({ get }) => get("order-17")).pipe(
        Effect.provide(SubmitJournal.layerFileSystem(folder))
      )
      const met = new Set<string>()
      for (let step = 1;; step++) {
        const { layer, steps } = crashing(step)
        yield* real.remove(`${folder}/${written}`, { force: true })
        for (const [before, after] of [[undefined, entry("Sent")], [entry("Sent"), entry("Submitted")]] as const) {
          const set = Effect.flatMap(SubmitJournal.SubmitJournal, ({ set }) => set("order-17", after)).pipe(
            Effect.provide(SubmitJournal.layerFileSystem(folder).pipe(Layer.provide(layer))),
            Effect.exit
          )
          if (before !== undefined) {
            yield* Effect.provide(
              Effect.flatMap(SubmitJournal.SubmitJournal, ({ set }) => set("order-17", before)),
              SubmitJournal.layerFileSystem(folder)
            )
          }
          yield* set
          const found = Option.getOrUndefined(yield* read)
          assert.include([before?._tag, after._tag], found?._tag, `step ${step}`)
          met.add(found?._tag === after._tag ? "new" : "before")
        }
        if (steps() < step) break
      }
      assert.deepStrictEqual([...met].sort(), ["before", "new"])
    }).pipe(Effect.provide(NodeContext.layer)))
})

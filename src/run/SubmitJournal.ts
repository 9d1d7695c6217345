/**
 * A journal of submits by key: a program that crashed between a request and its response does not repeat the request
 * blindly. If there is one, `JobRun.submit` with a `key` records in it that it is about to send, and then the result:
 *
 * | entry of the key | a submit with the key |
 * | --- | --- |
 * | none | sends the request |
 * | `Sent`: the request was sent, outcome unknown | fails with `SubmitUncertain`, sends nothing |
 * | `Submitted`: the request created a job | returns the job, sends nothing |
 * | `Canceling`: this program sent a cancel, outcome unknown | returns the job; if it is canceled, sends the request |
 *
 * A run, a stage or a scope that cancels its job removes the entry: the next run with the key submits anew. A job that
 * was canceled otherwise (`JobQueue.cancel`, a deadline of a watch, the command) stays `Submitted`: a run with its key
 * fails with `JobCanceled` until the key is removed.
 *
 * To resolve a key that is `Sent`, look for its job on the service's own pages, at its worker, or by its outputs; then
 * `set` the entry to `Submitted`, or `remove` it, so that the request may be sent again.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import type * as Path from "@effect/platform/Path"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as RcMap from "effect/RcMap"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import { TimeText } from "../model/internal/timestamp.js"
import { JobRef } from "../model/Job.js"
import { JournalError } from "../model/QueueError.js"
import { fileStore } from "../queue/internal/fileStore.js"

const common = { request: Schema.String, model: Schema.String, at: TimeText }

/**
 * The state of a submit: it was `Sent`, it `Submitted` a job, or its job is `Canceling`. `at` is when it was sent, by
 * our clock; `request` is a hash of the request, which detects a key that is reused for another request.
 *
 * @since 0.1.0
 * @category models
 */
export type Entry = typeof Entry.Type

/**
 * The schema of an `Entry`.
 *
 * @since 0.1.0
 * @category schemas
 */
export const Entry = Schema.Union(
  Schema.TaggedStruct("Sent", common),
  Schema.TaggedStruct("Submitted", { ...common, job: JobRef }),
  Schema.TaggedStruct("Canceling", { ...common, job: JobRef })
)

/**
 * The storage of the entries.
 *
 * @since 0.1.0
 * @category models
 */
export interface Store {
  /** Returns the entry of a key, or `None` if it has none. */
  readonly get: (key: string) => Effect.Effect<Option.Option<Entry>, JournalError>
  /** Sets the entry of a key, replacing any previous one. */
  readonly set: (key: string, entry: Entry) => Effect.Effect<void, JournalError>
  /** Removes the entry of a key. */
  readonly remove: (key: string) => Effect.Effect<void, JournalError>
}

/**
 * A store with a lock for each key.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service extends Store {
  /**
   * Runs an effect while no other one holds the same key: two submits of a program with the same key create one job.
   * (Two programs that share a store must not use the same key at the same time.)
   */
  readonly withLock: (key: string) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/**
 * The journal of submits.
 *
 * @example
 * import * as NodeContext from "@effect/platform-node/NodeContext"
 * import { Effect, Layer } from "effect"
 * import { JobRun, SubmitJournal } from "effect-queue-status"
 *
 * // after a restart it returns the job of the earlier submit, or fails with `SubmitUncertain`
 * const submit = (order: number) =>
 *   JobRun.submit({ model: "my-org/video-generator", payload: { order } }, { key: `order-${order}` })
 *
 * const program = submit(17).pipe(
 *   Effect.provide(SubmitJournal.layerFileSystem("journal").pipe(Layer.provide(NodeContext.layer)))
 * )
 *
 * @since 0.1.0
 * @category context
 */
export class SubmitJournal extends Context.Tag("effect-queue-status/SubmitJournal")<SubmitJournal, Service>() {}

/**
 * Creates a journal over a store.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (store: Store): Effect.Effect<Service> =>
  Effect.gen(function*() {
    // the scope needs no end: the map retains only the locks that are in use
    const locks = yield* Scope.extend(
      RcMap.make({ lookup: (_key: string) => Effect.makeSemaphore(1) }),
      yield* Scope.make()
    )
    return SubmitJournal.of({
      get: (key) => store.get(key),
      set: (key, entry) => store.set(key, entry),
      remove: (key) => store.remove(key),
      withLock: (key) => (self) =>
        Effect.scopedWith((scope) =>
          Effect.flatMap(Scope.extend(RcMap.get(locks, key), scope), (lock) => lock.withPermits(1)(self))
        )
    })
  })

const ofStore = (store: KeyValueStore.KeyValueStore): Effect.Effect<Service> => {
  const entries = store.forSchema(Entry)
  const entryKey = (key: string) => `effect-queue-status/submit/${key}`
  const failed = (key: string, operation: JournalError["operation"]) => ({ message }: { readonly message: string }) =>
    new JournalError({ key, operation, reason: message })
  return make({
    get: (key) => Effect.mapError(entries.get(entryKey(key)), failed(key, "get")),
    set: (key, entry) => Effect.mapError(entries.set(entryKey(key), entry), failed(key, "set")),
    remove: (key) => Effect.mapError(entries.remove(entryKey(key)), failed(key, "remove"))
  })
}

/**
 * A journal in a `KeyValueStore`, such as Redis or a browser's storage. Its keys begin with
 * `effect-queue-status/submit/`. Entries stay until they are removed.
 *
 * A crash during `set` must not lose the previous value. `KeyValueStore.layerFileSystem` does not guarantee that: use
 * `layerFileSystem` for files, which can read its entries.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKeyValueStore: Layer.Layer<SubmitJournal, never, KeyValueStore.KeyValueStore> = Layer.effect(
  SubmitJournal,
  Effect.flatMap(KeyValueStore.KeyValueStore, ofStore)
)

/**
 * A journal in memory, for tests, and for programs that submit the same thing twice.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<SubmitJournal> = Layer.provide(layerKeyValueStore, KeyValueStore.layerMemory)

/**
 * A journal in files, one for each key, in a directory that is created if it is missing. A new entry is written to the
 * disk beside the previous one and replaces it atomically: a crash of the program or the machine leaves one of the two.
 * Entries stay until they are removed.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFileSystem = (
  directory: string
): Layer.Layer<SubmitJournal, PlatformError, FileSystem.FileSystem | Path.Path> =>
  Layer.effect(SubmitJournal, Effect.flatMap(fileStore(directory), ofStore))

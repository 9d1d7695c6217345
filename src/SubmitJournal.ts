/**
 * What is remembered of submits, by the keys that the program gave them, so that one that crashed between the request and
 * the answer does not submit again blindly.
 *
 * A journal is optional. Where there is one, `JobRun.submit` with a `key` notes in it that it is about to send, and then
 * what came of it:
 *
 * | the journal knows of the key | a submit with it |
 * | --- | --- |
 * | nothing | is sent |
 * | `Sent`: it was sent, and nobody knows what came of it | fails with `SubmitUncertain`, unsent |
 * | `Made`: it made a job | gives that job, unsent |
 *
 * Who has found out what became of a submit that was `Sent`, in the service's own pages, at its worker, by its outputs,
 * says so: `set` it as `Made`, or `remove` it, so that it may be sent again.
 *
 * @since 0.1.0
 */
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { message, TaggedError } from "./internal/taggedError.js"
import { JobRef } from "./Job.js"

const common = {
  request: Schema.String,
  model: Schema.String,
  at: Schema.DateTimeUtc
}

/**
 * What is known of a submit: that it was `Sent`, or that it `Made` a job. `at` is when it was sent, by our clock;
 * `request` a fingerprint of what was asked for, by which a key that is used again for something else is found out.
 *
 * @since 0.1.0
 * @category models
 */
export type Entry = typeof Entry.Type

/**
 * @since 0.1.0
 * @category schemas
 */
export const Entry = Schema.Union(
  Schema.TaggedStruct("Sent", common),
  Schema.TaggedStruct("Made", { ...common, job: JobRef })
)

/**
 * The journal can't be read or written. A submit that meets this was not sent.
 *
 * @since 0.1.0
 * @category errors
 */
export class JournalError extends TaggedError<JournalError>("effect-queue-status/JournalError")(
  "JournalError",
  { key: Schema.String, operation: Schema.Literal("get", "set", "remove"), reason: Schema.String }
) {
  /**
   * @since 0.1.0
   */
  override get message(): string {
    return message(`the journal of submits, ${this.operation} ${this.key}: ${this.reason}`)
  }
}

/**
 * Where the entries are kept.
 *
 * @since 0.1.0
 * @category models
 */
export interface Store {
  readonly get: (key: string) => Effect.Effect<Option.Option<Entry>, JournalError>
  readonly set: (key: string, entry: Entry) => Effect.Effect<void, JournalError>
  readonly remove: (key: string) => Effect.Effect<void, JournalError>
}

/**
 * A store, and `oneAtATime`: an effect waits while another one holds the same key. Two submits of one program with the
 * same key make one job. (Two programs that share a store must not use the same key at the same time.)
 *
 * @since 0.1.0
 * @category models
 */
export interface Service extends Store {
  readonly oneAtATime: (key: string) => <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
}

/**
 * The journal of submits.
 *
 * @example
 * import { NodeKeyValueStore } from "@effect/platform-node"
 * import { Effect, Layer } from "effect"
 * import { JobRun, SubmitJournal } from "effect-queue-status"
 *
 * // started again after a crash, it goes on with the job that it has submitted, or says that it can't tell
 * const submit = (order: number) =>
 *   JobRun.submit({ model: "my-org/video-generator", payload: { order } }, { key: `order-${order}` })
 *
 * const program = submit(17).pipe(
 *   Effect.provide(SubmitJournal.layerKeyValueStore.pipe(Layer.provide(NodeKeyValueStore.layerFileSystem("journal"))))
 * )
 *
 * @since 0.1.0
 * @category context
 */
export class SubmitJournal extends Context.Tag("effect-queue-status/SubmitJournal")<SubmitJournal, Service>() {}

/**
 * A journal of whatever store there is.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (store: Store): Effect.Effect<Service> =>
  Effect.sync(() => {
    const held = new Map<string, { readonly semaphore: Effect.Semaphore; users: number }>()
    return SubmitJournal.of({
      ...store,
      oneAtATime: (key) => (self) =>
        Effect.acquireUseRelease(
          Effect.sync(() => {
            const lock = held.get(key) ?? { semaphore: Effect.unsafeMakeSemaphore(1), users: 0 }
            lock.users++
            held.set(key, lock)
            return lock
          }),
          ({ semaphore }) => semaphore.withPermits(1)(self),
          (lock) =>
            Effect.sync(() => {
              lock.users--
              if (lock.users === 0) held.delete(key)
            })
        )
    })
  })

/**
 * A journal that lasts as long as the program. For tests, and for programs that submit the same thing twice.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerMemory: Layer.Layer<SubmitJournal> = Layer.effect(
  SubmitJournal,
  Effect.suspend(() => {
    const entries = new Map<string, Entry>()
    return make({
      get: (key) => Effect.sync(() => Option.fromNullable(entries.get(key))),
      set: (key, entry) => Effect.sync(() => entries.set(key, entry)),
      remove: (key) => Effect.sync(() => entries.delete(key))
    })
  })
)

const prefix = "effect-queue-status/submit/"

/**
 * A journal in a `KeyValueStore`: files, Redis, a browser's storage. The keys in there begin with
 * `effect-queue-status/submit/`. Nothing is ever forgotten, unless it is removed.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKeyValueStore: Layer.Layer<SubmitJournal, never, KeyValueStore.KeyValueStore> = Layer.effect(
  SubmitJournal,
  Effect.flatMap(KeyValueStore.KeyValueStore, (all) => {
    const store = KeyValueStore.prefix(all, prefix).forSchema(Entry)
    const failed = (key: string, operation: JournalError["operation"]) => ({ message }: { readonly message: string }) =>
      new JournalError({ key, operation, reason: message })
    return make({
      get: (key) => Effect.mapError(store.get(key), failed(key, "get")),
      set: (key, entry) => Effect.mapError(store.set(key, entry), failed(key, "set")),
      remove: (key) => Effect.mapError(store.remove(key), failed(key, "remove"))
    })
  })
)

/**
 * Where the deliveries of webhooks are kept: which job goes to which endpoint, how far that has come, and the endpoints that
 * are disabled. It has no messages.
 *
 * A store on a `KeyValueStore` is used by one process at a time. For several, see `SqlWebhookStore` of
 * `effect-queue-status/sql`.
 *
 * @since 0.1.0
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as FileSystem from "@effect/platform/FileSystem"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import type * as Path from "@effect/platform/Path"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { ParseError } from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { TaggedError } from "../model/internal/taggedError.js"
import { format, JobRef } from "../model/Job.js"
import { type Cursor, CursorFromString } from "../model/Transition.js"
import { fileStore } from "../queue/internal/fileStore.js"

/**
 * The store of the deliveries failed, or has a value that cannot be read; or a name that was given is blank or malformed
 * Unicode, which it cannot keep.
 *
 * @since 0.1.0
 * @category errors
 */
export class OutboxError extends TaggedError<OutboxError>()(
  "OutboxError",
  { reason: Schema.String },
  ({ reason }) => `the store of the webhooks: ${reason}`
) {}

/**
 * The transitions of a job, for an endpoint.
 *
 * @since 0.1.0
 * @category models
 */
export interface Delivery {
  /** The reference of the job. */
  readonly job: JobRef
  /** The name of the endpoint. */
  readonly endpoint: string
}

/**
 * A store, as one process sees it. A delivery is held by one process at a time, which alone sends its transitions.
 *
 * @since 0.1.0
 * @category models
 */
export interface Service {
  /** Adds a delivery. If the store has it, it continues after its last accepted transition, also if it has stopped. */
  readonly add: (delivery: Delivery) => Effect.Effect<void, OutboxError>
  /** Removes a delivery. */
  readonly remove: (delivery: Delivery) => Effect.Effect<void, OutboxError>
  /** Keeps a delivery, but lets no process hold it until it is added again, its endpoint is enabled, or a process starts. */
  readonly stop: (delivery: Delivery) => Effect.Effect<void, OutboxError>
  /** Takes the deliveries that no process holds. Returns all that this process now holds. */
  readonly hold: Effect.Effect<ReadonlyArray<Delivery>, OutboxError>
  /** How often `hold` must be called: a process that does not loses its deliveries to others. */
  readonly holdInterval: Option.Option<Duration.Duration>
  /** Whether a transition may be sent now: not if another process holds the delivery, or its endpoint is disabled. */
  readonly check: (delivery: Delivery) => Effect.Effect<"Held" | "Lost" | "Disabled", OutboxError>
  /** Returns the cursor of the last accepted transition. */
  readonly accepted: (delivery: Delivery) => Effect.Effect<Option.Option<Cursor>, OutboxError>
  /** Stores the cursor of the last accepted transition, if this process holds the delivery. */
  readonly accept: (delivery: Delivery, cursor: Cursor) => Effect.Effect<void, OutboxError>
  /** Disables an endpoint. */
  readonly disable: (endpoint: string) => Effect.Effect<void, OutboxError>
  /** Enables an endpoint, and lets its deliveries continue that have stopped. */
  readonly enable: (endpoint: string) => Effect.Effect<void, OutboxError>
}

/**
 * The store of the deliveries.
 *
 * @since 0.1.0
 * @category context
 */
export class WebhookStore extends Context.Tag("effect-queue-status/WebhookStore")<WebhookStore, Service>() {}

// -----------------------------------------------------------------------------
// on a KeyValueStore
// -----------------------------------------------------------------------------

// The index, one value, has the deliveries and the disabled endpoints. Each delivery has a value of its own with the cursor
// of the last accepted transition.
const Index = Schema.Struct({
  deliveries: Schema.Array(Schema.Struct({ job: JobRef, endpoint: Schema.String })),
  disabled: Schema.Array(Schema.String)
})

const indexKey = "effect-queue-status/webhook/outbox"

/** The identity of a delivery. @internal */
export const keyOf = ({ endpoint, job }: Delivery): string =>
  `effect-queue-status/webhook/${encodeURIComponent(endpoint)}/${format(job)}`

const run = <A>(effect: Effect.Effect<A, PlatformError | ParseError>): Effect.Effect<A, OutboxError> =>
  Effect.mapError(effect, ({ message }) => new OutboxError({ reason: message }))

const ofStore = (store: KeyValueStore.KeyValueStore): Effect.Effect<Service, OutboxError> =>
  Effect.gen(function*() {
    const indexes = store.forSchema(Index)
    const cursors = store.forSchema(CursorFromString)
    const stored = yield* run(indexes.get(indexKey))
    const { deliveries: open, disabled: gone } = Option.getOrElse(stored, () => ({ deliveries: [], disabled: [] }))
    const deliveries = new Map(open.map((delivery) => [keyOf(delivery), delivery]))
    const disabled = new Set(gone)

    /** Writes the index: what is in memory, or will be when it is written. */
    const write = (
      next: { readonly deliveries?: Iterable<Delivery>; readonly disabled?: Iterable<string> } = {}
    ) =>
      run(indexes.set(indexKey, {
        deliveries: Array.from(next.deliveries ?? deliveries.values()),
        disabled: Array.from(next.disabled ?? disabled)
      }))
    // not every store can remove what it does not have
    const removeCursor = (key: string) => run(Effect.whenEffect(cursors.remove(key), cursors.has(key)))
    const turn = yield* Effect.makeSemaphore(1)
    const inTurn = (effect: () => Effect.Effect<unknown, OutboxError>) =>
      Effect.uninterruptible(turn.withPermits(1)(Effect.asVoid(Effect.suspend(effect))))

    const stopped = new Set<string>()

    return WebhookStore.of({
      add: (delivery) =>
        inTurn(() => {
          const key = keyOf(delivery)
          const added = Effect.sync(() => {
            deliveries.set(key, delivery)
            stopped.delete(key)
          })
          // an earlier delivery that was not removed completely has left its cursor
          return deliveries.has(key) ? added : removeCursor(key).pipe(
            Effect.zipRight(write({ deliveries: [...deliveries.values(), delivery] })),
            Effect.zipRight(added)
          )
        }),
      remove: (delivery) =>
        inTurn(() => {
          const key = keyOf(delivery)
          const others = new Map(deliveries)
          others.delete(key)
          // the index first: a delivery that remained in it without its cursor would be repeated from the beginning
          return write({ deliveries: others.values() }).pipe(
            Effect.tap(() => {
              deliveries.delete(key)
              stopped.delete(key)
            }),
            Effect.zipRight(removeCursor(key))
          )
        }),
      stop: (delivery) => Effect.sync(() => void stopped.add(keyOf(delivery))),
      hold: Effect.sync(() => Array.from(deliveries.values()).filter((delivery) => !stopped.has(keyOf(delivery)))),
      holdInterval: Option.none(),
      check: ({ endpoint }) => Effect.sync(() => disabled.has(endpoint) ? "Disabled" : "Held"),
      accepted: (delivery) => run(cursors.get(keyOf(delivery))),
      accept: (delivery, cursor) => Effect.uninterruptible(run(cursors.set(keyOf(delivery), cursor))),
      // an endpoint is disabled from here on, even if that cannot be stored
      disable: (endpoint) => Effect.zipRight(Effect.sync(() => disabled.add(endpoint)), inTurn(() => write())),
      enable: (endpoint) =>
        inTurn(() =>
          Effect.map(write({ disabled: Array.from(disabled).filter((other) => other !== endpoint) }), () => {
            disabled.delete(endpoint)
            for (const [key, delivery] of deliveries) if (delivery.endpoint === endpoint) stopped.delete(key)
          })
        )
    })
  })

/**
 * A store on a `KeyValueStore`, whose `set` must replace a value atomically.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKeyValueStore: Layer.Layer<WebhookStore, OutboxError, KeyValueStore.KeyValueStore> = Layer.effect(
  WebhookStore,
  Effect.flatMap(KeyValueStore.KeyValueStore, ofStore)
)

/**
 * A store in files, in a directory that is created if it is missing. A value is replaced atomically: a crash of the program
 * or the machine leaves the previous one or the new one. `KeyValueStore.layerFileSystem` does not guarantee that.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerFileSystem = (
  directory: string
): Layer.Layer<WebhookStore, PlatformError | OutboxError, FileSystem.FileSystem | Path.Path> =>
  Layer.effect(WebhookStore, Effect.flatMap(fileStore(directory), ofStore))

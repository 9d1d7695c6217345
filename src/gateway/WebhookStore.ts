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
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { TaggedError } from "../model/internal/taggedError.js"
import type { JobRef } from "../model/Job.js"
import type { Cursor } from "../model/Transition.js"
import { fileStore } from "../queue/internal/fileStore.js"
import { make } from "./internal/keyValueOutbox.js"

/**
 * The store of the deliveries failed, or has a value that cannot be read.
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

/**
 * A store on a `KeyValueStore`, whose `set` must replace a value atomically.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerKeyValueStore: Layer.Layer<WebhookStore, OutboxError, KeyValueStore.KeyValueStore> = Layer.effect(
  WebhookStore,
  make(({ message }) => new OutboxError({ reason: message }))
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
  Layer.provide(layerKeyValueStore, Layer.effect(KeyValueStore.KeyValueStore, fileStore(directory)))

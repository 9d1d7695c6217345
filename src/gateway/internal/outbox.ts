/**
 * What is to be delivered to which endpoint, and how far that has come.
 *
 * The index, one value, has the deliveries and the disabled endpoints. Each delivery has a value of its own with the cursor
 * of the last accepted transition.
 *
 * @internal
 */
import type { PlatformError } from "@effect/platform/Error"
import type * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ParseError } from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { format, JobRef } from "../../model/Job.js"
import * as Transition from "../../model/Transition.js"

/** The transitions of a job, for an endpoint. The public module has an interface of the same shape. @internal */
export type Delivery = typeof Delivery.Type

const Delivery = Schema.Struct({ job: JobRef, endpoint: Schema.String })

const Index = Schema.Struct({ deliveries: Schema.Array(Delivery), disabled: Schema.Array(Schema.String) })

const indexKey = "effect-queue-status/webhook/outbox"

/** The identity of a delivery. @internal */
export const keyOf = ({ endpoint, job }: Delivery): string =>
  `effect-queue-status/webhook/${encodeURIComponent(endpoint)}/${format(job)}`

/** @internal */
export interface Outbox<E> {
  readonly deliveries: () => ReadonlyArray<Delivery>
  readonly add: (delivery: Delivery) => Effect.Effect<void, E>
  readonly remove: (delivery: Delivery) => Effect.Effect<void, E>
  /** The cursor of the last accepted transition. */
  readonly accepted: (delivery: Delivery) => Effect.Effect<Option.Option<Transition.Cursor>, E>
  readonly accept: (delivery: Delivery, cursor: Transition.Cursor) => Effect.Effect<void, E>
  readonly isDisabled: (endpoint: string) => boolean
  /** Holds from the call on, even if it cannot be stored. */
  readonly disable: (endpoint: string) => Effect.Effect<void, E>
  readonly enable: (endpoint: string) => Effect.Effect<void, E>
}

/** `onError` makes the error of a store that fails, or has a value that cannot be read. @internal */
export const make = <E>(
  store: KeyValueStore.KeyValueStore,
  onError: (error: PlatformError | ParseError) => E
): Effect.Effect<Outbox<E>, E> =>
  Effect.gen(function*() {
    const indexes = store.forSchema(Index)
    const cursors = store.forSchema(Transition.CursorFromString)
    const stored = yield* Effect.mapError(indexes.get(indexKey), onError)
    const { deliveries: open, disabled: gone } = Option.getOrElse(stored, () => ({ deliveries: [], disabled: [] }))
    const deliveries = new Map(open.map((delivery) => [keyOf(delivery), delivery]))
    const disabled = new Set(gone)

    const write = Effect.suspend(() =>
      indexes.set(indexKey, { deliveries: Array.from(deliveries.values()), disabled: Array.from(disabled) })
    ).pipe(Effect.mapError(onError))
    const turn = yield* Effect.makeSemaphore(1)
    const inTurn = <A>(effect: Effect.Effect<A, E>) => Effect.uninterruptible(turn.withPermits(1)(effect))

    return {
      deliveries: () => Array.from(deliveries.values()),
      add: (delivery) =>
        inTurn(Effect.suspend(() => {
          const key = keyOf(delivery)
          if (deliveries.has(key)) return Effect.void
          deliveries.set(key, delivery)
          return Effect.onError(write, () => Effect.sync(() => deliveries.delete(key)))
        })),
      remove: (delivery) =>
        inTurn(Effect.suspend(() => {
          const key = keyOf(delivery)
          deliveries.delete(key)
          // the index first: a delivery that remained in it without its cursor would be repeated from the beginning
          return Effect.zipRight(write, Effect.mapError(cursors.remove(key), onError))
        })),
      accepted: (delivery) => Effect.mapError(cursors.get(keyOf(delivery)), onError),
      accept: (delivery, cursor) =>
        cursors.set(keyOf(delivery), cursor).pipe(Effect.mapError(onError), Effect.uninterruptible),
      isDisabled: (endpoint) => disabled.has(endpoint),
      disable: (endpoint) =>
        Effect.suspend(() => {
          disabled.add(endpoint)
          return inTurn(write)
        }),
      enable: (endpoint) =>
        Effect.suspend(() => {
          disabled.delete(endpoint)
          return inTurn(write)
        })
    }
  })

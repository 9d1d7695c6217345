/**
 * The deliveries in a `KeyValueStore`, for one process.
 *
 * The index, one value, has the deliveries and the disabled endpoints. Each delivery has a value of its own with the cursor
 * of the last accepted transition.
 *
 * @internal
 */
import type { PlatformError } from "@effect/platform/Error"
import * as KeyValueStore from "@effect/platform/KeyValueStore"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ParseError } from "effect/ParseResult"
import * as Schema from "effect/Schema"
import { format, JobRef } from "../../model/Job.js"
import * as Transition from "../../model/Transition.js"

const Delivery = Schema.Struct({ job: JobRef, endpoint: Schema.String })

type Delivery = typeof Delivery.Type

const Index = Schema.Struct({ deliveries: Schema.Array(Delivery), disabled: Schema.Array(Schema.String) })

const indexKey = "effect-queue-status/webhook/outbox"

/** The identity of a delivery. @internal */
export const keyOf = ({ endpoint, job }: Delivery): string =>
  `effect-queue-status/webhook/${encodeURIComponent(endpoint)}/${format(job)}`

/** `onError` makes the error of a store that fails, or has a value that cannot be read. @internal */
export const make = <E>(onError: (error: PlatformError | ParseError) => E) =>
  Effect.gen(function*() {
    const store = yield* KeyValueStore.KeyValueStore
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

    const stopped = new Set<string>()

    return {
      add: (delivery: Delivery) =>
        inTurn(Effect.suspend(() => {
          const key = keyOf(delivery)
          stopped.delete(key)
          if (deliveries.has(key)) return Effect.void
          deliveries.set(key, delivery)
          return Effect.onError(write, () => Effect.sync(() => deliveries.delete(key)))
        })),
      remove: (delivery: Delivery) =>
        inTurn(Effect.suspend(() => {
          const key = keyOf(delivery)
          deliveries.delete(key)
          // the index first: a delivery that remained in it without its cursor would be repeated from the beginning
          return Effect.zipRight(write, Effect.mapError(cursors.remove(key), onError))
        })),
      stop: (delivery: Delivery) => Effect.sync(() => void stopped.add(keyOf(delivery))),
      hold: Effect.sync(() => Array.from(deliveries.values()).filter((delivery) => !stopped.has(keyOf(delivery)))),
      holdInterval: Option.none(),
      check: ({ endpoint }: Delivery) => Effect.sync(() => disabled.has(endpoint) ? "Disabled" as const : "Held"),
      accepted: (delivery: Delivery) => Effect.mapError(cursors.get(keyOf(delivery)), onError),
      accept: (delivery: Delivery, cursor: Transition.Cursor) =>
        cursors.set(keyOf(delivery), cursor).pipe(Effect.mapError(onError), Effect.uninterruptible),
      // an endpoint is disabled from here on, even if that cannot be stored
      disable: (endpoint: string) =>
        Effect.suspend(() => {
          disabled.add(endpoint)
          return inTurn(write)
        }),
      enable: (endpoint: string) =>
        Effect.suspend(() => {
          disabled.delete(endpoint)
          for (const [key, delivery] of deliveries) if (delivery.endpoint === endpoint) stopped.delete(key)
          return inTurn(write)
        })
    }
  })

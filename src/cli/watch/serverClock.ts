// How far the service's clock is ahead of ours, by the `Date` of its responses.
// @effect-diagnostics nodeBuiltinImport:off
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import { subscribe, unsubscribe } from "node:diagnostics_channel"
import { parseDate } from "../../queue/internal/retryAfter.js"

export interface ServerClock {
  /** In milliseconds; 0 while it is not known to differ. */
  readonly ahead: () => number
}

// undici publishes the headers of every response here.
const channel = "undici:request:headers"

const headerOf = (headers: ReadonlyArray<Uint8Array>, name: string): string | undefined => {
  for (let i = 0; i + 1 < headers.length; i += 2) {
    if (Buffer.from(headers[i]!).toString("latin1").toLowerCase() === name) {
      return Buffer.from(headers[i + 1]!).toString("latin1")
    }
  }
  return undefined
}

/** The difference, given a `Date` that arrived now. It has whole seconds: up to one second is no difference. */
export const aheadBy = (date: string, now: number): Option.Option<number> =>
  Option.map(parseDate(date), (sentAt) => sentAt > now ? sentAt - now : Math.min(0, sentAt + 999 - now))

// The `Date` of a cached response, which has an `Age`, is an old one.
export const make: Effect.Effect<ServerClock, never, Scope.Scope> = Effect.gen(function*() {
  const clock = yield* Effect.clock
  let ahead = 0
  const note = (message: unknown) => {
    const { response: { headers } } = message as { readonly response: { readonly headers: ReadonlyArray<Uint8Array> } }
    const date = headerOf(headers, "date")
    if (date === undefined || headerOf(headers, "age") !== undefined) return
    ahead = Option.getOrElse(aheadBy(date, clock.unsafeCurrentTimeMillis()), () => ahead)
  }
  yield* Effect.acquireRelease(
    Effect.sync(() => subscribe(channel, note)),
    () => Effect.sync(() => unsubscribe(channel, note))
  )
  return { ahead: () => ahead }
})

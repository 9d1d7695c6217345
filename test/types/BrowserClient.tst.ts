import type { JobStream, QueueError, Transition } from "effect-queue-status"
import type { ErrorTag, Progressed, Transition as BrowserTransition, WatchEvent } from "effect-queue-status/browser"
import { describe, expect, test } from "tstyche"

type Encoded = typeof Transition.Transition.Encoded

type Without<A, Names extends string> = A extends unknown ? Omit<A, Names> : never

describe("BrowserClient", () => {
  test("has exactly the transitions that a gateway sends", () => {
    expect<BrowserTransition["_tag"]>().type.toBe<Encoded["_tag"]>()
    expect<Without<BrowserTransition, "id" | "snapshot">>().type.toBeAssignableFrom<Without<Encoded, "snapshot">>()
    expect<keyof Progressed>().type.toBe<"id" | keyof Extract<Encoded, { readonly _tag: "Progressed" }>>()
  })

  test("has the other events of a watch", () => {
    expect<WatchEvent["_tag"]>().type.toBe<
      JobStream.WatchEvent["_tag"] | JobStream.WatchFailed["_tag"] | "Connected" | "Disconnected"
    >()
  })

  test("has the tags of all errors", () => {
    expect<ErrorTag>().type.toBe<(QueueError.WatchError | QueueError.InvalidCursor)["_tag"] | "RouteNotFound">()
  })
})

import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/TestClock"
import { Heartbeats } from "../../../src/gateway/internal/connection.js"
import type { Output } from "../../../src/gateway/internal/output.js"
import { interruptedAnywhere } from "../../fixtures/interruptions.js"

it.effect("heartbeats end with the scope, wherever their begin was interrupted", () =>
  Effect.gen(function*() {
    const heartbeats = new Heartbeats(Duration.seconds(1))
    const written: Array<number> = []
    const outputOf = (nth: number): Output => ({ isIdle: true, room: Effect.void, write: () => void written.push(nth) })
    const scopes: Array<Scope.CloseableScope> = []
    yield* interruptedAnywhere(
      (nth) =>
        Effect.flatMap(Scope.make(), (scope) => {
          scopes.push(scope)
          return heartbeats.begin(outputOf(nth), new Uint8Array(), scope)
        }),
      () => Effect.forEach(scopes, (scope) => Scope.close(scope, Exit.void))
    )
    yield* TestClock.adjust("3 seconds")
    assert.deepStrictEqual(written, [])
  }))

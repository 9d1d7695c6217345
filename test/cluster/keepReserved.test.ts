import * as Reactivity from "@effect/experimental/Reactivity"
import * as PgClient from "@effect/sql-pg/PgClient"
import { describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import { keepReserved } from "../../src/cluster/internal/keepReserved.js"
import { hasPostgres, make } from "../fixtures/postgres.js"

describe.skipIf(!hasPostgres)("keepReserved", () => {
  it.scopedLive("an interrupted wait for the only connection of a pool does not lose it", () =>
    Effect.gen(function*() {
      const { url } = yield* make
      const client = yield* PgClient.make({ url: Redacted.make(url), maxConnections: 1 })
      const sql = keepReserved(client).withoutTransforms()
      const scope = yield* Scope.make()
      yield* Scope.extend(sql.reserve, scope)
      const waiting = yield* Effect.fork(Effect.scoped(sql.reserve))
      yield* Effect.yieldNow()
      yield* Fiber.interruptFork(waiting)
      yield* Scope.close(scope, Exit.void)
      // with a connection less it would wait for ever
      yield* Effect.timeout(sql`SELECT 1`, "1 minute")
    }).pipe(Effect.provide(Reactivity.layer)))
})

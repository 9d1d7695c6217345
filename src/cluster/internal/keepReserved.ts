import type * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"

/**
 * A client that loses no connection of its pool. `reserve` of `@effect/sql-pg` loses the one that it waits for when it is
 * interrupted, and `@effect/cluster` interrupts it after three seconds: on a machine that is overloaded for a while, a
 * runner would lose all of its connections, and never own a job again.
 *
 * @internal
 */
export const keepReserved = (sql: SqlClient.SqlClient): SqlClient.SqlClient =>
  new Proxy(sql, {
    get: (target, key) =>
      key === "reserve"
        ? Effect.uninterruptible(target.reserve)
        : key === "withoutTransforms"
        ? () => keepReserved(target.withoutTransforms())
        : Reflect.get(target, key)
  })

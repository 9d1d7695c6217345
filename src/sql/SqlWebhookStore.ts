/**
 * The deliveries of webhooks in a SQL database, for several processes: PostgreSQL, or SQLite on one machine.
 *
 * - A delivery is held by one process at a time, by a lease that it renews. No other process sends its transitions.
 * - When a process ends, others take its deliveries: at once if it released them, else when the lease has expired. They
 *   continue after the last accepted transition.
 * - The leases are measured by the clock of the database.
 *
 * A process that did not renew a lease in time, since it was suspended, may still complete the request that it was sending:
 * as after any crash, the receiver ignores the `webhook-id` that it has processed.
 *
 * @since 0.1.0
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { ParseError } from "effect/ParseResult"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { type Delivery, OutboxError, type Service, WebhookStore } from "../gateway/WebhookStore.js"
import * as Job from "../model/Job.js"
import * as Transition from "../model/Transition.js"
import { pauseOf } from "../policy/internal/pauses.js"
import { reasonOf } from "../queue/internal/response.js"

/**
 * The options of the store.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * How long after a crash of a process others wait before they take its deliveries. It renews them three times as often.
   * At least 50 milliseconds, and at most a day. Defaults to 30 seconds.
   */
  readonly lease?: Duration.DurationInput | undefined
}

/**
 * Creates the tables, `queue_status_webhooks` and `queue_status_disabled_webhooks`, if they are missing. Run it before the
 * store is used, or make it a migration of `@effect/sql`.
 *
 * @since 0.1.0
 * @category migrations
 */
export const migrate: Effect.Effect<void, SqlError, SqlClient.SqlClient> = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql.withTransaction(Effect.gen(function*() {
    // PostgreSQL refuses one of two that create the same table at the same time
    yield* sql.onDialectOrElse({
      pg: () => sql`SELECT pg_advisory_xact_lock(hashtext('queue_status_webhooks'))`,
      orElse: () => sql`SELECT 1`
    })
    yield* sql`
      CREATE TABLE IF NOT EXISTS queue_status_webhooks (
        endpoint TEXT NOT NULL,
        model TEXT NOT NULL,
        request TEXT NOT NULL,
        cursor TEXT,
        stopped INTEGER NOT NULL DEFAULT 0,
        owner TEXT,
        expires DOUBLE PRECISION,
        PRIMARY KEY (endpoint, model, request)
      )`
    yield* sql`CREATE TABLE IF NOT EXISTS queue_status_disabled_webhooks (endpoint TEXT NOT NULL PRIMARY KEY)`
  }))
}).pipe(Effect.withSpan("SqlWebhookStore.migrate"))

const run = <A>(effect: Effect.Effect<A, SqlError | ParseError>): Effect.Effect<A, OutboxError> =>
  Effect.mapError(effect, ({ cause, message }) => {
    const reason = reasonOf(cause)
    return new OutboxError({ reason: reason === undefined ? message : `${message}: ${reason}` })
  })

const execute = (effect: Effect.Effect<unknown, SqlError>) => Effect.asVoid(run(effect))

const rowsOf = <A, I>(row: Schema.Schema<A, I>) => {
  const decode = Schema.decodeUnknown(Schema.Array(row))
  return (query: Effect.Effect<ReadonlyArray<unknown>, SqlError>) => run(Effect.flatMap(query, decode))
}

const deliveryRows = rowsOf(Schema.Struct({ endpoint: Schema.String, model: Schema.String, request: Schema.String }))

const cursorRows = rowsOf(Schema.Struct({ cursor: Schema.NullOr(Transition.CursorFromString) }))

/**
 * Creates the store. Its deliveries are released when the scope is closed.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<Service, OutboxError, SqlClient.SqlClient | Scope.Scope> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const lease = Duration.millis(pauseOf(options.lease ?? "30 seconds"))
    const owner = (yield* Effect.replicateEffect(Random.nextIntBetween(0, 2 ** 32), 4)).join(".")
    const now = sql.onDialectOrElse({
      pg: () => sql`extract(epoch from clock_timestamp()) * 1000`,
      orElse: () => sql`(julianday('now') - 2440587.5) * 86400000`
    })
    // SQLite has one writer at a time
    const skipLocked = sql.onDialectOrElse({ pg: () => sql`FOR UPDATE SKIP LOCKED`, orElse: () => sql`` })
    const expiry = sql`${now} + ${Duration.toMillis(lease)}`
    const isOf = ({ endpoint, job: { model, requestId } }: Delivery) =>
      sql`endpoint = ${endpoint} AND model = ${model} AND request = ${requestId}`

    const renew = sql`
      UPDATE queue_status_webhooks SET expires = ${expiry}
      WHERE owner = ${owner}
      RETURNING endpoint, model, request`
    const take = sql`
      UPDATE queue_status_webhooks SET owner = ${owner}, expires = ${expiry}
      WHERE (endpoint, model, request) IN (
        SELECT endpoint, model, request FROM queue_status_webhooks
        WHERE stopped = 0 AND (owner IS NULL OR expires < ${now}) ${skipLocked}
      )
      RETURNING endpoint, model, request`

    // as a restart of one process with a store of its own
    yield* execute(sql`UPDATE queue_status_webhooks SET stopped = 0 WHERE stopped = 1`)
    yield* Effect.addFinalizer(() =>
      Effect.ignoreLogged(sql`UPDATE queue_status_webhooks SET owner = NULL WHERE owner = ${owner}`)
    )

    return {
      add: ({ endpoint, job: { model, requestId } }) =>
        execute(sql`
          INSERT INTO queue_status_webhooks (endpoint, model, request) VALUES (${endpoint}, ${model}, ${requestId})
          ON CONFLICT (endpoint, model, request) DO UPDATE SET stopped = 0`),
      remove: (delivery) => execute(sql`DELETE FROM queue_status_webhooks WHERE ${isOf(delivery)}`),
      stop: (delivery) =>
        execute(sql`
          UPDATE queue_status_webhooks SET stopped = 1, owner = NULL WHERE ${isOf(delivery)} AND owner = ${owner}`),
      hold: Effect.map(
        deliveryRows(Effect.zipWith(renew, take, (renewed, taken) => [...renewed, ...taken])),
        (rows) => rows.map(({ endpoint, model, request }) => ({ endpoint, job: Job.ref(model, request) }))
      ),
      holdInterval: Option.some(Duration.times(lease, 1 / 3)),
      check: (delivery) =>
        Effect.map(
          run(sql<{ readonly disabled: string | null }>`
            SELECT (
              SELECT endpoint FROM queue_status_disabled_webhooks WHERE endpoint = ${delivery.endpoint}
            ) AS disabled
            FROM queue_status_webhooks
            WHERE ${isOf(delivery)} AND owner = ${owner} AND expires > ${now}`),
          ([row]) => row === undefined ? "Lost" : row.disabled === null ? "Held" : "Disabled"
        ),
      accepted: (delivery) =>
        Effect.map(
          cursorRows(sql`SELECT cursor FROM queue_status_webhooks WHERE ${isOf(delivery)}`),
          ([row]) => Option.fromNullable(row?.cursor)
        ),
      accept: (delivery, cursor) =>
        Effect.uninterruptible(execute(sql`
          UPDATE queue_status_webhooks SET cursor = ${Transition.formatCursor(cursor)}
          WHERE ${isOf(delivery)} AND owner = ${owner}`)),
      disable: (endpoint) =>
        execute(sql`
          INSERT INTO queue_status_disabled_webhooks (endpoint) VALUES (${endpoint}) ON CONFLICT (endpoint) DO NOTHING`),
      enable: (endpoint) =>
        execute(Effect.zipRight(
          sql`DELETE FROM queue_status_disabled_webhooks WHERE endpoint = ${endpoint}`,
          sql`UPDATE queue_status_webhooks SET stopped = 0 WHERE endpoint = ${endpoint}`
        ))
    }
  })

/**
 * A layer of the store. The tables must exist: see `migrate`.
 *
 * @example
 * import { SqliteClient } from "@effect/sql-sqlite-node"
 * import { SqlWebhookStore } from "effect-queue-status/sql"
 * import { Effect, Layer } from "effect"
 *
 * const StoreLive = SqlWebhookStore.layer().pipe(
 *   Layer.provide(Layer.effectDiscard(SqlWebhookStore.migrate)),
 *   Layer.provide(SqliteClient.layer({ filename: "webhooks.db" }))
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<WebhookStore, OutboxError, SqlClient.SqlClient> =>
  Layer.scoped(WebhookStore, make(options))

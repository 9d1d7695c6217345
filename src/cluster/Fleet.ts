/**
 * The clusters that a `ClusterWatcher` and durable workflows run on: one process with SQLite, or a fleet of runners with
 * PostgreSQL. Each is a layer of `Sharding` over a `SqlClient`. For tests there is `TestRunner.layer` of `@effect/cluster`.
 *
 * @since 0.1.0
 */
import * as MachineId from "@effect/cluster/MachineId"
import type * as MessageStorage from "@effect/cluster/MessageStorage"
import * as RunnerAddress from "@effect/cluster/RunnerAddress"
import * as RunnerHealth from "@effect/cluster/RunnerHealth"
import * as Runners from "@effect/cluster/Runners"
import * as RunnerStorage from "@effect/cluster/RunnerStorage"
import * as Sharding from "@effect/cluster/Sharding"
import * as ShardingConfig from "@effect/cluster/ShardingConfig"
import * as Snowflake from "@effect/cluster/Snowflake"
import * as SocketRunner from "@effect/cluster/SocketRunner"
import * as SqlMessageStorage from "@effect/cluster/SqlMessageStorage"
import * as SqlRunnerStorage from "@effect/cluster/SqlRunnerStorage"
import * as NodeClusterSocket from "@effect/platform-node/NodeClusterSocket"
import type { SocketServerError } from "@effect/platform/SocketServer"
import * as RpcSerialization from "@effect/rpc/RpcSerialization"
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { dateOf, monotonic } from "../model/internal/time.js"
import { waitsType } from "./internal/entity.js"
import { keepReserved } from "./internal/keepReserved.js"
import { unshared } from "./internal/unshared.js"

/**
 * The services of a cluster: what `ClusterWatcher` and `ClusterWorkflowEngine` need.
 *
 * @since 0.1.0
 * @category models
 */
export type Cluster = Sharding.Sharding | Runners.Runners | MessageStorage.MessageStorage

/**
 * The settings of a fleet. With them, the jobs of a runner that was killed move within 8 to 11 seconds, those of a runner
 * that stops within about one.
 *
 * - Locks of shards are leases. Advisory locks of PostgreSQL, the default of `@effect/cluster`, stay with a process that hangs
 *   or whose host is lost, for hours.
 * - A lease lasts 10 seconds. Under 5 seconds, shards change their runner when a machine is merely busy.
 * - There are 64 shards, not 300: each is released by a statement of its own, over one connection. On an overloaded machine
 *   these statements exceed their time limit of three seconds, and cancel each other.
 * - Runners check each other every 5 seconds, and read the list of runners every second.
 * - Messages that were stored for a runner, as those of workflows are, are read every 2 seconds.
 * - A runner that stops waits one second for its open requests, not 15: a request that ends early is sent again.
 * - A message without a known receiver is sent again every 250 milliseconds.
 * - Messages to the own process are not encoded.
 *
 * @since 0.1.0
 * @category constants
 */
export const fleetConfig = {
  shardsPerGroup: 64,
  shardLockDisableAdvisory: true,
  shardLockExpiration: "10 seconds",
  shardLockRefreshInterval: "3 seconds",
  runnerHealthCheckInterval: "5 seconds",
  refreshAssignmentsInterval: "1 second",
  entityMessagePollInterval: "2 seconds",
  entityTerminationTimeout: "1 second",
  sendRetryInterval: "250 millis",
  simulateRemoteSerialization: false
} satisfies Partial<ShardingConfig.ShardingConfig["Type"]>

/**
 * An address that other processes reach this one at.
 *
 * @since 0.1.0
 * @category models
 */
export interface Address {
  /** The host name or IP address. */
  readonly host: string
  /** The TCP port, from 1 to 65535. Messages between runners are neither encrypted nor authenticated: keep it in a private network. */
  readonly port: number
}

/**
 * The options of a runner.
 *
 * @since 0.1.0
 * @category models
 */
export interface RunnerOptions extends Address {
  /** Where to listen, if that is not the address itself: `{ host: "0.0.0.0", port: 34431 }`. */
  readonly listen?: Address | undefined
}

const addressOf = (address: Address | undefined) =>
  Option.map(Option.fromNullable(address), ({ host, port }) => {
    // Node would throw, and the other runners could not reach it
    if (!(Number.isInteger(port) && port > 0 && port <= 65_535)) {
      throw new RangeError(`Fleet: ${port} is not a port, from 1 to 65535`)
    }
    return RunnerAddress.make(host, port)
  })

// not from the environment, as the layers of `@effect/cluster`: the PORT of a web server would become that of the runner
const config = (options?: RunnerOptions) =>
  ShardingConfig.layer({
    ...fleetConfig,
    runnerAddress: addressOf(options),
    runnerListenAddress: addressOf(options?.listen)
  })

const storageLayers = Layer.merge(
  SqlMessageStorage.layer,
  Layer.provide(
    SqlRunnerStorage.layer,
    Layer.effect(SqlClient.SqlClient, Effect.map(SqlClient.SqlClient, keepReserved))
  )
)

/**
 * Creates the tables of a cluster: two for messages, two for runners, one for migrations.
 *
 * The layers of this module do the same. To run it before is for runners whose database user may not create tables. Several
 * processes may run it at once.
 *
 * @since 0.1.0
 * @category migrations
 */
export const migrate: Effect.Effect<void, SqlError, SqlClient.SqlClient> = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  // the migrations of `@effect/cluster` fail if another process runs them for the first time
  yield* sql.onDialectOrElse({
    pg: () =>
      Effect.gen(function*() {
        const connection = yield* sql.reserve
        const call = (name: string) =>
          connection.executeRaw(`SELECT ${name}(hashtext('effect-queue-status/migrate'))`, [])
        yield* Effect.acquireRelease(call("pg_advisory_lock"), () => Effect.ignore(call("pg_advisory_unlock")))
      }),
    orElse: () => Effect.void
  })
  yield* Layer.build(Layer.provide(storageLayers, config()))
}).pipe(Effect.scoped, Effect.withSpan("Fleet.migrate"))

const storage = Layer.unwrapEffect(Effect.as(migrate, storageLayers))

// the entity type of the clocks of workflows
const clockType = "Workflow/-/DurableClock"

/**
 * Deletes what is stored of workflows that ended longer ago than `olderThan`: their messages, and the replies to these.
 * Workflows that run or are suspended are not touched, nor is one that was started by another workflow whose messages are
 * still stored: that one may ask for its result again.
 *
 * A workflow that is executed again with the same key after its purge runs again. So `olderThan` must exceed the time in
 * which your callers repeat a call, and the life of any workflow that executes one which another has started.
 *
 * @since 0.1.0
 * @category retention
 */
export const purge = Effect.fn("Fleet.purge")(function*(
  options: {
    /** The age of the end of a workflow, by the clocks of the runners. */
    readonly olderThan: Duration.DurationInput
  }
) {
  const sql = yield* SqlClient.SqlClient
  // the identifier of a reply begins with the time when it was made
  const clock = yield* Effect.clock
  const now = dateOf(clock, monotonic(clock)).epochMillis
  const timestamp = Math.max(0, Math.floor(now - Duration.toMillis(options.olderThan)))
  const before = sql.literal(String(Snowflake.make({ machineId: MachineId.make(0), sequence: 0, timestamp })))
  const parent = sql.literal(sql.onDialectOrElse({
    // as `json`, PostgreSQL refuses each payload with an escaped NUL or half a surrogate pair
    pg: () => `substring(m.payload FROM '"~@effect/workflow/parent":.*?"executionId":"([^"]*)"')`,
    orElse: () => "m.payload -> '~@effect/workflow/parent' ->> 'executionId'"
  }))
  yield* sql`
    DELETE FROM cluster_messages
    WHERE (entity_type = ${waitsType} AND last_reply_id < ${before})
    OR (entity_type, entity_id) IN (
      SELECT m.entity_type, m.entity_id FROM cluster_messages m
      JOIN cluster_replies r ON r.id = m.last_reply_id
      WHERE m.entity_type LIKE 'Workflow/%' AND m.tag = 'run' AND r.id < ${before}
      AND r.payload LIKE '{"_tag":"Success","value":{"_tag":"Complete"%'
      AND NOT EXISTS (
        SELECT 1 FROM cluster_messages parent WHERE parent.entity_type LIKE 'Workflow/%' AND parent.tag = 'run'
        AND parent.entity_id = (${parent})
      )
    )
  `
  // workflows of several names may have one identifier: the clocks of all have the same address
  yield* sql`
    DELETE FROM cluster_messages
    WHERE entity_type = ${clockType} AND NOT EXISTS (
      SELECT 1 FROM cluster_messages m WHERE m.entity_type LIKE 'Workflow/%' AND m.entity_type <> ${clockType}
      AND m.tag = 'run' AND m.entity_id = cluster_messages.entity_id
    )
  `
  yield* sql`
    DELETE FROM cluster_replies
    WHERE id < ${before} AND NOT EXISTS (SELECT 1 FROM cluster_messages m WHERE m.id = cluster_replies.request_id)
  `
})

// outputs of jobs may be large; the queue's client bounds them
const serialization = RpcSerialization.layerMsgPackWith({ maxBufferSize: "unbounded" })

/**
 * A runner of a fleet, which shares a PostgreSQL database with the others. Provide `PgClient.layer` of `@effect/sql-pg`.
 *
 * @example
 * import { ClusterWatcher, Fleet } from "effect-queue-status/cluster"
 * import { NodeJobQueue } from "effect-queue-status/node"
 * import { PgClient } from "@effect/sql-pg"
 * import { Config, Layer } from "effect"
 *
 * const WatcherLive = ClusterWatcher.layer({ pollsPerSecond: 100 }).pipe(
 *   Layer.provide(NodeJobQueue.layer()),
 *   Layer.provide(Fleet.layer({ host: "10.0.0.7", port: 34431 })),
 *   Layer.provide(PgClient.layerConfig({ url: Config.redacted("DATABASE_URL") }))
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: RunnerOptions
): Layer.Layer<Cluster, SqlError | SocketServerError, SqlClient.SqlClient> =>
  unshared(SocketRunner.layer.pipe(
    Layer.provide(NodeClusterSocket.layerSocketServer),
    Layer.provide(RunnerHealth.layerPing.pipe(Layer.provide(Runners.layerRpc))),
    Layer.provide(NodeClusterSocket.layerClientProtocol),
    Layer.provideMerge(storage),
    Layer.provide(config(options)),
    Layer.provide(serialization)
  ))

/**
 * A process that sends messages to the runners of a fleet, and is none. It needs the same database.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerClient: Layer.Layer<Cluster, SqlError, SqlClient.SqlClient> = SocketRunner.layerClientOnly.pipe(
  Layer.provide(NodeClusterSocket.layerClientProtocol),
  Layer.provideMerge(storage),
  Layer.provide(config()),
  Layer.provide(serialization)
)

// SQLite holds the lock of a connection in exclusive mode from its first write on, and frees it if the process dies
const lockDatabase = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`PRAGMA locking_mode = EXCLUSIVE`
  yield* sql`CREATE TABLE IF NOT EXISTS cluster_process (id INTEGER PRIMARY KEY)`
  yield* sql`INSERT OR REPLACE INTO cluster_process (id) VALUES (1)`
})

/**
 * A cluster of one process, whose messages survive it in a SQLite file: for durable workflows on one machine. Provide
 * `SqliteClient.layer` of `@effect/sql-sqlite-node`.
 *
 * The file is for this process alone: another one that opens it fails with "database is locked".
 *
 * @since 0.1.0
 * @category layers
 */
export const layerSingle: Layer.Layer<Cluster, SqlError, SqlClient.SqlClient> = Layer.unwrapEffect(Effect.as(
  lockDatabase,
  Sharding.layer.pipe(
    Layer.provideMerge(Runners.layerNoop),
    Layer.provideMerge(SqlMessageStorage.layer),
    Layer.provide([RunnerStorage.layerMemory, RunnerHealth.layerNoop]),
    Layer.provide(ShardingConfig.layer(fleetConfig))
  )
))

/**
 * The messages between the processes of a fleet.
 */
import * as ClusterSchema from "@effect/cluster/ClusterSchema"
import * as Entity from "@effect/cluster/Entity"
import * as EntityId from "@effect/cluster/EntityId"
import type { Sharding } from "@effect/cluster/Sharding"
import * as Rpc from "@effect/rpc/Rpc"
import * as Arr from "effect/Array"
import * as Hash from "effect/Hash"
import * as Schema from "effect/Schema"
import { keyOf } from "../../model/internal/jobKey.js"
import { JobRefFromString, JobStatus } from "../../model/Job.js"
import type { JobRef } from "../../model/Job.js"
import { QueueError, RateLimited } from "../../model/QueueError.js"

/** The runner no longer owns the job: another one answers. @internal */
export class Moved extends Schema.TaggedError<Moved>("effect-queue-status.Moved")("Moved", {}) {}

/**
 * A bucket of jobs. An entity takes about 60 kB, so a job is not an entity of its own. Nothing is persisted: a request that
 * is lost is sent again, and what a runner knows of a job is read again by the next one.
 *
 * @internal
 */
export const Bucket = Entity.make("effect-queue-status/Bucket", [
  Rpc.make("Status", {
    payload: { job: JobRefFromString },
    success: JobStatus,
    error: Schema.Union(QueueError, Moved)
  }),
  /** The service answered a runner with 429. */
  Rpc.make("Pause", { payload: { error: RateLimited } })
]).annotate(ClusterSchema.ClientTracingEnabled, false)

/** The names of all buckets. All processes of a fleet must agree on their number. @internal */
export const buckets = Arr.makeBy(256, (i) => EntityId.make(String(i)))

/** The buckets that this process owns. @internal */
export const ownedBuckets = (sharding: Sharding["Type"]): ReadonlyArray<string> =>
  buckets.filter((bucket) => sharding.hasShardId(sharding.getShardId(bucket, "default")))

/** The name of the bucket that has the job. @internal */
export const bucketOf = (job: JobRef): string => String(Math.abs(Hash.string(keyOf(job)) % buckets.length))

/** The entity type of the waits of suspended workflows. @internal */
export const waitsType = "effect-queue-status/Waits"

/**
 * Watches jobs as a fleet of processes, on `@effect/cluster`: each job is polled by one runner, and any process of the fleet
 * may watch it.
 *
 * The layers provide the same `JobWatcher` as a watcher that polls the remote service: programs do not change. Deadlines,
 * retries and cadences are those of the program; each of its polls is a short message to the runner that owns the job, which
 * answers from its own poller. The cadence and the retries of that poller are those of `WatchPolicy.Default` on the runner.
 *
 * - A job is polled while requests for it arrive, and for 30 seconds after the last.
 * - All runners share one budget (`pollsPerSecond` is that of the fleet), and the pause after a 429.
 * - If a runner stops or dies, others take over its jobs. A stream continues from its cursor: no step is lost or repeated.
 *
 * Nothing about a job is stored: `JobStream` derives its steps from a cursor and a snapshot.
 *
 * @since 0.1.0
 */
import { Sharding } from "@effect/cluster/Sharding"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type { JobRef, JobStatus } from "../model/Job.js"
import { isQueueError, Unreachable } from "../model/QueueError.js"
import type { QueueError } from "../model/QueueError.js"
import { statusOnly } from "../queue/internal/statusOnly.js"
import type { JobQueue } from "../queue/JobQueue.js"
import * as PollingWatcher from "../watch/internal/pollingWatcher.js"
import * as JobWatcher from "../watch/JobWatcher.js"
import { Bucket, bucketOf, buckets, Moved, ownedBuckets } from "./internal/entity.js"
import { makeRunner } from "./internal/runner.js"
import { unshared } from "./internal/unshared.js"

/**
 * The runner of a process: polls the jobs that it owns for the fleet.
 *
 * All runners must have the same options. `pollsPerSecond` is the budget of the fleet: each runner has the part of it that it
 * has of the shards.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerRunner = (
  options: JobWatcher.Options = {}
): Layer.Layer<never, never, JobQueue | Sharding> =>
  Layer.unwrapScoped(
    Effect.map(makeRunner(options), (handlers) =>
      Bucket.toLayer(handlers, { concurrency: "unbounded", mailboxCapacity: "unbounded" }))
  )

// the runners have the budget of the remote service: this one bounds the messages to them
const clientOptions: JobWatcher.Options = { pollsPerSecond: 10_000, concurrency: 1_024, queueOrder: "never" }

// a request waits for the first poll of its job; then it is sent again, to the same runner or the next
const maxWait = Duration.seconds(5)

// the pauses between requests for a job that moves
const firstPause = Duration.millis(100)
const longestPause = Duration.seconds(1)

/**
 * A watcher that asks the runners of the fleet, for a process with or without a runner of its own.
 *
 * For a deadline with `cancel-pending`, provide a `JobQueue` as well; otherwise the error of the deadline reports that the
 * job could not be canceled.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerClient: Layer.Layer<JobWatcher.JobWatcher, never, Sharding> = Layer.scoped(
  JobWatcher.JobWatcher,
  Effect.gen(function*() {
    const client = yield* Bucket.client
    const ask = (job: JobRef): Effect.Effect<JobStatus, QueueError | Moved> =>
      client(bucketOf(job)).Status({ job }).pipe(
        // a runner that hangs must not hold a request when another one has its jobs
        Effect.disconnect,
        Effect.timeoutOption(maxWait),
        Effect.catchAllCause((cause): Effect.Effect<never, QueueError | Moved> => {
          const error = Option.getOrUndefined(Cause.failureOption(cause))
          if (isQueueError(error)) return Effect.fail(error)
          // this fiber goes on: an interruption is that of a runner which stops
          if (error?._tag === "Moved" || Cause.isInterrupted(cause)) return Effect.fail(new Moved())
          const reason = Cause.pretty(cause).split("\n", 1)[0] ?? ""
          return Effect.fail(new Unreachable({ operation: "status", model: job.model, job, reason }))
        }),
        Effect.flatMap(Option.match({ onNone: () => ask(job), onSome: Effect.succeed }))
      )
    const status = (pause: Duration.Duration) => (job: JobRef): Effect.Effect<JobStatus, QueueError> =>
      Effect.catchTag(
        ask(job),
        "Moved",
        () => Effect.delay(status(Duration.min(Duration.times(pause, 2), longestPause))(job), pause)
      )
    return yield* PollingWatcher.make(yield* statusOnly("a fleet", status(firstPause)), clientOptions)
  })
)

/**
 * A runner, and a watcher that asks the fleet.
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (
  options: JobWatcher.Options = {}
): Layer.Layer<JobWatcher.JobWatcher, never, JobQueue | Sharding> =>
  Layer.merge(unshared(layerClient), layerRunner(options))

/**
 * The part of all jobs that this process owns, from 0 to 1. All runners together own 1, or less while jobs move.
 *
 * @since 0.1.0
 * @category accessors
 */
export const share: Effect.Effect<number, never, Sharding> = Effect.map(
  Sharding,
  (sharding) => ownedBuckets(sharding).length / buckets.length
)

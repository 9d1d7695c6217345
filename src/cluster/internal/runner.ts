/**
 * The jobs that a runner polls for the fleet: those of its buckets, while requests for them arrive.
 */
import { Sharding } from "@effect/cluster/Sharding"
import * as Cause from "effect/Cause"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { keyOf } from "../../model/internal/jobKey.js"
import { monotonic } from "../../model/internal/time.js"
import type { JobRef, JobStatus } from "../../model/Job.js"
import { isQueueError, RateLimited, UnexpectedResponse, Unreachable } from "../../model/QueueError.js"
import type { QueueError, WatchError } from "../../model/QueueError.js"
import * as Deadline from "../../policy/Deadline.js"
import { Default } from "../../policy/WatchPolicy.js"
import { logDefects } from "../../queue/internal/defects.js"
import { forkScoped } from "../../queue/internal/fiber.js"
import { JobQueue } from "../../queue/JobQueue.js"
import * as PollingWatcher from "../../watch/internal/pollingWatcher.js"
import type * as JobWatcher from "../../watch/JobWatcher.js"
import { Bucket, bucketOf, buckets, Moved, ownedBuckets } from "./entity.js"

/** How long a job is polled after the last request for it, in milliseconds. */
const lease = 30_000

const sweepInterval = Duration.seconds(10)

/** After a move, the old runner polls a job for no longer. */
const ownershipInterval = Duration.millis(100)

const monotonicNow = Effect.map(Effect.clock, monotonic)

type Answer = Effect.Effect<JobStatus, QueueError | Moved>

const moved: Answer = Effect.fail(new Moved())

interface Watched {
  readonly job: JobRef
  askedAt: number
  /** What came last. Requests wait for it until then. */
  answer: Answer
  readonly hasAnswer: Effect.Latch
}

const answerOf = (job: JobRef, cause: Cause.Cause<WatchError>): Answer => {
  const error = Option.getOrUndefined(Cause.failureOption(cause))
  if (error === undefined) {
    if (Cause.isInterruptedOnly(cause)) return moved
    // a defect of the handler would restart the bucket
    const reason = `the runner failed: ${Cause.pretty(cause).split("\n", 1)[0]}`
    return Effect.fail(new Unreachable({ operation: "status", model: job.model, job, reason }))
  }
  if (error._tag === "UnrecognizedStatus") return Effect.succeed(error.snapshot) // each subscriber has its own policy
  if (isQueueError(error)) return Effect.fail(error)
  const issue = { httpStatus: 200, issue: error.message, body: "" }
  return Effect.fail(new UnexpectedResponse({ operation: "status", model: job.model, job, ...issue }))
}

// an answer has the first line alone
const logged = logDefects("A watch of the runner")

/** The handlers of a runner. @internal */
export const makeRunner = (options: JobWatcher.Options) =>
  Effect.gen(function*() {
    const sharding = yield* Sharding
    const client = yield* Bucket.client
    let owned: ReadonlySet<string> = new Set()
    const watched = new Map<string, Watched>()

    // each runner has the part of the budget that it has of the buckets: together no more than the whole. Never none,
    // which would be an endless pause
    const watcher = yield* PollingWatcher.make(
      yield* JobQueue,
      options,
      () => Math.max(1, owned.size) / buckets.length
    )
    const policy = yield* Default
    const subscription = yield* watcher.subscribe({
      policy: { ...policy, deadline: Deadline.request(policy.deadline.request), unrecognized: "fail" },
      wants: "changes"
    })

    const setAnswer = (entry: Watched, answer: Answer): Effect.Effect<void> => {
      entry.answer = answer
      return Effect.asVoid(entry.hasAnswer.open)
    }

    const drop = (isDropped: (entry: Watched) => boolean): Effect.Effect<void> =>
      Effect.forEach(
        Array.from(watched).filter(([, entry]) => isDropped(entry)),
        ([key, entry]) =>
          // both at once: a request between them would add the job to a subscription that still has it
          Effect.suspend(() => {
            watched.delete(key)
            return Effect.zipRight(setAnswer(entry, moved), subscription.remove(entry.job))
          }),
        { concurrency: "unbounded", discard: true }
      )

    const checkOwnership = Effect.suspend(() => {
      const now = new Set(ownedBuckets(sharding))
      const isLost = Array.from(owned).some((bucket) => !now.has(bucket))
      owned = now
      return isLost ? drop(({ job }) => !now.has(bucketOf(job))) : Effect.void
    })

    const dropUnasked = Effect.flatMap(monotonicNow, (now) => drop(({ askedAt }) => now - askedAt > lease))

    const onNotice = ({ watch: { job }, ...notice }: JobWatcher.Notice): Effect.Effect<void> => {
      const entry = watched.get(keyOf(job))
      if (entry === undefined) return Effect.void
      switch (notice._tag) {
        case "Sample":
          return setAnswer(entry, Effect.succeed(notice.status))
        case "Trouble":
          return setAnswer(entry, Effect.fail(notice.error))
        case "Recovered": // a sample follows
          return Effect.void
        case "Ended":
          if (Exit.isSuccess(notice.exit)) return Effect.void // the last snapshot is kept like any other
          watched.delete(keyOf(job))
          return Effect.zipRight(logged(notice.exit.cause), setAnswer(entry, answerOf(job, notice.exit.cause)))
      }
    }

    const status = (job: JobRef): Answer =>
      Effect.uninterruptibleMask((restore) =>
        Effect.flatMap(monotonicNow, (now) => {
          if (!owned.has(bucketOf(job))) return moved
          const known = watched.get(keyOf(job))
          const entry = known ?? { job, askedAt: now, answer: moved, hasAnswer: Effect.unsafeMakeLatch() }
          entry.askedAt = now
          const answer = restore(entry.hasAnswer.whenOpen(Effect.suspend(() => entry.answer)))
          if (known !== undefined) return answer
          // an entry that the subscription does not have would never be answered
          watched.set(keyOf(job), entry)
          return Effect.zipRight(subscription.add(job), answer)
        })
      )

    const received = new WeakSet<RateLimited>()

    const onPollingEvent = (event: JobWatcher.PollingEvent): Effect.Effect<void> => {
      if (event._tag !== "PollingPaused" || received.has(event.error)) return Effect.void
      const error = new RateLimited({ ...event.error, retryAfter: DateTime.distanceDuration(event.at, event.until) })
      const announce = (bucket: string) =>
        owned.has(bucket) ? Effect.void : client(bucket).Pause({ error }, { discard: true })
      return Effect.forEach(buckets, announce, { concurrency: 16, discard: true }).pipe(
        Effect.timeout("5 seconds"),
        Effect.catchAllCause((cause) => Effect.logDebug("A runner did not receive a pause", cause))
      )
    }

    yield* checkOwnership
    yield* forkScoped(Effect.repeat(checkOwnership, Schedule.spaced(ownershipInterval)))
    yield* forkScoped(Effect.repeat(dropUnasked, Schedule.spaced(sweepInterval)))
    yield* forkScoped(
      Effect.forever(Effect.flatMap(subscription.next, Effect.forEach(onNotice, { discard: true })))
    )
    yield* forkScoped(Stream.runForEach(watcher.pollingEvents, onPollingEvent))
    return Bucket.of({
      Status: ({ payload }) => status(payload.job),
      Pause: ({ payload: { error } }) => {
        received.add(error)
        return watcher.pause(error)
      }
    })
  })

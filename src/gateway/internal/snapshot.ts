/**
 * What the shared poller knows of a job.
 *
 * @internal
 */
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import { format } from "../../model/Job.js"
import type { JobStatus } from "../../model/Job.js"
import type { WatchError } from "../../model/QueueError.js"
import { derive } from "../../model/Transition.js"
import * as Deadline from "../../policy/Deadline.js"
import { Default } from "../../policy/WatchPolicy.js"
import { JobWatcher } from "../../watch/JobWatcher.js"
import type { Notice } from "../../watch/JobWatcher.js"
import type { Known } from "./request.js"

/** A snapshot, and when it arrived. */
interface Snapshot {
  readonly status: JobStatus
  readonly at: DateTime.Utc
}

/**
 * Watches a job until `select` returns an effect for one of its notices. Of the deadlines only that of a request applies: to
 * look at a job must not cancel it.
 */
const watchUntil = <A>(
  { from, job }: Known,
  select: (notice: Extract<Notice, { readonly _tag: "Sample" | "Trouble" }>) => Effect.Effect<A, WatchError> | undefined
): Effect.Effect<A, WatchError, JobWatcher> =>
  Effect.scoped(Effect.gen(function*() {
    const policy = yield* Default
    const subscription = yield* (yield* JobWatcher).subscribe({
      policy: { ...policy, deadline: Deadline.request(policy.deadline.request), unrecognized: "fail" },
      wants: "polls"
    })
    yield* subscription.add(job, from)
    while (true) {
      for (const notice of yield* subscription.next) {
        if (notice._tag === "Ended") {
          yield* notice.exit
          return yield* Effect.dieMessage(`the watcher ended ${format(job)} without a terminal snapshot`)
        }
        const selected = notice._tag === "Recovered" ? undefined : select(notice)
        if (selected !== undefined) return yield* selected
      }
    }
  }))

const hasNews = ({ from }: Known, { at, status }: Snapshot): boolean =>
  from === undefined || Either.match(derive(Option.some(from), status, { observedAt: at, unrecognized: "end" }), {
    onLeft: () => true,
    onRight: ({ transitions }) => transitions.length > 0
  })

/**
 * Returns the latest snapshot if it has news for the client; otherwise waits for one that has. Without a `wait` the first
 * poll decides.
 *
 * @internal
 */
export const latest = (
  known: Known,
  wait: Duration.Duration
): Effect.Effect<Option.Option<Snapshot>, WatchError, JobWatcher> =>
  Effect.suspend(() => {
    const isWaiting = Duration.greaterThan(wait, Duration.zero)
    let trouble: WatchError | undefined
    const snapshot = watchUntil(known, (notice): Effect.Effect<Option.Option<Snapshot>, WatchError> | undefined => {
      if (notice._tag === "Trouble") {
        trouble = notice.error
        return isWaiting ? undefined : Effect.fail(trouble)
      }
      trouble = undefined
      return hasNews(known, notice) ? Effect.succeedSome(notice) : isWaiting ? undefined : Effect.succeedNone
    }).pipe(
      // it is for the client to decide what an unknown state means
      Effect.catchTag("UnrecognizedStatus", ({ snapshot }) =>
        Effect.map(DateTime.now, (at) => Option.some({ status: snapshot, at })))
    )
    return isWaiting
      ? Effect.flatten(Effect.timeoutTo(snapshot, {
        duration: wait,
        onSuccess: Effect.succeed<Option.Option<Snapshot>>,
        onTimeout: () =>
          trouble === undefined ? Effect.succeedNone : Effect.fail(trouble)
      }))
      : snapshot
  })

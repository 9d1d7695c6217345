/** What the shared poller knows of a job. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import type { WatchError } from "../../model/QueueError.js"
import { derive } from "../../model/Transition.js"
import * as Deadline from "../../policy/Deadline.js"
import { Default } from "../../policy/WatchPolicy.js"
import type { Sample } from "../../watch/internal/notice.js"
import { type Reading, untilSome } from "../../watch/internal/reader.js"
import type { Known } from "../../watch/JobStream.js"
import type { JobWatcher } from "../../watch/JobWatcher.js"

const hasNews = ({ from }: Known, { at, status }: Sample): boolean =>
  from === undefined || Either.match(derive(Option.some(from), status, { observedAt: at, unrecognized: "end" }), {
    onLeft: () => true,
    onRight: ({ transitions }) => transitions.length > 0
  })

const maxWait = Duration.minutes(1)

/**
 * Returns the latest snapshot if it has news for the client; otherwise waits for one that has, a minute at most. Without a
 * `wait` the first poll decides. Of the deadlines only that of a request applies: to look at a job must not cancel it.
 *
 * @internal
 */
export const latest = (
  known: Known,
  wait: Duration.Duration
): Effect.Effect<Option.Option<Sample>, WatchError, JobWatcher> =>
  Effect.flatMap(Default, ({ deadline }) => {
    const { from, job } = known
    const isWaiting = Duration.greaterThan(wait, Duration.zero)
    let trouble: WatchError | undefined
    const reading: Reading<Option.Option<Sample>> = {
      job,
      // it is for the client to decide what an unknown state means
      options: { from, deadline: Deadline.request(deadline.request), unrecognized: "end" },
      wants: "polls",
      select: (notice) => {
        trouble = notice._tag === "Trouble" ? notice.error : undefined
        if (notice._tag === "Sample" && hasNews(known, notice)) return Either.right([Option.some(notice)])
        if (isWaiting) return Either.right([])
        return trouble === undefined ? Either.right([Option.none()]) : Either.left(trouble)
      }
    }
    // a watch that begins at the end of the job has nothing
    const snapshot = untilSome(reading, ([snapshot = Option.none()]) => Effect.succeed(snapshot))
    return isWaiting
      ? Effect.flatten(Effect.timeoutTo(snapshot, {
        duration: Duration.min(wait, maxWait),
        onSuccess: Effect.succeed<Option.Option<Sample>>,
        onTimeout: () => trouble === undefined ? Effect.succeedNone : Effect.fail(trouble)
      }))
      : snapshot
  })

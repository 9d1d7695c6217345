/** What a watcher knows about the jobs of a model, without a request. */
import type * as Job from "../../model/Job.js"
import type { Deadlines } from "./deadlines.js"
import type { Executor } from "./executor.js"
import type { Inspection } from "./notice.js"
import type { Outcome } from "./poller.js"
import type { PollPlan } from "./pollPlan.js"
import type { Retention } from "./retention.js"

/** @internal */
export const inspect = (
  model: string,
  plan: PollPlan,
  deadlines: Deadlines,
  outcomes: Retention<Outcome>,
  executor: Executor
): Inspection => {
  const { now } = executor
  const dated = ({ at, status }: { readonly at: number; readonly status: Job.JobStatus | undefined }) =>
    status && { status, at: executor.dateOf(at) }
  return {
    jobs: Array.from(plan.ofModel(model), (poller) => {
      const { cursor, job, trouble } = poller
      const deadline = deadlines.of(poller)
      return {
        job,
        last: dated(poller),
        cursor,
        unchangedSince: executor.dateOf(poller.unchangedSince),
        trouble: trouble && {
          error: trouble.error,
          at: executor.dateOf(trouble.at),
          since: executor.dateOf(trouble.since),
          nextTryAt: executor.dateOf(plan.retryAt(poller))
        },
        deadline: deadline === Infinity ? undefined : executor.dateOf(deadline)
      }
    }),
    ended: outcomes.all(now).filter(({ job }) => job.model === model).flatMap((outcome) => dated(outcome) ?? []),
    pause: plan.pausedUntil > now
      ? { at: executor.dateOf(plan.last429At), until: executor.dateOf(plan.pausedUntil) }
      : undefined
  }
}

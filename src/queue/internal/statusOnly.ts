import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { JobRef } from "../../model/Job.js"
import { InvalidRequest } from "../../model/QueueError.js"
import { JobQueue, type Service } from "../JobQueue.js"
import { clockAheadOf } from "./hidden.js"

/**
 * The calls of a watcher whose `server` has the status of jobs alone. A cancel goes to the `JobQueue` of the program, and
 * fails without one.
 *
 * @internal
 */
export const statusOnly = (server: string, status: Service["status"]) =>
  Effect.map(Effect.serviceOption(JobQueue), (queue) => ({
    status,
    cancel: (job: JobRef) =>
      Option.isSome(queue) ? queue.value.cancel(job) : Effect.fail(
        new InvalidRequest({
          operation: "cancel",
          model: job.model,
          job,
          detail: `${server} serves the status of jobs alone: provide a JobQueue`
        })
      ),
    clockAhead: Option.getOrUndefined(Option.map(queue, clockAheadOf))
  }))

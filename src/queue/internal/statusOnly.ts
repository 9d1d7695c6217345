import * as Effect from "effect/Effect"
import type { JobRef } from "../../model/Job.js"
import { InvalidRequest, type Operation } from "../../model/QueueError.js"
import type { Service } from "../JobQueue.js"

/**
 * The other operations of a queue that has the status of jobs alone: each fails. `server` is what the status comes from.
 *
 * @internal
 */
export const statusOnly = (server: string): Omit<Service, "status"> => {
  const fail = (operation: Operation, model: string, job?: JobRef) =>
    Effect.fail(
      new InvalidRequest({
        operation,
        model,
        ...(job !== undefined && { job }),
        detail: `${server} serves the status of jobs alone: provide a JobQueue`
      })
    )
  return {
    submit: ({ model }) => fail("submit", model),
    cancel: (job) => fail("cancel", job.model, job),
    clear: (model) => fail("clear", model),
    metrics: (model) => fail("metrics", model)
  }
}

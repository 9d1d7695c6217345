/**
 * The responses of the queue over HTTP. The emulator sends them, and the queue in memory uses them for calls that a fault
 * affects.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Job from "../../model/Job.js"
import * as QueueWire from "../../queue/internal/wire.js"
import type { Respond } from "./fault.js"
import type { SimulatedQueue } from "./simulatedQueue.js"
import { jsonResponse, noSuchJob } from "./wireResponse.js"

const encodeStatus = Schema.encodeSync(Job.JobStatus)
const encodeMetrics = Schema.encodeSync(QueueWire.Metrics)

/** @internal */
export const make = (queue: SimulatedQueue) => ({
  status: (job: Job.JobRef): Respond => ({ behind, change }) =>
    Effect.map(
      queue.status(job, behind),
      Option.match({
        onNone: () => noSuchJob(job),
        onSome: (status) => jsonResponse(200, encodeStatus(change(status)))
      })
    ),
  submit: (request: typeof QueueWire.SubmitRequest.Type): Respond => () =>
    Effect.map(queue.submit(request), ({ requestId }) => jsonResponse(200, { requestId })),
  cancel: (job: Job.JobRef): Respond => () =>
    Effect.map(
      queue.cancel(job),
      Option.match({
        onNone: () => noSuchJob(job),
        onSome: (state) =>
          state === "pending" ? jsonResponse(200, { status: "canceled" }) : jsonResponse(409, { status: state })
      })
    ),
  clear: (model: string): Respond => () =>
    Effect.map(queue.clear(model), (count) => jsonResponse(200, { canceled_count: count })),
  metrics: (model: string): Respond => () =>
    Effect.map(queue.metrics(model), (metrics) => jsonResponse(200, encodeMetrics(metrics)))
})

/**
 * What the service sends: the answers of the queue as they go over the wire. The queue in memory, where a fault is in the
 * way, and the emulator answer by this.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Job from "../../model/Job.js"
import * as QueueWire from "../../queue/internal/wire.js"
import { noSuchJob } from "./errorResponses.js"
import * as Wire from "./faultInjection.js"
import type { LocalQueue } from "./simulatedQueue.js"

const encodeStatus = Schema.encodeSync(Job.JobStatus)
const encodeMetrics = Schema.encodeSync(QueueWire.Metrics)

const refuse = (job: Job.JobRef): Wire.Answer => {
  const { body, status } = noSuchJob(job)
  return Wire.json(status, body)
}

/** @internal */
export interface Exchanges {
  readonly status: (job: Job.JobRef) => Wire.Exchange
  readonly submit: (request: typeof QueueWire.SubmitRequest.Type) => Wire.Exchange
  readonly cancel: (job: Job.JobRef) => Wire.Exchange
  readonly clear: (model: string) => Wire.Exchange
  readonly metrics: (model: string) => Wire.Exchange
}

/** @internal */
export const make = (queue: LocalQueue): Exchanges => ({
  status: (job) => ({ behind, change }) =>
    Effect.map(
      queue.status(job, behind),
      Option.match({
        onNone: () => refuse(job),
        onSome: (status) => Wire.json(200, encodeStatus(change(status)))
      })
    ),
  submit: (request) => () => Effect.map(queue.submit(request), ({ requestId }) => Wire.json(200, { requestId })),
  cancel: (job) => () =>
    Effect.map(
      queue.cancel(job),
      Option.match({
        onNone: () => refuse(job),
        onSome: (state) =>
          state === "pending" ? Wire.json(200, { status: "canceled" }) : Wire.json(409, { status: state })
      })
    ),
  clear: (model) => () => Effect.map(queue.clear(model), (count) => Wire.json(200, { canceled_count: count })),
  metrics: (model) => () => Effect.map(queue.metrics(model), (metrics) => Wire.json(200, encodeMetrics(metrics)))
})

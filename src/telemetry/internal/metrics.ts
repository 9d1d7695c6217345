/**
 * The metrics of jobs, tagged by model, never by job.
 */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import type { Ended } from "./history.js"

const histogram = (name: string, boundaries: MetricBoundaries.MetricBoundaries, description: string) =>
  Metric.histogram(`effect_queue_status_job_${name}`, boundaries, description)

// 100 ms to 3.6 hours
const durations = MetricBoundaries.exponential({ start: 100, factor: 2, count: 19 })

const queueTime = histogram("queue_time_millis", durations, "times in the queue")

const runTime = histogram("run_time_millis", durations, "times of attempts")

const attempts = histogram(
  "attempts",
  MetricBoundaries.linear({ start: 0, width: 1, count: 6 }),
  "attempts of a job that has ended"
)

const staleness = histogram(
  "staleness_millis",
  MetricBoundaries.exponential({ start: 1, factor: 4, count: 12 }),
  "from the end of a job until it was observed"
)

const outcomes = Metric.counter("effect_queue_status_job_outcomes", {
  description: "jobs that have ended",
  incremental: true
})

const ofModel = (model: string) => ({
  queueTime: Metric.tagged(queueTime, "model", model),
  runTime: Metric.tagged(runTime, "model", model),
  attempts: Metric.tagged(attempts, "model", model),
  staleness: Metric.tagged(staleness, "model", model),
  outcomes: Metric.tagged(outcomes, "model", model)
})

/** Returns what updates the metrics by a job. The metrics of each model are made once. @internal */
export const make = (): (ended: Ended) => Effect.Effect<void> => {
  const models = new Map<string, ReturnType<typeof ofModel>>()
  return ({ end, job: { model }, last, phases }) => {
    const metrics = models.get(model) ?? ofModel(model)
    models.set(model, metrics)
    const updates: Array<Effect.Effect<void>> = []
    for (const { attempt, end, start } of phases) {
      if (!start.isReported || !end.isReported) continue
      updates.push(
        Metric.update(attempt === undefined ? metrics.queueTime : metrics.runTime, end.millis - start.millis)
      )
    }
    if (last !== undefined) {
      updates.push(
        Metric.update(metrics.attempts, last.attempt),
        Metric.increment(Metric.tagged(metrics.outcomes, "outcome", last._tag))
      )
      if (end.isReported) {
        updates.push(Metric.update(metrics.staleness, Math.max(0, last.observedAt.epochMillis - end.millis)))
      }
    }
    return Effect.all(updates, { discard: true })
  }
}

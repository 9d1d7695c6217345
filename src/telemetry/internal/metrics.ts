/**
 * The metrics of jobs, tagged by model, never by job.
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"
import { millis } from "../../model/internal/position.js"
import type { QueueError } from "../../model/QueueError.js"
import { isTerminal, type Transition } from "../../model/Transition.js"
import { phaseBefore } from "./history.js"

const nameOf = (name: string) => `effect_queue_status_job_${name}`

const histogram = (name: string, boundaries: MetricBoundaries.MetricBoundaries, description: string) =>
  Metric.histogram(nameOf(name), boundaries, description)

const counter = (name: string, description: string) => Metric.counter(nameOf(name), { description, incremental: true })

// 100 ms to 7.3 hours
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

const outcomes = counter("outcomes", "jobs that have ended")

const troubles = counter("troubles", "polls that failed, for a reason that may pass")

const inTrouble = Metric.gauge(nameOf("in_trouble"), { description: "watched jobs whose last poll failed" })

// To make a metric costs more than to update it.
const memoized = <A>(make: (name: string) => A): (name: string) => A => {
  const all = new Map<string, A>()
  return (name) => {
    const value = all.get(name) ?? make(name)
    all.set(name, value)
    return value
  }
}

// A metric of `Metric.tagged` twice merges the tags and looks its state up at each update.
const taggedTwice = (metric: Metric.Metric.Counter<number>, tags: { readonly [name: string]: string }) =>
  Metric.taggedWithLabels(metric, Object.entries(tags).map(([name, value]) => MetricLabel.make(name, value)))

const ofModel = (model: string) => ({
  queueTime: Metric.tagged(queueTime, "model", model),
  runTime: Metric.tagged(runTime, "model", model),
  attempts: Metric.tagged(attempts, "model", model),
  staleness: Metric.tagged(staleness, "model", model),
  outcomes: memoized((outcome: string) => taggedTwice(outcomes, { model, outcome })),
  troubles: memoized((error: string) => taggedTwice(troubles, { model, error })),
  inTrouble: Metric.tagged(inTrouble, "model", model)
})

/** What updates the metrics. @internal */
export interface Metrics {
  /** A transition of a job. */
  readonly step: (transition: Transition) => void
  /** A poll of a job failed. */
  readonly trouble: (model: string, error: QueueError, isFirst: boolean) => void
  /** Polls of a job have stopped to fail, or have ended. */
  readonly recovered: (model: string) => void
}

/** @internal */
export const make = (): Metrics => {
  const get = memoized(ofModel)
  return {
    step: (transition) => {
      if (transition._tag === "Progressed") return
      const metrics = get(transition.job.model)
      const at = millis(transition.at)
      const before = phaseBefore(transition)
      if (at !== undefined && before?.since !== undefined) {
        const metric = before.attempt === undefined ? metrics.queueTime : metrics.runTime
        metric.unsafeUpdate(Math.max(0, at - before.since), [])
      }
      if (!isTerminal(transition)) return
      metrics.attempts.unsafeUpdate(transition.attempt, [])
      metrics.outcomes(transition._tag).unsafeUpdate(1, [])
      if (at !== undefined) metrics.staleness.unsafeUpdate(Math.max(0, transition.observedAt.epochMillis - at), [])
    },
    trouble: (model, error, isFirst) => {
      const metrics = get(model)
      metrics.troubles(error._tag).unsafeUpdate(1, [])
      if (isFirst) metrics.inTrouble.unsafeModify(1, [])
    },
    recovered: (model) => get(model).inTrouble.unsafeModify(-1, [])
  }
}

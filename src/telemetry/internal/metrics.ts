/**
 * The metrics of jobs, tagged by model, never by job.
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"
import { millis } from "../../model/internal/position.js"
import type { QueueError } from "../../model/QueueError.js"
import { isTerminal, type Transition } from "../../model/Transition.js"
import { counter, gauge, histogram } from "../../watch/internal/metrics.js"
import { phaseBefore } from "./history.js"

// 100 ms to 7.3 hours
const durations = MetricBoundaries.exponential({ start: 100, factor: 2, count: 19 })

const queueTime = histogram("job_queue_time_millis", durations, "times in the queue")

const runTime = histogram("job_run_time_millis", durations, "times of attempts")

const attempts = histogram(
  "job_attempts",
  MetricBoundaries.linear({ start: 0, width: 1, count: 6 }),
  "attempts of a job that has ended"
)

const staleness = histogram(
  "job_staleness_millis",
  MetricBoundaries.exponential({ start: 1, factor: 4, count: 12 }),
  "from the end of a job until it was observed"
)

const outcomes = counter("job_outcomes", "jobs that have ended")

const troubles = counter("job_troubles", "polls that failed, for a reason that may pass")

const inTrouble = gauge("job_in_trouble", "watched jobs whose last poll failed")

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

const get = memoized(ofModel)

/** A transition of a job. @internal */
export const step = (transition: Transition): void => {
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
}

/** A poll of a job failed. @internal */
export const trouble = (model: string, error: QueueError, isFirst: boolean): void => {
  const metrics = get(model)
  metrics.troubles(error._tag).unsafeUpdate(1, [])
  if (isFirst) metrics.inTrouble.unsafeModify(1, [])
}

/** Polls of a job have stopped to fail, or have ended. @internal */
export const recovered = (model: string): void => get(model).inTrouble.unsafeModify(-1, [])

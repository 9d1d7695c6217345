/**
 * The metrics of jobs, tagged by model, never by job; and with the labels of the program that made the watcher.
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"
import { millis } from "../../model/internal/position.js"
import type { QueueError } from "../../model/QueueError.js"
import { isTerminal, type Transition } from "../../model/Transition.js"
import { counter, gauge, histogram, type Labels } from "../../watch/internal/metrics.js"
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

const ofModel = (model: string, labels: Labels) => {
  // all at once: a metric that is tagged twice merges the tags and looks its state up at each update
  const tags = [MetricLabel.make("model", model), ...labels]
  const taggedBy = (metric: Metric.Metric.Counter<number>, name: string) =>
    memoized((value: string) => Metric.taggedWithLabels(metric, [...tags, MetricLabel.make(name, value)]))
  return {
    queueTime: Metric.taggedWithLabels(queueTime, tags),
    runTime: Metric.taggedWithLabels(runTime, tags),
    attempts: Metric.taggedWithLabels(attempts, tags),
    staleness: Metric.taggedWithLabels(staleness, tags),
    outcomes: taggedBy(outcomes, "outcome"),
    troubles: taggedBy(troubles, "error"),
    inTrouble: Metric.taggedWithLabels(inTrouble, tags)
  }
}

/** The metrics of the jobs of a watcher. @internal */
export class JobMetrics {
  private readonly of: (model: string) => ReturnType<typeof ofModel>

  constructor(labels: Labels) {
    this.of = memoized((model) => ofModel(model, labels))
  }

  /** A transition of a job. */
  step(transition: Transition): void {
    if (transition._tag === "Progressed") return
    const metrics = this.of(transition.job.model)
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

  /** A poll of a job failed. */
  trouble(model: string, error: QueueError, isFirst: boolean): void {
    const metrics = this.of(model)
    metrics.troubles(error._tag).unsafeUpdate(1, [])
    if (isFirst) metrics.inTrouble.unsafeModify(1, [])
  }

  /** Polls of a job have stopped to fail, or have ended. */
  recovered(model: string): void {
    this.of(model).inTrouble.unsafeModify(-1, [])
  }
}

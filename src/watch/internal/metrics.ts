/**
 * The metrics of a watcher, tagged by model, never by job; and with the labels of the program that made the watcher.
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"
import * as MetricLabel from "effect/MetricLabel"
import * as Record from "effect/Record"

/** What `Effect.tagMetrics` has added. @internal */
export type Labels = ReadonlyArray<MetricLabel.MetricLabel>

/** @internal */
export const counter = (name: string, description: string) =>
  Metric.counter(`effect_queue_status_${name}`, { description, incremental: true })

/** @internal */
export const gauge = (name: string, description: string) => Metric.gauge(`effect_queue_status_${name}`, { description })

/** @internal */
export const histogram = (name: string, boundaries: MetricBoundaries.MetricBoundaries, description: string) =>
  Metric.histogram(`effect_queue_status_${name}`, boundaries, description)

/** @internal */
export const watchers = gauge("watcher_watches", "watches that share pollers")

// The gauges of watches and jobs count those of all watchers of the process: each adds and subtracts its own.
const perWatcher = {
  watchers,
  pollers: gauge("watcher_pollers", "jobs that are polled"),
  pauses: counter("watcher_pauses", "pauses after a 429"),
  stretch: gauge("watcher_stretch", "by how much the budget lengthens the pauses; 1 while it suffices"),
  budgetUse: gauge(
    "watcher_budget_use",
    "the part of the budget that the cadences ask for; over 1, pauses are stretched"
  )
}

/** @internal */
export const stale = counter("stale_snapshots", "snapshots of a job that were older than what was known")

const perModel = {
  polls: counter("watcher_polls", "polls that were answered, or met trouble"),
  savedBySharing: counter("watcher_polls_saved_by_sharing", "polls that one answer made good for others"),
  savedByOrder: counter(
    "watcher_polls_saved_by_queue_order",
    "polls that were not made, since the job was behind others"
  ),
  orderLost: counter("watcher_queue_order_lost", "times that jobs were seen to start out of order"),
  stale,
  queueDepth: gauge("watcher_queue_depth", "watched jobs that wait in the queue"),
  running: gauge("watcher_running", "watched jobs that run"),
  staleness: histogram(
    "watcher_staleness_millis",
    MetricBoundaries.exponential({ start: 1, factor: 4, count: 12 }),
    "from when a poll was due until it began"
  ),
  pollsPerJob: histogram(
    "watcher_polls_per_job",
    MetricBoundaries.exponential({ start: 1, factor: 2, count: 14 }),
    "polls of a job that has ended while it was watched"
  )
}

/** @internal */
export type ModelMetrics = typeof perModel

// tagged once, so that the state of a metric is not looked up at each update
const tagged = <Metrics extends object>(metrics: Metrics, labels: Labels): Metrics => {
  // metrics are invariant, so those of several kinds have no common type; each keeps its kind
  const all = metrics as unknown as { readonly [name: string]: typeof stale }
  return Record.map(all, Metric.taggedWithLabels(labels)) as unknown as Metrics
}

/** @internal */
export const ofWatcher = (labels: Labels): typeof perWatcher => tagged(perWatcher, labels)

/** @internal */
export const ofModel = (model: string, labels: Labels): ModelMetrics =>
  tagged(perModel, [MetricLabel.make("model", model), ...labels])

/** @internal */
export const count = (metric: Metric.Metric.Counter<number>, by: number): void => {
  if (by > 0) metric.unsafeUpdate(by, [])
}

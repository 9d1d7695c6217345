/**
 * What a watcher counts. Tagged by model, never by job.
 *
 * @internal
 */
import * as Metric from "effect/Metric"
import * as MetricBoundaries from "effect/MetricBoundaries"

const counter = (name: string, description: string) =>
  Metric.counter(`effect_queue_status_${name}`, { description, incremental: true })

const gauge = (name: string, description: string) => Metric.gauge(`effect_queue_status_${name}`, { description })

/** @internal */
export const watchers = gauge("hub_watchers", "watches that share the hub's pollers")

/** @internal */
export const pollers = gauge("hub_pollers", "jobs that the hub polls")

/** @internal */
export const polls = counter("hub_polls", "polls of the hub that were answered, or met trouble")

/** @internal */
export const savedBySharing = counter("hub_polls_saved_by_sharing", "polls that one answer made good for others")

/** @internal */
export const savedByOrder = counter(
  "hub_polls_saved_by_queue_order",
  "polls that were not made, since the job was behind others"
)

/** @internal */
export const staleness = Metric.histogram(
  "effect_queue_status_hub_staleness_millis",
  MetricBoundaries.exponential({ start: 1, factor: 4, count: 12 }),
  "from when a poll was due until it began"
)

/** @internal */
export const queueDepth = gauge("hub_queue_depth", "watched jobs that wait in the queue")

/** @internal */
export const pauses = counter("hub_pauses", "times that the service had enough, and the hub left it alone")

/** @internal */
export const orderLost = counter("hub_queue_order_lost", "times that jobs were seen to start out of order")

/** @internal */
export const stretch = gauge("hub_stretch", "by how much the budget lengthens the pauses; 1 while it suffices")

/** @internal */
export const stale = counter("stale_snapshots", "snapshots of a job that were older than what was known")

/** @internal */
export interface LineMetrics {
  readonly polls: Metric.Metric.Counter<number>
  readonly savedBySharing: Metric.Metric.Counter<number>
  readonly savedByOrder: Metric.Metric.Counter<number>
  readonly staleness: typeof staleness
  readonly queueDepth: Metric.Metric.Gauge<number>
  readonly orderLost: Metric.Metric.Counter<number>
  readonly stale: Metric.Metric.Counter<number>
}

/** @internal */
export const ofModel = (model: string): LineMetrics => {
  return {
    polls: Metric.tagged(polls, "model", model),
    savedBySharing: Metric.tagged(savedBySharing, "model", model),
    savedByOrder: Metric.tagged(savedByOrder, "model", model),
    staleness: Metric.tagged(staleness, "model", model),
    queueDepth: Metric.tagged(queueDepth, "model", model),
    orderLost: Metric.tagged(orderLost, "model", model),
    stale: Metric.tagged(stale, "model", model)
  }
}

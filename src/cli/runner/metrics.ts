// All metrics of the process, in the text format of Prometheus.
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as MetricKey from "effect/MetricKey"
import * as MetricKeyType from "effect/MetricKeyType"
import * as MetricState from "effect/MetricState"
import * as Option from "effect/Option"

const escape = (text: string) => text.replace(/[\\"\n]/g, (char) => char === "\n" ? "\\n" : `\\${char}`)

const nameOf = ({ keyType, name }: MetricKey.MetricKey.Untyped) =>
  `${name.replace(/[^a-zA-Z0-9_:]/g, "_")}${MetricKeyType.isCounterKey(keyType) ? "_total" : ""}`

const numberOf = (value: number | bigint) => value === Infinity ? "+Inf" : String(value)

type Label = readonly [key: string, value: string]

const samples = (
  state: MetricState.MetricState.Untyped
): ReadonlyArray<readonly [string, ReadonlyArray<Label>, number | bigint]> => {
  if (MetricState.isCounterState(state)) return [["", [], state.count]]
  if (MetricState.isGaugeState(state)) return [["", [], state.value]]
  if (MetricState.isFrequencyState(state)) {
    return Array.from(state.occurrences, ([key, count]) => ["", [["key", key]], count] as const)
  }
  if (MetricState.isHistogramState(state)) {
    return [
      ...state.buckets.map(([limit, count]) => ["_bucket", [["le", numberOf(limit)] as const], count] as const),
      ["_sum", [], state.sum],
      ["_count", [], state.count]
    ]
  }
  if (MetricState.isSummaryState(state)) {
    return [
      ...state.quantiles.map(([quantile, value]) =>
        ["", [["quantile", String(quantile)] as const], Option.getOrElse(value, () => 0)] as const
      ),
      ["_sum", [], state.sum],
      ["_count", [], state.count]
    ]
  }
  return []
}

export const text: Effect.Effect<string> = Effect.map(
  Metric.snapshot,
  (pairs) =>
    pairs.flatMap(({ metricKey, metricState }) =>
      samples(metricState).map(([suffix, labels, value]) => {
        const all = [
          ...metricKey.tags.map(({ key, value }): Label => [key.replace(/[^a-zA-Z0-9_]/g, "_"), value]),
          ...labels
        ]
        const inBraces = all.map(([key, value]) => `${key}="${escape(value)}"`).join(",")
        return `${nameOf(metricKey)}${suffix}${inBraces === "" ? "" : `{${inBraces}}`} ${numberOf(value)}\n`
      })
    ).join("")
)

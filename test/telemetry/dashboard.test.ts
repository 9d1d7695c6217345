/**
 * The dashboard and the alert rules, beside the metrics as the Prometheus exporter of OpenTelemetry writes them.
 */
import * as Metrics from "@effect/opentelemetry/Metrics"
import * as Resource from "@effect/opentelemetry/Resource"
import { assert, describe, it } from "@effect/vitest"
import { PrometheusSerializer } from "@opentelemetry/exporter-prometheus"
import { Effect, Layer, Stream } from "effect"
import type { Transition } from "effect-queue-status"
import { JobQueue, JobStream, JobTelemetry } from "effect-queue-status"
import { Fault, TestJobQueue, Worker } from "effect-queue-status/testing"
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { parse } from "yaml"
import { everySecond, inTime } from "../fixtures/watching.js"

const read = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../../docs/examples/${name}`, import.meta.url)), "utf8")

interface Dashboard {
  readonly templating: { readonly list: ReadonlyArray<{ readonly query: string | { readonly query: string } }> }
  readonly panels: ReadonlyArray<{ readonly title: string; readonly targets: ReadonlyArray<{ readonly expr: string }> }>
}

interface Alerts {
  readonly groups: ReadonlyArray<{ readonly rules: ReadonlyArray<{ readonly alert: string; readonly expr: string }> }>
}

const dashboard = JSON.parse(read("grafana-dashboard.json")) as Dashboard
const alerts = parse(read("alerts.yaml")) as Alerts

const expressions: ReadonlyArray<readonly [where: string, expression: string]> = [
  ...dashboard.panels.flatMap(({ targets, title }) => targets.map(({ expr }) => [title, expr] as const)),
  ...dashboard.templating.list.map(({ query }) =>
    ["variable", typeof query === "string" ? query : query.query] as const
  )
    .filter(([, query]) => query !== "prometheus"),
  ...alerts.groups.flatMap(({ rules }) => rules.map(({ alert, expr }) => [alert, expr] as const))
]

const model = "dashboard"

const failing = Worker.always(Worker.fail("1 second", "out of memory"))

/** The lines of the exporter after a job that had trouble, a pause after a 429, and a failure. */
const exposition = Effect.gen(function*() {
  const jobs = yield* Effect.replicateEffect(JobQueue.submit({ model, payload: {} }), 3)
  yield* Stream.runDrain(JobStream.watchAll(Stream.fromIterable(jobs), everySecond))
  const producer = yield* Metrics.makeProducer
  const { resourceMetrics } = yield* Effect.promise(() => producer.collect())
  return new PrometheusSerializer().serialize(resourceMetrics)
}).pipe(
  inTime,
  Effect.provide(Layer.mergeAll(
    Resource.layer({ serviceName: "test" }),
    Layer.provideMerge(
      JobTelemetry.layer,
      TestJobQueue.layer({
        workers: { script: failing },
        faults: [
          Fault.unavailable().pipe(Fault.on("status"), Fault.nth(4)),
          Fault.rateLimited("1 second").pipe(Fault.on("status"), Fault.nth(6))
        ]
      })
    )
  ))
)

/** The labels of the samples by the names of their series. */
const series = Effect.map(exposition, (text) => {
  const series = new Map<string, Set<string>>()
  for (const [, name, labels] of text.matchAll(/^(\w+)\{(.*)\} \S+/gm)) {
    const known = series.get(name!) ?? new Set()
    series.set(name!, known)
    for (const [, label] of labels!.matchAll(/(\w+)="/g)) known.add(label!)
  }
  return series
})

describe("the dashboard and the alert rules", () => {
  it.effect("use only series and labels that exist", () =>
    Effect.gen(function*() {
      const known = yield* series
      assert.isAtLeast(expressions.length, 15)
      for (const [where, expression] of expressions) {
        const names = Array.from(expression.matchAll(/effect_queue_status_\w+/g), ([name]) => name)
        assert.isAbove(names.length, 0, where)
        const labels = [
          ...Array.from(expression.matchAll(/by \(([^)]+)\)/g), ([, names]) => names!.split(", ")).flat(),
          ...Array.from(expression.matchAll(/(\w+)=~?"/g), ([, label]) => label!)
        ]
        for (const name of names) {
          const its = known.get(name)
          assert.isDefined(its, `${where}: ${name}`)
          for (const label of labels) assert.isTrue(its!.has(label), `${where}: ${label} of ${name}`)
        }
      }
    }))

  it.effect("leave out none of the metrics of jobs", () =>
    Effect.gen(function*() {
      const known = [...(yield* series).keys()].map((name) => name.replace(/_(bucket|sum|count)$/, ""))
      const used = expressions.map(([, expression]) => expression).join()
      const ofJobs = new Set(known.filter((name) => name.startsWith("effect_queue_status_job_")))
      assert.isAtLeast(ofJobs.size, 7)
      for (const name of ofJobs) assert.include(used, name)
    }))

  it("compare failures by outcomes that exist", () => {
    const tags: { readonly [_ in Transition.Terminal["_tag"]]: true } = {
      Completed: true,
      FailedByModel: true,
      RetriesExhausted: true,
      Canceled: true,
      Unrecognized: true
    }
    const outcomes = expressions.flatMap(([, expression]) =>
      Array.from(expression.matchAll(/outcome=~"([^"]+)"/g), ([, names]) => names!.split("|")).flat()
    )
    assert.isAbove(outcomes.length, 0)
    for (const outcome of outcomes) assert.property(tags, outcome)
  })
})

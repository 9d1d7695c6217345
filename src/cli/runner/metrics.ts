// All metrics of the process, in the text format of Prometheus.
import * as Metrics from "@effect/opentelemetry/Metrics"
import * as Resource from "@effect/opentelemetry/Resource"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { PrometheusSerializer } from "@opentelemetry/exporter-prometheus"
import * as Effect from "effect/Effect"

export const response = Effect.gen(function*() {
  const producer = yield* Metrics.makeProducer
  const { resourceMetrics } = yield* Effect.promise(() => producer.collect())
  const text = new PrometheusSerializer().serialize(resourceMetrics)
  return HttpServerResponse.text(text, { contentType: "text/plain; version=0.0.4" })
}).pipe(Effect.provide(Resource.layer({ serviceName: "queue-status" })))

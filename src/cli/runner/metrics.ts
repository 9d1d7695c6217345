// All metrics of the process, in the text format of Prometheus.
import * as Metrics from "@effect/opentelemetry/Metrics"
import * as Resource from "@effect/opentelemetry/Resource"
import * as HttpServerResponse from "@effect/platform/HttpServerResponse"
import { PrometheusSerializer } from "@opentelemetry/exporter-prometheus"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"

export const response = Effect.gen(function*() {
  const resource = yield* Layer.build(Resource.layer({ serviceName: "queue-status" }))
  const producer = yield* Effect.provide(Metrics.makeProducer, resource)
  const { resourceMetrics } = yield* Effect.promise(() => producer.collect())
  const text = new PrometheusSerializer().serialize(resourceMetrics)
  return HttpServerResponse.text(text, { contentType: "text/plain; version=0.0.4" })
}).pipe(Effect.scoped)

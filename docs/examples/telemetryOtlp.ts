import * as Otlp from "@effect/opentelemetry/Otlp"
import { NodeHttpClient } from "@effect/platform-node"
import { Config, Console, Effect, Layer } from "effect"
import { JobRun, JobTelemetry } from "effect-queue-status"
import { Worker } from "effect-queue-status/testing"
import { ifStarted } from "./emulated.js"

/** Sends the traces and metrics of a program to a collector, as JSON. */
export const OtlpLive = Layer.unwrapEffect(Effect.gen(function*() {
  const baseUrl = yield* Config.string("OTEL_EXPORTER_OTLP_ENDPOINT").pipe(Config.withDefault("http://127.0.0.1:4318"))
  return Otlp.layerJson({ baseUrl, resource: { serviceName: "films" } })
})).pipe(Layer.provide(NodeHttpClient.layerUndici))

export const program = JobRun.run({ model: "my-org/video-generator", payload: { prompt: "a cat at the piano" } }).pipe(
  Effect.withSpan("make a film"),
  Effect.flatMap(({ video_url }) => Console.log(video_url)),
  Effect.provide([JobTelemetry.layer, OtlpLive])
)

export const workers: Worker.Pool = {
  script: Worker.always(Worker.finish("2 seconds", { video_url: "https://example.com/cat.mp4" }))
}

ifStarted(import.meta.url, program, workers)

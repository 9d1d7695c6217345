// A queue on this machine, over HTTP.
import type * as HttpClient from "@effect/platform/HttpClient"
import type { ServeError } from "@effect/platform/HttpServerError"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Emulator from "../../emulator/Emulator.js"
import * as JobQueue from "../../queue/JobQueue.js"

export const emulatedQueue = (
  options: Emulator.Options
): Layer.Layer<JobQueue.JobQueue, ServeError | ConfigError.ConfigError, HttpClient.HttpClient> =>
  Layer.effect(
    JobQueue.JobQueue,
    Effect.flatMap(Emulator.Emulator, ({ baseUrl }) => JobQueue.make({ baseUrl, apiKey: Redacted.make("any") }))
  ).pipe(Layer.provide(Emulator.layer(options)))

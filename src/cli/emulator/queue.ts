// A queue on this machine, over HTTP.
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Emulator from "../../emulator/Emulator.js"
import * as JobQueue from "../../queue/JobQueue.js"

export const emulatedQueue = (options: Emulator.Options): Layer.Layer<JobQueue.JobQueue> =>
  Layer.effect(
    JobQueue.JobQueue,
    Effect.flatMap(Emulator.Emulator, ({ baseUrl }) => JobQueue.make({ baseUrl, apiKey: Redacted.make("any") }))
  ).pipe(
    Layer.provide([Emulator.layer(options), NodeHttpClient.layerUndici]),
    Layer.orDie // that there is no free port on this machine is as unexpected as a bug
  )

import type { Terminal } from "@effect/platform"
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as NodeTerminal from "@effect/platform-node/NodeTerminal"
import { Effect, Layer, Redacted } from "effect"
import { JobQueue, JobWatcher } from "effect-queue-status"
import { Emulator } from "effect-queue-status/emulator"
import type { Worker } from "effect-queue-status/testing"
import { pathToFileURL } from "node:url"

/** Runs the program on an emulator, over HTTP, if its file is the entry point of the process. */
export const ifStarted = <E>(
  file: string,
  program: Effect.Effect<void, E, JobQueue.JobQueue | JobWatcher.JobWatcher | Terminal.Terminal>,
  workers: Worker.Pool
): void => {
  if (file !== pathToFileURL(process.argv[1] ?? "").href) return
  const queue = Effect.flatMap(
    Emulator.Emulator,
    ({ baseUrl }) => JobQueue.make({ baseUrl, apiKey: Redacted.make("any") })
  )
  program.pipe(
    Effect.provide(JobWatcher.layer().pipe(Layer.provideMerge(Layer.effect(JobQueue.JobQueue, queue)))),
    Effect.provide([Emulator.layer({ workers }), NodeHttpClient.layerUndici, NodeTerminal.layer]),
    NodeRuntime.runMain
  )
}

import * as FetchHttpClient from "@effect/platform/FetchHttpClient"
import { it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/TestClock"
import { Emulator } from "../src/emulator/index.js"
import { JobQueue } from "../src/index.js"
import { TestJobQueue } from "../src/testing/index.js"
import type { Worker } from "../src/testing/index.js"
import { behavesAsTheQueue } from "./contract/jobQueue.js"

const inMemory = (workers?: Worker.Pool) => TestJobQueue.layer({ workers })

const overHttp = (workers?: Worker.Pool) =>
  Layer.effect(
    JobQueue.JobQueue,
    Effect.flatMap(Emulator.Emulator, ({ baseUrl }) => JobQueue.make({ baseUrl, apiKey: Redacted.make("any") }))
  ).pipe(Layer.provide(Emulator.layer({ workers })), Layer.provide(FetchHttpClient.layer))

behavesAsTheQueue("the queue in memory, in virtual time", {
  layer: inMemory,
  pass: TestClock.adjust,
  test: (name, self) => it.effect(name, self)
})

behavesAsTheQueue("the queue in memory", {
  layer: inMemory,
  pass: Effect.sleep,
  test: (name, self) => it.live(name, self)
})

behavesAsTheQueue("the client over HTTP, on the emulator", {
  layer: overHttp,
  pass: Effect.sleep,
  test: (name, self) => it.live(name, self)
})

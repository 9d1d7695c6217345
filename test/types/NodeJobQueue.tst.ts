import { Agent } from "@effect/platform-node/Undici"
import type { ConfigError, Effect, Layer, Scope } from "effect"
import { Config, Redacted } from "effect"
import type { JobQueue } from "effect-queue-status"
import { NodeJobQueue } from "effect-queue-status/node"
import { describe, expect, test } from "tstyche"

describe("NodeJobQueue", () => {
  test("layers have no requirements, not even a client", () => {
    expect(NodeJobQueue.layer()).type.toBe<Layer.Layer<JobQueue.JobQueue, ConfigError.ConfigError>>()
    expect(NodeJobQueue.layerConfig({ apiKey: Config.redacted("TOKEN"), connections: Config.integer("CONNECTIONS") }))
      .type.toBe<Layer.Layer<JobQueue.JobQueue, ConfigError.ConfigError>>()
  })

  test("make needs a scope for its connections", () => {
    expect(NodeJobQueue.make({ apiKey: Redacted.make("token"), requestTimeout: "10 seconds", connections: 16 }))
      .type.toBe<Effect.Effect<JobQueue.Service, ConfigError.ConfigError, Scope.Scope>>()
    expect(NodeJobQueue.make({ apiKey: Redacted.make("token"), dispatcher: new Agent() }))
      .type.toBe<Effect.Effect<JobQueue.Service, ConfigError.ConfigError, Scope.Scope>>()
    expect(NodeJobQueue.make).type.toBeCallableWith({ connections: 16 })
    expect(NodeJobQueue.make).type.not.toBeCallableWith({ connections: "16" })
  })
})

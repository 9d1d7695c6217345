import { Rpc, RpcClient, RpcGroup } from "@effect/rpc"
import type { Scope, Stream } from "effect"
import { Effect, Schema } from "effect"
import type { QueueError } from "effect-queue-status"
import { GatewayRpc } from "effect-queue-status/rpc"
import { describe, expect, test } from "tstyche"

type Followed = Effect.Effect<
  Stream.Stream<GatewayRpc.Event | GatewayRpc.Disconnected, QueueError.AccessDenied | QueueError.InvalidRequest>,
  never,
  RpcClient.Protocol | Scope.Scope
>

describe("GatewayRpc", () => {
  test("follow takes a client of the procedures, alone or merged with those of an app", () => {
    const merged = RpcGroup.make(Rpc.make("Hello", { success: Schema.String })).merge(GatewayRpc.Rpcs)
    expect(Effect.map(RpcClient.make(GatewayRpc.Rpcs), (client) => GatewayRpc.follow(client, []))).type.toBe<Followed>()
    expect(Effect.map(RpcClient.make(merged), (client) => GatewayRpc.follow(client, []))).type.toBe<Followed>()
  })
})

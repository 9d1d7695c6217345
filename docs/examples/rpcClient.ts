import { NodeRuntime, NodeSocket } from "@effect/platform-node"
import { RpcClient, RpcSerialization } from "@effect/rpc"
import { Console, Effect, Layer, Stream } from "effect"
import { Job } from "effect-queue-status"
import { GatewayRpc } from "effect-queue-status/rpc"

const ProtocolLive = RpcClient.layerProtocolSocket().pipe(
  Layer.provide([NodeSocket.layerWebSocket("ws://127.0.0.1:8080/rpc"), RpcSerialization.layerNdjson])
)

const program = Effect.gen(function*() {
  const job = yield* Job.parse(process.argv[2] ?? "")
  const client = yield* RpcClient.make(GatewayRpc.Rpcs)
  yield* GatewayRpc.follow(client, [{ job }]).pipe(Stream.runForEach(({ _tag }) => Console.log(_tag)))
})

program.pipe(Effect.scoped, Effect.provide(ProtocolLive), NodeRuntime.runMain)

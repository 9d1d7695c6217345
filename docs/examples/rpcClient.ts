import { NodeRuntime, NodeSocket } from "@effect/platform-node"
import { RpcClient, RpcSerialization } from "@effect/rpc"
import { Console, Effect, Layer, Stream } from "effect"
import { Job } from "effect-queue-status"
import { GatewayRpc } from "effect-queue-status/rpc"

const [, , url = "ws://127.0.0.1:8080/rpc", name = ""] = process.argv

const ProtocolLive = RpcClient.layerProtocolSocket().pipe(
  Layer.provide([NodeSocket.layerWebSocket(url), RpcSerialization.layerNdjson])
)

const program = Effect.gen(function*() {
  const job = yield* Job.parse(name)
  const client = yield* RpcClient.make(GatewayRpc.Rpcs)
  yield* GatewayRpc.follow(client, [{ job }]).pipe(Stream.runForEach(({ _tag }) => Console.log(_tag)))
})

program.pipe(Effect.scoped, Effect.provide(ProtocolLive), NodeRuntime.runMain)

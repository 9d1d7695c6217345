import { HttpRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { RpcSerialization, RpcServer } from "@effect/rpc"
import { Config, Layer } from "effect"
import { JobWatcher } from "effect-queue-status"
import { NodeJobQueue } from "effect-queue-status/node"
import { GatewayRpc } from "effect-queue-status/rpc"
import { createServer } from "node:http"

const WatcherLive = JobWatcher.layer().pipe(Layer.provide(NodeJobQueue.layer()))

const ServerLive = NodeHttpServer.layerConfig(createServer, {
  host: Config.succeed("127.0.0.1"),
  port: Config.integer("PORT").pipe(Config.withDefault(8080))
})

HttpRouter.Default.serve().pipe(
  HttpServer.withLogAddress,
  Layer.provide(RpcServer.layer(GatewayRpc.Rpcs).pipe(Layer.provide(GatewayRpc.layer()))),
  Layer.provide(RpcServer.layerProtocolWebsocket({ path: "/rpc" })), // or layerProtocolHttp
  Layer.provide([RpcSerialization.layerNdjson, WatcherLive]),
  Layer.provide(ServerLive),
  Layer.launch,
  NodeRuntime.runMain
)

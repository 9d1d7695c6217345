import { HttpRouter } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { RpcSerialization, RpcServer } from "@effect/rpc"
import { Layer } from "effect"
import { JobWatcher } from "effect-queue-status"
import { NodeJobQueue } from "effect-queue-status/node"
import { GatewayRpc } from "effect-queue-status/rpc"
import { createServer } from "node:http"

const WatcherLive = JobWatcher.layer().pipe(Layer.provide(NodeJobQueue.layer()))

HttpRouter.Default.serve().pipe(
  Layer.provide(RpcServer.layer(GatewayRpc.Rpcs).pipe(Layer.provide(GatewayRpc.layer()))),
  Layer.provide(RpcServer.layerProtocolWebsocket({ path: "/rpc" })), // or layerProtocolHttp
  Layer.provide([RpcSerialization.layerNdjson, WatcherLive]),
  Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 8080 })),
  Layer.launch,
  NodeRuntime.runMain
)

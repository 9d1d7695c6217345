import { HttpRouter, HttpServer } from "@effect/platform"
import { NodeHttpServer, NodeRuntime } from "@effect/platform-node"
import { Config, Layer } from "effect"
import { JobWatcher } from "effect-queue-status"
import { Gateway } from "effect-queue-status/gateway"
import { NodeGateway, NodeJobQueue } from "effect-queue-status/node"
import { createServer } from "node:http"

const app = HttpRouter.empty.pipe(HttpRouter.mountApp("/jobs", Gateway.httpApp()))

const WatcherLive = JobWatcher.layer().pipe(Layer.provide(NodeJobQueue.layer()))

const ServerLive = NodeHttpServer.layerConfig(createServer, {
  host: Config.succeed("127.0.0.1"),
  port: Config.integer("PORT").pipe(Config.withDefault(8080))
})

HttpServer.serve(app).pipe(
  HttpServer.withLogAddress,
  // in this order: the watcher, which ends the streams, stops before the server, which waits for them
  Layer.provide([WatcherLive, NodeGateway.layer]),
  Layer.provide(ServerLive),
  Layer.launch,
  NodeRuntime.runMain
)

import { HttpApp, HttpRouter } from "@effect/platform"
import { NodeHttpServer } from "@effect/platform-node"
import { Layer, ManagedRuntime } from "effect"
import { JobWatcher } from "effect-queue-status"
import { Gateway } from "effect-queue-status/gateway"
import { NodeJobQueue } from "effect-queue-status/node"

const app = HttpRouter.empty.pipe(HttpRouter.mountApp("/jobs", Gateway.httpApp()))

export const runtime = ManagedRuntime.make(JobWatcher.layer().pipe(Layer.provide(NodeJobQueue.layer())))

/** For `node:http` and what is built on it. */
export const listener = await runtime.runPromise(NodeHttpServer.makeHandler(app))

/** For what has `Request` and `Response`. */
export const handler = HttpApp.toWebHandlerRuntime(await runtime.runtime())(app)

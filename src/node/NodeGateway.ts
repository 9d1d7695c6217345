/**
 * Sends the streams of a gateway with Node's own responses. Each client then takes less than half of the memory.
 *
 * @since 0.1.0
 */
// @effect-diagnostics nodeBuiltinImport:off
import * as NodeHttpServerRequest from "@effect/platform-node/NodeHttpServerRequest"
import * as HttpApp from "@effect/platform/HttpApp"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { IncomingMessage, type ServerResponse } from "node:http"
import { GatewayOutput, type Output } from "../gateway/internal/output.js"
import * as Fiber from "../queue/internal/fiber.js"

class ResponseOutput implements Output {
  constructor(private readonly response: ServerResponse) {}

  write(bytes: Uint8Array): void {
    this.response.write(bytes)
  }

  get isIdle(): boolean {
    return this.response.writableLength === 0
  }

  get room(): Effect.Effect<void> {
    const { response } = this
    return !response.writableNeedDrain ? Effect.void : Effect.async((resume) => {
      // again: the fiber may have yielded before it waits
      if (!response.writableNeedDrain) return resume(Effect.void)
      const onDrain = () => resume(Effect.void)
      response.once("drain", onDrain)
      return Effect.sync(() => response.off("drain", onDrain))
    })
  }
}

// The server of the platform keeps the fiber of a request, with 35 KiB, as long as the body is being sent. So its stream
// ends at once, and the response goes on: the server's call of `end`, which follows, is the one that has no effect.
const keepOpen = (response: ServerResponse): void => {
  Object.defineProperty(response, "end", {
    configurable: true,
    value: () => {
      Reflect.deleteProperty(response, "end")
      return response
    }
  })
}

/** Runs when the head has been written. From then on the scope of the request is closed here. */
const takeOver = (
  runtime: Fiber.Runtime,
  response: ServerResponse,
  scope: Scope.CloseableScope,
  write: (output: Output) => Effect.Effect<void>
) =>
  Effect.sync(() => {
    keepOpen(response)
    HttpApp.ejectDefaultScopeClose(scope)
    const fiber = Fiber.fork(runtime, write(new ResponseOutput(response)))
    // not an effect's finalizers, which would take 2 KiB
    fiber.addObserver((exit) => {
      response.end()
      Fiber.fork(runtime, Scope.close(scope, exit))
    })
    const stop = () => Fiber.interrupt(fiber)
    if (response.destroyed) stop()
    else response.once("close", stop)
  })

/**
 * For a gateway that `NodeHttpServer` of `@effect/platform-node` serves. The streams of another server are sent as without
 * this layer.
 *
 * @example
 * import { HttpServer } from "@effect/platform"
 * import { NodeHttpServer } from "@effect/platform-node"
 * import { JobWatcher } from "effect-queue-status"
 * import { Gateway } from "effect-queue-status/gateway"
 * import { NodeGateway, NodeJobQueue } from "effect-queue-status/node"
 * import { Layer } from "effect"
 * import { createServer } from "node:http"
 *
 * const main = HttpServer.serve(Gateway.httpApp()).pipe(
 *   Layer.provide([JobWatcher.layer(), NodeGateway.layer]),
 *   Layer.provide(NodeJobQueue.layer()),
 *   Layer.provide(NodeHttpServer.layer(createServer, { host: "127.0.0.1", port: 8080 }))
 * )
 *
 * @since 0.1.0
 * @category layers
 */
export const layer: Layer.Layer<never> = Layer.effect(
  GatewayOutput,
  Effect.gen(function*() {
    const otherwise = yield* GatewayOutput
    const runtime = yield* Fiber.runtime // not that of a request, whose services would be kept
    return (request, write) =>
      request.source instanceof IncomingMessage
        ? Effect.map(Effect.scope, (scope) =>
          Stream.drain(Stream.fromEffect(takeOver(
            runtime,
            NodeHttpServerRequest.toServerResponse(request),
            // a request has a scope of its own, which its server closes
            scope as Scope.CloseableScope,
            write
          ))))
        : otherwise(request, write)
  })
)

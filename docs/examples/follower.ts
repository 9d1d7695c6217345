import { FetchHttpClient } from "@effect/platform"
import { NodeRuntime } from "@effect/platform-node"
import { Config, Console, Effect, Layer, Stream } from "effect"
import { Job, JobStream } from "effect-queue-status"
import { GatewayClient } from "effect-queue-status/gateway"

const WatcherLive = GatewayClient.layerConfig({ url: Config.string("JOB_GATEWAY_URL") }).pipe(
  Layer.provide(FetchHttpClient.layer)
)

const program = Effect.gen(function*() {
  const job = yield* Job.parse(process.argv[2] ?? "")
  yield* JobStream.transitions(job).pipe(Stream.runForEach(({ _tag }) => Console.log(_tag)))
})

program.pipe(Effect.provide(WatcherLive), NodeRuntime.runMain)

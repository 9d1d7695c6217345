import { NodeContext, NodeRuntime } from "@effect/platform-node"
import { Config, Effect, Layer, Option } from "effect"
import { Job, JobWatcher } from "effect-queue-status"
import { Webhook, WebhookStore } from "effect-queue-status/gateway"
import { NodeJobQueue, NodeWebhookClient } from "effect-queue-status/node"

const WebhooksLive = Layer.unwrapEffect(Effect.gen(function*() {
  const url = yield* Config.string("WEBHOOK_URL")
  const secret = yield* Config.redacted("WEBHOOK_SECRET")
  return Webhook.layer({
    endpoint: (name) => Effect.succeed(name === "billing" ? Option.some({ url, secrets: [secret] }) : Option.none())
  })
}))

const StoreLive = Layer.unwrapEffect(
  Effect.map(Config.string("WEBHOOK_STORE").pipe(Config.withDefault("webhooks")), WebhookStore.layerFileSystem)
)

const ClientLive = NodeWebhookClient.layerConfig({
  allow: Config.array(Config.string(), "WEBHOOK_ALLOW").pipe(Config.withDefault([]))
})

const main = WebhooksLive.pipe(
  Layer.provide([StoreLive, ClientLive, JobWatcher.layer()]),
  Layer.provide([NodeJobQueue.layer(), NodeContext.layer])
)

const program = Effect.gen(function*() {
  for (const text of process.argv.slice(2)) yield* Webhook.register(yield* Job.parse(text), "billing")
  yield* Effect.log("registered")
  return yield* Effect.never
})

program.pipe(Effect.provide(main), NodeRuntime.runMain)

// @effect-diagnostics deterministicKeys:off
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"

// The key is that of its public name. The tag is here so that a room that provides it need not load the gateway.
/** `Webhook.Client`. */
export class Client extends Context.Tag("effect-queue-status/Webhook/Client")<Client, HttpClient.HttpClient>() {}

// `Webhook.Client`: here, so that a room that provides it need not load the gateway. The key is that of its public name.
// @effect-diagnostics deterministicKeys:off
import type * as HttpClient from "@effect/platform/HttpClient"
import * as Context from "effect/Context"

/**
 * The HTTP client that sends the webhooks. Its own tag, because the URLs are those of others: a client that connects to
 * any address gives them access to the network of the app. On Node, use `NodeWebhookClient.layer()`, which connects to
 * public addresses only. Elsewhere, provide a client that sends through a proxy that ensures this.
 *
 * @since 0.1.0
 * @category context
 */
export class Client extends Context.Tag("effect-queue-status/Webhook/Client")<Client, HttpClient.HttpClient>() {}

/**
 * The HTTP client of webhooks for Node: it connects to public addresses only.
 *
 * The URL of a webhook is that of a customer. Without this guard it could be one of the app's own network, such as a
 * database or the metadata service of a cloud.
 *
 * - Only `https:` is accepted.
 * - A private, loopback, link-local, unique-local, multicast or reserved address is refused, in whatever form the URL has
 *   it, and also if a name resolves to it. The connection is made to the address that was checked.
 * - A redirect is not followed, and the proxies of the environment are not used.
 *
 * @since 0.1.0
 */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import type * as HttpClient from "@effect/platform/HttpClient"
import type * as Config from "effect/Config"
import type * as ConfigError from "effect/ConfigError"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Dns from "node:dns"
import { unwrap } from "../queue/internal/options.js"
import { Client } from "../queue/internal/webhookClient.js"
import { makeAgent } from "./internal/guardedAgent.js"
import { inSubnets } from "./internal/publicAddress.js"

/**
 * The options of the client.
 *
 * @since 0.1.0
 * @category models
 */
export interface Options {
  /**
   * Subnets that webhooks may reach although they are not public, `["10.1.0.0/16"]`; over `http:` as well. Defaults to
   * none.
   */
  readonly allow?: ReadonlyArray<string> | undefined
}

/**
 * Creates the client, with its own connections, which are closed with the scope. Fails with a `ConfigError` if `allow` has
 * what is not a subnet.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (
  options: Options = {}
): Effect.Effect<HttpClient.HttpClient, ConfigError.ConfigError, Scope.Scope> =>
  Effect.gen(function*() {
    const isAllowed = yield* inSubnets(options.allow ?? [])
    const agent = yield* Effect.acquireRelease(
      Effect.sync(() => makeAgent(isAllowed, Dns.lookup)),
      (agent) => Effect.promise(() => agent.destroy())
    )
    return NodeHttpClient.makeUndici(agent)
  })

/**
 * A layer of the client.
 *
 * @example
 * import { NodeWebhookClient } from "effect-queue-status/node"
 *
 * // the receivers of the tests, on this machine
 * const ClientTest = NodeWebhookClient.layer({ allow: ["127.0.0.0/8"] })
 *
 * @since 0.1.0
 * @category layers
 */
export const layer = (options: Options = {}): Layer.Layer<Client, ConfigError.ConfigError> =>
  Layer.scoped(Client, make(options))

/**
 * A layer of the client with options that are read from the configuration.
 *
 * @since 0.1.0
 * @category layers
 */
export const layerConfig = (options: Config.Config.Wrap<Options>): Layer.Layer<Client, ConfigError.ConfigError> =>
  Layer.scoped(Client, Effect.flatMap(unwrap(options), make))

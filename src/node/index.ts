/**
 * @since 0.1.0
 */
export * as NodeGateway from "./NodeGateway.js"
/**
 * @since 0.1.0
 */
export * as NodeJobQueue from "./NodeJobQueue.js"
/**
 * @since 0.1.0
 */
export * as NodeWebhookClient from "./NodeWebhookClient.js"

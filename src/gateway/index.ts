/**
 * @since 0.1.0
 */
export * as Board from "./Board.js"
/**
 * @since 0.1.0
 */
export * as Gateway from "./Gateway.js"
/**
 * @since 0.1.0
 */
export * as GatewayAccess from "./GatewayAccess.js"
/**
 * @since 0.1.0
 */
export * as GatewayClient from "./GatewayClient.js"
/**
 * @since 0.1.0
 */
export * as Webhook from "./Webhook.js"
/**
 * @since 0.1.0
 */
export * as WebhookStore from "./WebhookStore.js"

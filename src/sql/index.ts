/**
 * @since 0.1.0
 */
export * as SqlWebhookStore from "./SqlWebhookStore.js"

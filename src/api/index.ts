/**
 * @since 0.1.0
 */
export * as QueueApi from "./QueueApi.js"

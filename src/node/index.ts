/**
 * @since 0.1.0
 */
export * as NodeJobQueue from "./NodeJobQueue.js"

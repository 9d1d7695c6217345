/**
 * @since 0.1.0
 */
export * as JobWorkflow from "./JobWorkflow.js"

/**
 * @since 0.1.0
 */
export * as Conformance from "./Conformance.js"

/**
 * @since 0.1.0
 */
export * as TestJobQueue from "./TestJobQueue.js"

/**
 * @since 0.1.0
 */
export * as Worker from "./Worker.js"

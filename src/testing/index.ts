/**
 * @since 0.1.0
 */
export * as Arbitraries from "./Arbitraries.js"

/**
 * @since 0.1.0
 */
export * as Conformance from "./Conformance.js"

/**
 * @since 0.1.0
 */
export * as Fault from "./Fault.js"

/**
 * @since 0.1.0
 */
export * as PolicySimulation from "./PolicySimulation.js"

/**
 * @since 0.1.0
 */
export * as TestJobQueue from "./TestJobQueue.js"

/**
 * @since 0.1.0
 */
export * as VirtualTime from "./VirtualTime.js"

/**
 * @since 0.1.0
 */
export * as Worker from "./Worker.js"

/**
 * @since 0.1.0
 */
export * as ClusterWatcher from "./ClusterWatcher.js"
/**
 * @since 0.1.0
 */
export * as Fleet from "./Fleet.js"

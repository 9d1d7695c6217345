/**
 * @since 0.1.0
 */
export * as GatewayRpc from "./GatewayRpc.js"

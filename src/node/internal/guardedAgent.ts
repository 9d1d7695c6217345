/**
 * An agent of undici that connects to permitted addresses only. The address is checked when a connection is made, and the
 * connection is made to the very address that was checked: a name that resolves to another one later gains nothing.
 *
 * @internal
 */
import * as Undici from "@effect/platform-node/Undici"
import * as Net from "node:net"
import { isPublic } from "./publicAddress.js"

const refused = (host: string) => new Error(`${host} is not at a public address`)

const connectorFor = (isPermitted: (address: string) => boolean, lookup: Net.LookupFunction) => {
  const connect = Undici.buildConnector({
    // Node adds `lookup` to the options of `net.connect`, which uses the returned addresses as they are
    lookup: (hostname, options, callback) =>
      lookup(hostname, options, (error, address, family) => {
        if (error !== null) return callback(error, address, family)
        const addresses = typeof address === "string" ? [address] : address.map(({ address }) => address)
        // all of them: an app and its attacker do not share a name
        return addresses.every(isPermitted) ? callback(null, address, family) : callback(refused(hostname), "")
      })
  })
  const connector: Undici.buildConnector.connector = (options, callback) => {
    const { hostname } = options
    // an address is not looked up
    if (Net.isIP(hostname) !== 0 && !isPermitted(hostname)) return callback(refused(hostname), null)
    return connect(options, callback)
  }
  return connector
}

/** @internal */
export const makeAgent = (isAllowed: (address: string) => boolean, lookup: Net.LookupFunction): Undici.Agent => {
  const overTls = connectorFor((address) => isPublic(address) || isAllowed(address), lookup)
  const inClear = connectorFor(isAllowed, lookup)
  return new Undici.Agent({
    connect: (options, callback) => (options.protocol === "https:" ? overTls : inClear)(options, callback)
  })
}

/** Which addresses a webhook may be sent to. @internal */
import * as ConfigError from "effect/ConfigError"
import * as Either from "effect/Either"
import * as Net from "node:net"

type Family = "ipv4" | "ipv6"

const familyOf = (address: string): Family | undefined => {
  const version = Net.isIP(address)
  return version === 0 ? undefined : version === 4 ? "ipv4" : "ipv6"
}

/** Returns whether an address is in one of the subnets, or the first text that is not a subnet. */
const inAny = (subnets: ReadonlyArray<string>): Either.Either<(address: string) => boolean, string> => {
  const list = new Net.BlockList()
  for (const subnet of subnets) {
    const [, address = "", prefix = ""] = /^([^/]+)\/(\d{1,3})$/.exec(subnet) ?? []
    const family = familyOf(address)
    if (family === undefined || Number(prefix) > (family === "ipv4" ? 32 : 128)) return Either.left(subnet)
    list.addSubnet(address, Number(prefix), family)
  }
  return Either.right((address) => {
    const family = familyOf(address)
    return family !== undefined && list.check(address, family)
  })
}

// IANA's registries of special-purpose addresses, and multicast.
const isReserved = Either.getOrThrow(inAny([
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.31.196.0/24",
  "192.52.193.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "192.175.48.0/24",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
  "2001::/23",
  "2001:db8::/32",
  "2002::/16",
  "2620:4f:8000::/48",
  "3fff::/20"
]))

// The only part of IPv6 that is assigned to the public Internet. It excludes IPv4 addresses in IPv6 form, and NAT64.
const isGlobalUnicast = Either.getOrThrow(inAny(["2000::/3"]))

/** @internal */
export const isPublic = (address: string): boolean =>
  Net.isIPv4(address) ? !isReserved(address) : isGlobalUnicast(address) && !isReserved(address)

/** Returns whether an address is in one of the subnets. @internal */
export const inSubnets = (
  subnets: ReadonlyArray<string>
): Either.Either<(address: string) => boolean, ConfigError.ConfigError> =>
  Either.mapLeft(
    inAny(subnets),
    (subnet) => ConfigError.InvalidData(["allow"], `${JSON.stringify(subnet)} is not a subnet such as 10.1.0.0/16`)
  )

/**
 * The client of webhooks, over sockets: it does not connect to an address that it rejects.
 */
import type * as HttpClient from "@effect/platform/HttpClient"
import { assert, describe, it } from "@effect/vitest"
import { NodeWebhookClient } from "effect-queue-status/node"
import * as ConfigError from "effect/ConfigError"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Layer from "effect/Layer"
import ipaddr from "ipaddr.js"
import * as Http from "node:http"
import * as Net from "node:net"
import * as Undici from "undici"
import { Webhook } from "../../src/gateway/index.js"
import { makeAgent } from "../../src/node/internal/guardedAgent.js"
import { inSubnets, isPublic } from "../../src/node/internal/publicAddress.js"
import { runs } from "../fixtures/runs.js"

/** A server on an address, and the number of its connections. */
const serve = (host: string, respond: Http.RequestListener, port = 0) =>
  Effect.acquireRelease(
    Effect.async<{ readonly server: Http.Server; readonly port: number; readonly connections: () => number }, Error>(
      (resume) => {
        let connections = 0
        const server = Http.createServer(respond).on("connection", () => connections++)
        server.on("error", (error) => resume(Effect.fail(error)))
        server.listen(port, host, () =>
          resume(
            Effect.succeed({ server, port: (server.address() as Net.AddressInfo).port, connections: () => connections })
          ))
      }
    ),
    ({ server }) =>
      Effect.async<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )

const clientOf = (options: NodeWebhookClient.Options = {}) =>
  Effect.map(Layer.build(NodeWebhookClient.layer(options)), Context.get(Webhook.Client))

/** The reason why a URL was not reached. */
const refusal = (client: HttpClient.HttpClient, url: string) =>
  Effect.map(Effect.flip(client.post(url)), ({ cause }) => String(cause))

const noContent: Http.RequestListener = (_, response) => response.writeHead(204).end()

describe("addresses", () => {
  const { SpecialRanges: special4 } = ipaddr.IPv4.prototype as unknown as Ranges
  const { SpecialRanges: special6 } = ipaddr.IPv6.prototype as unknown as Ranges
  interface Ranges {
    readonly SpecialRanges: { readonly [name: string]: ReadonlyArray<[ipaddr.IPv4 | ipaddr.IPv6, number]> }
  }
  const ranges = [special4, special6].flatMap((ranges) => Object.entries(ranges)).flatMap(([name, subnets]) =>
    // some ranges have one subnet instead of a list
    (Array.isArray(subnets[0]) ? subnets : [subnets as unknown as [ipaddr.IPv4, number]])
      .map(([address, bits]) => ({ name, bytes: address.toByteArray(), bits }))
  )
  const bytes = (length: number) => FastCheck.uint8Array({ minLength: length, maxLength: length })
  const inRange = FastCheck.constantFrom(...ranges).chain(({ bits, bytes: fixed }) =>
    bytes(fixed.length).map((random) =>
      fixed.map((byte, i) => {
        const mask = 0xff >> Math.max(0, Math.min(8, bits - i * 8))
        return (byte & ~mask & 0xff) | (random[i]! & mask)
      })
    )
  )
  const anywhere = FastCheck.oneof(bytes(4), bytes(16)).map((bytes) => Array.from(bytes))
  const address = FastCheck.oneof(inRange, anywhere).map((bytes) => ipaddr.fromByteArray(bytes))

  it("law: no address in a special range of ipaddr.js is public", () => {
    let refused = 0
    FastCheck.assert(
      FastCheck.property(address, (address) => {
        if (address.range() === "unicast") return
        refused++
        assert.isFalse(isPublic(address.toString()), `${address.toString()}: ${address.range()}`)
      }),
      { numRuns: runs(2_000, 20_000) }
    )
    assert.isAbove(refused, 500)
  })

  it("addresses of the public Internet are public", () => {
    for (const address of ["8.8.8.8", "1.1.1.1", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111"]) {
      assert.isTrue(isPublic(address), address)
    }
    for (
      const address of ["", "localhost", "8.8.8.8/32", "::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::808:808", "fe80::1%lo"]
    ) {
      assert.isFalse(isPublic(address), address)
    }
  })
})

const forms = (port: number) =>
  [
    ...["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "１２７.0.0.1", "0", "0.0.0.0"],
    ...["[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]", "[::127.0.0.1]", "[::1]", "[::]"],
    ...["localhost", "LOCALHOST"]
  ].flatMap((host) => [`https://${host}:${port}/`, `http://${host}:${port}/`])

describe("the client", () => {
  it.scopedLive("does not connect to an address that is not public, in any notation", () =>
    Effect.gen(function*() {
      const { connections, port } = yield* serve("0.0.0.0", noContent)
      const client = yield* clientOf()
      for (const url of forms(port)) {
        assert.include(yield* refusal(client, url), "is not at a public address", url)
      }
      for (
        const host of [
          ...[
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.169.254",
            "100.100.100.200",
            "224.0.0.1",
            "255.255.255.255"
          ],
          ...["[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]"]
        ]
      ) {
        assert.include(yield* refusal(client, `https://${host}:${port}/`), "is not at a public address", host)
      }
      assert.strictEqual(connections(), 0)
      // it does not connect without TLS to a public address either
      assert.include(yield* refusal(client, "http://8.8.8.8/"), "is not at a public address")
    }))

  it.scopedLive("connects to an allowed subnet, and to no other", () =>
    Effect.gen(function*() {
      const { connections, port } = yield* serve("127.0.0.1", noContent)
      const client = yield* clientOf({ allow: ["127.0.0.0/30", "fd00::/8"] })
      for (const host of ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]", "localhost"]) {
        assert.strictEqual((yield* client.post(`http://${host}:${port}/`)).status, 204, host)
      }
      const reached = connections()
      assert.isAbove(reached, 0)
      for (const host of ["127.0.0.4", "[::1]", "10.0.0.1"]) {
        assert.include(yield* refusal(client, `http://${host}:${port}/`), "is not at a public address", host)
      }
      // over TLS the client connects
      assert.notInclude(yield* refusal(client, `https://127.0.0.1:${port}/`), "is not at a public address")
      assert.strictEqual(connections(), reached + 1)
    }))

  it.scopedLive("does not follow a redirect", () =>
    Effect.gen(function*() {
      const target = yield* serve("127.0.0.1", noContent)
      const { port } = yield* serve("127.0.0.1", (_, response) =>
        response.writeHead(307, { location: `http://127.0.0.1:${target.port}/` }).end())
      const client = yield* clientOf({ allow: ["127.0.0.1/32"] })
      assert.strictEqual((yield* client.post(`http://127.0.0.1:${port}/`)).status, 307)
      assert.strictEqual(target.connections(), 0)
    }))

  it.scopedLive("fails for a name that does not resolve", () =>
    Effect.gen(function*() {
      const client = yield* clientOf()
      for (const scheme of ["https", "http"]) {
        assert.match(yield* refusal(client, `${scheme}://receiver.invalid/`), /ENOTFOUND|EAI_AGAIN/)
      }
    }))

  it.effect("requires valid subnets in `allow`", () =>
    Effect.gen(function*() {
      for (const subnet of ["127.0.0.1", "127.0.0.0/33", "::/129", "localhost/8", "", "10.0.0.0/-1", "10.0.0.0/8/8"]) {
        const error = yield* Effect.flip(Effect.scoped(clientOf({ allow: ["10.0.0.0/8", subnet] })))
        assert.isTrue(ConfigError.isConfigError(error))
        assert.include(String(error), JSON.stringify(subnet))
      }
    }))
})

describe("a name", () => {
  /** An agent with its own resolver, which returns the next addresses each time. */
  const agentOf = (answers: ReadonlyArray<ReadonlyArray<string>>) =>
    Effect.gen(function*() {
      const isAllowed = yield* inSubnets(["127.0.0.2/32"])
      let lookups = 0
      const lookup: Net.LookupFunction = (_, { all }, callback) => {
        const addresses = (answers[lookups++] ?? []).map((address) => ({ address, family: 4 }))
        if (all === true) callback(null, addresses)
        else callback(null, addresses[0]!.address, 4)
      }
      const agent = yield* Effect.acquireRelease(
        Effect.sync(() => makeAgent(isAllowed, lookup)),
        (agent) => Effect.promise(() => agent.destroy())
      )
      const get = (port: number) =>
        Effect.tryPromise({
          try: () =>
            Undici.request(`http://rebinding.example:${port}/`, { dispatcher: agent }).then(
              async ({ body, statusCode }) => {
                await body.dump()
                return statusCode
              }
            ),
          catch: String
        })
      return { get, lookups: () => lookups }
    })

  const closing: Http.RequestListener = (_, response) => response.writeHead(204, { connection: "close" }).end()

  it.scopedLive("that resolves to a private address at the second look-up is rejected then", () =>
    Effect.gen(function*() {
      const [permitted, forbidden] = yield* Effect.flatMap(
        serve("127.0.0.2", closing),
        (permitted) => Effect.map(serve("127.0.0.1", closing, permitted.port), (other) => [permitted, other] as const)
        // another test may use the port
      ).pipe(Effect.retry({ times: 50 }))
      const { get, lookups } = yield* agentOf([["127.0.0.2"], ["127.0.0.1"], ["127.0.0.2"]])
      assert.strictEqual(yield* get(permitted.port), 204)
      // one look-up a connection: no second one after the check can return another address
      assert.strictEqual(lookups(), 1)
      assert.include(yield* Effect.flip(get(permitted.port)), "rebinding.example is not at a public address")
      assert.strictEqual(yield* get(permitted.port), 204)
      assert.deepStrictEqual([permitted.connections(), forbidden.connections()], [2, 0])
    }))

  it.scopedLive("is checked where Node looks up one address alone", () =>
    Effect.gen(function*() {
      yield* Effect.acquireRelease(
        Effect.sync(() => Net.getDefaultAutoSelectFamily()),
        (before) => Effect.sync(() => Net.setDefaultAutoSelectFamily(before))
      )
      Net.setDefaultAutoSelectFamily(false)
      const permitted = yield* serve("127.0.0.2", closing)
      const { get } = yield* agentOf([["127.0.0.1"], ["127.0.0.2"]])
      assert.include(yield* Effect.flip(get(permitted.port)), "rebinding.example is not at a public address")
      assert.strictEqual(yield* get(permitted.port), 204)
    }))

  it.scopedLive("that resolves to a private address among others is rejected", () =>
    Effect.gen(function*() {
      const permitted = yield* serve("127.0.0.2", closing)
      const { get } = yield* agentOf([["127.0.0.2", "127.0.0.1"]])
      assert.include(yield* Effect.flip(get(permitted.port)), "rebinding.example is not at a public address")
      assert.strictEqual(permitted.connections(), 0)
    }))
})

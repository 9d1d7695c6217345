import { assert, it } from "@effect/vitest"
import { Fleet } from "../../src/cluster/index.js"

it("a runner at an address that other runners can't reach throws when it is created", () => {
  for (const port of [-1, 0, 1.5, 65_536, NaN, Infinity]) {
    const address = { host: "127.0.0.1", port }
    assert.throws(() => Fleet.layer(address), RangeError, `Fleet: ${port} is not a port, from 1 to 65535`)
    assert.throws(() => Fleet.layer({ host: "127.0.0.1", port: 34_431, listen: address }), RangeError)
  }
  assert.throws(() => Fleet.layer({ host: "", port: 34_431 }), /host/)
})

/**
 * What `Schema` derives from the schemas of the library: arbitraries, texts, equivalences and JSON schemas.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Arbitrary from "effect/Arbitrary"
import * as FastCheck from "effect/FastCheck"
import * as JSONSchema from "effect/JSONSchema"
import * as Pretty from "effect/Pretty"
import * as Schema from "effect/Schema"
import * as Gateway from "../src/gateway/index.js"
import * as Core from "../src/index.js"
import * as GatewayRpc from "../src/rpc/index.js"
import * as Testing from "../src/testing/index.js"

const schemas = Object.entries({ ...Core, ...Gateway, ...GatewayRpc, ...Testing }).flatMap(([module, members]) =>
  Object.entries(members).flatMap(([name, member]) =>
    // a module's members are of any type, and a schema of the library needs no services
    Schema.isSchema(member) ? [[`${module}.${name}`, member as Schema.Schema<unknown, unknown>] as const] : []
  )
)

describe("every schema", () => {
  it("is found", () => assert.isAbove(schemas.length, 30))

  for (const [name, schema] of schemas) {
    it(`${name} has an arbitrary, a text, an equivalence and a JSON schema`, () => {
      const arbitrary = Arbitrary.make(schema)
      const equivalent = Schema.equivalence(schema)
      const pretty = Pretty.make(schema)
      const encode = Schema.encodeSync(schema)
      const decode = Schema.decodeSync(schema)
      FastCheck.assert(
        FastCheck.property(arbitrary, (value) => {
          assert.isNotEmpty(pretty(value))
          assert(equivalent(decode(encode(value)), decode(encode(value))))
        }),
        { numRuns: 20 }
      )
      // OpenAPI permits no other characters in the name of a component
      for (const component of Object.keys(JSONSchema.make(schema).$defs ?? {})) assert.match(component, /^[\w.-]+$/)
    })
  }
})

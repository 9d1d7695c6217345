import { assert, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { fieldsOf } from "../../src/browser/internal/eventStream.js"
import { runs } from "../fixtures/runs.js"

const text = FastCheck.string({ unit: "grapheme" }).map((text) => text.replace(/[\r\n]/g, ""))

const event = FastCheck.record({ id: text, event: text, data: text.map((text) => JSON.stringify(text)) }, {
  requiredKeys: []
})

it("law: the events of a stream do not depend on its chunks, and an incomplete event is dropped", () =>
  FastCheck.assert(
    FastCheck.asyncProperty(
      FastCheck.array(FastCheck.oneof(event, FastCheck.constant("heartbeat"))),
      FastCheck.array(FastCheck.nat(30)),
      FastCheck.nat(30),
      async (events, sizes, cut) => {
        const written = events.map((event) =>
          typeof event === "string"
            ? `: ${event}\n\n`
            : `${Object.entries(event).map(([name, value]) => `${name}: ${value}\n`).join("")}\n`
        )
        // an event without fields is only a line break
        const expected = events.flatMap((event) =>
          typeof event === "string" ? [] : Object.keys(event).length > 0 ? [event] : []
        )
        const last = new TextEncoder().encode("data: \"the last\"\n").subarray(0, cut)
        const bytes = new Uint8Array([...new TextEncoder().encode(written.join("")), ...last])
        const chunks = async function*() {
          let start = 0
          for (const size of sizes) {
            yield bytes.subarray(start, start + size)
            start += size
          }
          yield bytes.subarray(start)
        }
        const seen = []
        for await (const { "": _, ...fields } of fieldsOf(chunks()) as AsyncIterable<Record<string, string>>) {
          if (Object.keys(fields).length > 0) seen.push(fields)
        }
        assert.deepStrictEqual<unknown>(seen, expected)
      }
    ),
    { numRuns: runs(200, 2_000) }
  ))

import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as FastCheck from "effect/FastCheck"
import * as Random from "effect/Random"
import { uuidv7 } from "../../../src/model/internal/uuid.js"

const make = (millis: number, random: Random.Random): string => Effect.runSync(uuidv7(millis, random))

const many = (seed: string, times: ReadonlyArray<number>): ReadonlyArray<string> => {
  const random = Random.make(seed)
  return times.map((millis) => make(millis, random))
}

const timeOf = (id: string): number => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)

const millis = FastCheck.oneof(
  FastCheck.integer({ min: 0, max: 2 ** 48 - 1 }),
  FastCheck.integer({ min: 0, max: 300 }),
  FastCheck.constantFrom(0, 2 ** 32 - 1, 2 ** 32, 2 ** 48 - 1)
)

const seed = FastCheck.string()

const wellFormed = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

describe("uuidv7", () => {
  it("has the form, the version and the variant", () => {
    FastCheck.assert(
      FastCheck.property(millis, seed, (at, seed) => {
        assert.match(make(at, Random.make(seed)), wellFormed)
      }),
      { numRuns: 1000 }
    )
  })

  it("keeps its form at the limits of the random source", () => {
    assert.strictEqual(make(0, Random.fixed([0])), "00000000-0000-7000-8000-000000000000")
    assert.strictEqual(
      make(2 ** 48 - 1, Random.fixed([Number.MAX_SAFE_INTEGER])),
      "ffffffff-ffff-7fff-bfff-ffffffffffff"
    )
  })

  it("begins with the time", () => {
    // the example of RFC 9562, appendix A.6
    assert.isTrue(make(0x017f22e279b0, Random.make("seed")).startsWith("017f22e2-79b0-7"))
    FastCheck.assert(
      FastCheck.property(millis, seed, (at, seed) => {
        assert.strictEqual(timeOf(make(at, Random.make(seed))), at)
      }),
      { numRuns: 1000 }
    )
  })

  it("rounds a time between two milliseconds, as a test clock may return, down", () => {
    const id = make(1.5, Random.make("seed"))
    assert.match(id, wellFormed)
    assert.strictEqual(timeOf(id), 1)
  })

  it("sorts as text by time", () => {
    FastCheck.assert(
      FastCheck.property(millis, millis, seed, seed, (a, b, seedOfA, seedOfB) => {
        FastCheck.pre(a !== b)
        assert.strictEqual(make(a, Random.make(seedOfA)) < make(b, Random.make(seedOfB)), a < b)
      }),
      { numRuns: 1000 }
    )
  })

  it("is the same for the same seed and times", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.array(millis), seed, (times, seed) => {
        assert.deepStrictEqual(many(seed, times), many(seed, times))
      })
    )
    assert.deepStrictEqual(many("seed", [1, 2, 2]), many("seed", [1, 2, 2]))
    assert.notDeepEqual(many("seed", [1, 2, 2]), many("another seed", [1, 2, 2]))
  })

  it("differs within a millisecond", () => {
    assert.strictEqual(new Set(many("seed", Array.from({ length: 10_000 }, () => 1))).size, 10_000)
  })

  it("has 74 random bits", () => {
    const ids = many("seed", Array.from({ length: 1000 }, () => 0)).map((id) => BigInt(`0x${id.replaceAll("-", "")}`))
    const seenAsOne = ids.reduce((a, b) => a | b)
    const seenAsZero = ids.reduce((a, b) => a | ~b, 0n)
    const byChance = (seenAsOne & seenAsZero).toString(2)
    assert.strictEqual(byChance, "1".repeat(12) + "00" + "1".repeat(62))
  })
})

import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import { diffLines, inline, lines, same } from "../../src/testing/internal/diff.js"

const cyclic: { self?: unknown } = {}
cyclic.self = cyclic

/** Values that are pairwise different. */
const different: ReadonlyArray<unknown> = [
  undefined,
  null,
  0,
  -0,
  NaN,
  Infinity,
  1n,
  1,
  "1",
  "",
  "undefined",
  true,
  {},
  [],
  [undefined],
  [null],
  Array(1),
  [[]],
  { a: undefined },
  { a: null },
  { a: -0 },
  { a: 0 },
  { a: [1, 2] },
  { a: [2, 1] },
  { a: { b: 1 } },
  { "a\": {}": 1 },
  { ["__proto__"]: 1 },
  JSON.parse("{\"__proto__\":{}}"),
  cyclic,
  Symbol("a"),
  new Date(0),
  "1970-01-01T00:00:00.000Z",
  new Map([["a", 1]]),
  new Set(["a"]),
  [["a", 1]],
  () => 1
]

const text = FastCheck.array(FastCheck.constantFrom("a", "b", "c", "d"), { maxLength: 16 })

/** Reconstructs both sides (`-` and `+`) of a diff; hidden lines come from `expected`. */
const sides = (diff: string, expected: ReadonlyArray<string>) => {
  const before: Array<string> = []
  const after: Array<string> = []
  let kept = 0
  for (const line of diff === "" ? [] : diff.split("\n")) {
    const hidden = /^ {2}… (\d+) lines alike$/.exec(line)
    const alike = hidden !== null
      ? expected.slice(before.length, before.length + Number(hidden[1]))
      : line.startsWith(" ")
      ? [line.slice(2)]
      : []
    kept += alike.length
    for (const same of alike) {
      before.push(same)
      after.push(same)
    }
    if (line.startsWith("-")) before.push(line.slice(2))
    if (line.startsWith("+")) after.push(line.slice(2))
  }
  return { before, after, kept }
}

const longestCommon = (a: ReadonlyArray<string>, b: ReadonlyArray<string>): number => {
  if (a.length === 0 || b.length === 0) return 0
  const best = Array.from({ length: a.length + 1 }, () => Array.from({ length: b.length + 1 }, () => 0))
  for (const [i, x] of a.entries()) {
    for (const [j, y] of b.entries()) {
      best[i + 1]![j + 1] = x === y ? best[i]![j]! + 1 : Math.max(best[i]![j + 1]!, best[i + 1]![j]!)
    }
  }
  return best[a.length]![b.length]!
}

describe("diff", () => {
  it("distinguishes values with equal JSON, and values that look alike", () => {
    for (const [i, a] of different.entries()) {
      for (const [j, b] of different.entries()) assert.strictEqual(same(a, b), i === j, `${inline(a)} and ${inline(b)}`)
    }
  })

  it("ignores the order of keys, and respects the order of elements", () => {
    assert.isTrue(same({ a: 1, b: { c: 2, d: 3 } }, { b: { d: 3, c: 2 }, a: 1 }))
    assert.isFalse(same([1, 2], [2, 1]))
  })

  it("treats a copy of any value as equal", () => {
    FastCheck.assert(FastCheck.property(FastCheck.jsonValue(), (value) => {
      assert.isTrue(same(JSON.parse(JSON.stringify(value)), JSON.parse(JSON.stringify(value))))
    }))
  })

  it("agrees with deep equality on JSON values", () => {
    const small = FastCheck.jsonValue({ maxDepth: 2 })
    FastCheck.assert(FastCheck.property(small, small, (a, b) => {
      const equal = (a: unknown, b: unknown): boolean => {
        try {
          assert.deepStrictEqual(a, b)
          return true
        } catch {
          return false
        }
      }
      assert.strictEqual(same(a, b), equal(a, b))
    }))
  })

  it("formats a value as lines, one per entry", () => {
    assert.deepStrictEqual(lines({ b: [1, { c: undefined }], a: {}, d: [] }), [
      "{",
      "  \"a\": {},",
      "  \"b\": [",
      "    1,",
      "    {",
      "      \"c\": undefined,",
      "    },",
      "  ],",
      "  \"d\": [],",
      "}"
    ])
    assert.strictEqual(inline({ b: [1, { c: undefined }], a: {} }), "{ \"a\": {}, \"b\": [ 1, { \"c\": undefined } ] }")
  })

  it("is empty for equal values", () => {
    assert.strictEqual(diffLines(["a", "b"], ["a", "b"]), "")
    assert.strictEqual(diffLines([], []), "")
  })

  it("shows a changed field with its context, and omits distant lines", () => {
    const value = Object.fromEntries(Array.from("abcdefghijklmnop", (key, i) => [key, i]))
    assert.strictEqual(
      diffLines(lines(value), lines({ ...value, h: 70, q: 16 })),
      [
        "  … 5 lines alike",
        "    \"e\": 4,",
        "    \"f\": 5,",
        "    \"g\": 6,",
        "-   \"h\": 7,",
        "+   \"h\": 70,",
        "    \"i\": 8,",
        "    \"j\": 9,",
        "    \"k\": 10,",
        "    \"l\": 11,",
        "    \"m\": 12,",
        "    \"n\": 13,",
        "    \"o\": 14,",
        "    \"p\": 15,",
        "+   \"q\": 16,",
        "  }"
      ].join("\n")
    )
  })

  it("contains both sides completely, and keeps the longest common subsequence", () => {
    FastCheck.assert(
      FastCheck.property(text, text, (expected, actual) => {
        const { after, before, kept } = sides(diffLines(expected, actual), expected)
        if (same(expected, actual)) return
        assert.deepStrictEqual(before, expected)
        assert.deepStrictEqual(after, actual)
        assert.strictEqual(kept, longestCommon(expected, actual))
      }),
      { numRuns: 2_000 }
    )
  })

  it("handles two long texts without a common line", () => {
    const many = (name: string) => Array.from({ length: 5_000 }, (_, i) => `${name} ${i}`)
    const { after, before } = sides(diffLines(many("a"), many("b")), many("a"))
    assert.deepStrictEqual([before.length, after.length], [5_000, 5_000])
  })
})

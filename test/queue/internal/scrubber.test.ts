import { assert, describe, it } from "@effect/vitest"
import * as FastCheck from "effect/FastCheck"
import * as Redacted from "effect/Redacted"
import { scrubber } from "../../../src/queue/internal/scrubber.js"
import { runs } from "../../fixtures/runs.js"

const token = "tgp_v1_Zq8x7Secret0123456789"
const scrub = scrubber(Redacted.make(token))

// -----------------------------------------------------------------------------
// encodings
// -----------------------------------------------------------------------------

/** An encoded token: one text for each character or byte. `window` of them contain eight characters of the token. */
interface Encoded {
  readonly units: ReadonlyArray<string>
  readonly window: number
}

const code = (char: string) => char.charCodeAt(0)
const hexOf = (char: string, digits = 2) => code(char).toString(16).padStart(digits, "0")

const named: { readonly [char: string]: string } = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "\"": "&quot;",
  "'": "&#39;",
  "+": "&plus;",
  "/": "&sol;",
  "_": "&lowbar;",
  "\\": "&bsol;",
  "=": "&equals;"
}

/** The escapes of one character. */
const escapes = {
  json: (char: string) => JSON.stringify(char).slice(1, -1),
  "json with \\/": (char: string) => char === "/" ? "\\/" : JSON.stringify(char).slice(1, -1),
  "\\u": (char: string) => `\\u${hexOf(char, 4)}`,
  "\\U": (char: string) => `\\u${hexOf(char, 4).toUpperCase()}`,
  "\\x": (char: string) => `\\x${hexOf(char)}`,
  encodeURIComponent,
  "percent": (char: string) => `%${hexOf(char)}`,
  "PERCENT": (char: string) => `%${hexOf(char).toUpperCase()}`,
  "HTML": (char: string) => named[char] ?? char,
  "HTML, decimal": (char: string) => `&#${code(char)};`,
  "HTML, hex": (char: string) => `&#x${hexOf(char)};`,
  "HTML, HEX": (char: string) => `&#X0${hexOf(char).toUpperCase()};`
}

const bytes = (text: string) => Buffer.from(text, "latin1")

/** The encodings of the whole token, before any escape. */
const forms: { readonly [form: string]: (token: string, before: string, after: string) => Encoded } = {
  "as it is": (token) => ({ units: Array.from(token), window: 8 }),
  "hex": (token) => ({ units: Array.from(bytes(token).toString("hex")), window: 16 }),
  "HEX": (token) => ({ units: Array.from(bytes(token).toString("hex").toUpperCase()), window: 16 }),
  // two more characters: a character that is partly before or after the token is not removed
  "base64": (token, before, after) => ({
    units: Array.from(bytes(before + token + after).toString("base64")).slice(
      Math.floor(before.length * 4 / 3),
      Math.ceil((before + token).length * 4 / 3)
    ),
    window: 13
  }),
  "base64url": (token, before, after) => ({
    units: Array.from(bytes(before + token + after).toString("base64url")).slice(
      Math.floor(before.length * 4 / 3),
      Math.ceil((before + token).length * 4 / 3)
    ),
    window: 13
  })
}

const encode = (
  token: string,
  { after, before, chain, form }: {
    readonly form: string
    readonly before: string
    readonly after: string
    readonly chain: ReadonlyArray<keyof typeof escapes>
  }
): Encoded => {
  const { units, window } = forms[form]!(token, before, after)
  return {
    units: units.map((unit) =>
      chain.reduce((text, name) => Array.from(text, (char) => escapes[name](char)).join(""), unit)
    ),
    window
  }
}

/** The parts of an encoded token that must not remain. */
const windows = ({ units, window }: Encoded): ReadonlyArray<string> =>
  units.slice(window - 1).map((_, at) => units.slice(at, at + window).join(""))

// -----------------------------------------------------------------------------
// tokens and texts
// -----------------------------------------------------------------------------

const usual = FastCheck.stringMatching(/^[A-Za-z0-9_.~+/=-]{8,60}$/)
const repetitive = FastCheck.stringMatching(/^[ab]{8,30}$/)
const printable = FastCheck.array(FastCheck.integer({ min: 0x21, max: 0x7e }), { minLength: 8, maxLength: 60 }).map((
  codes
) => String.fromCharCode(...codes))

const surroundings = FastCheck.oneof(
  FastCheck.string({ maxLength: 20 }),
  FastCheck.constantFrom("", "Bearer ", "x:", "key=", "{\"message\":\"", "…", "\\", "%", "<b>")
)

const anEncoding = FastCheck.record({
  form: FastCheck.constantFrom(...Object.keys(forms)),
  before: FastCheck.constantFrom("", "x", "x:", "Bearer "),
  after: FastCheck.constantFrom("", "\n", "\"}", " and more"),
  chain: FastCheck.array(FastCheck.constantFrom(...Object.keys(escapes) as Array<keyof typeof escapes>), {
    maxLength: 3
  })
})

const holds = (
  token: string,
  encoding: Parameters<typeof encode>[1],
  before: string,
  after: string,
  cut: number
): void => {
  const encoded = encode(token, encoding)
  const whole = encoded.units.join("")
  const scrub = scrubber(Redacted.make(token))
  for (const text of [`${before}${whole}${after}`, `${before}${whole.slice(0, cut % (whole.length + 1))}`]) {
    const left = scrub(text)
    for (const window of windows(encoded)) {
      assert.notInclude(left, window, `${JSON.stringify(encoding)}: ${text}`)
    }
  }
}

describe("the token", () => {
  it("is removed from a text, whole and cut, in any encoding", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.oneof(usual, usual, repetitive),
        anEncoding,
        surroundings,
        surroundings,
        FastCheck.nat(),
        holds
      ),
      { numRuns: runs(300, 8_000) }
    )
  })

  it("is removed also if it looks like an escape itself", () => {
    FastCheck.assert(
      FastCheck.property(
        FastCheck.oneof(printable, FastCheck.stringMatching(/^[\\%&#u0x41;lt]{8,20}$/)),
        anEncoding.map((encoding) => ({ ...encoding, chain: encoding.chain.slice(0, 1) })),
        FastCheck.constantFrom("", "key: "),
        surroundings,
        (token, encoding, before, after) => holds(token, encoding, before, after, 0)
      ),
      { numRuns: runs(300, 8_000) }
    )
  })

  it("is removed in each encoding", () => {
    for (const form of Object.keys(forms)) {
      for (const before of ["", "x", "x:", "Bearer "]) {
        const whole = encode(token, { form, before, after: "", chain: [] }).units.join("")
        assert.match(scrub(`at ${whole} end`), /^at .?<redacted>.{0,2} end$/, `${form} after ${before}`)
      }
    }
  })

  it("leaves at most three characters if the text ends within it, and seven if the text continues", () => {
    for (let length = 0; length < token.length; length++) {
      const part = token.slice(0, length)
      assert.strictEqual(scrub(`key: ${part}`), length < 4 ? `key: ${part}` : "key: <redacted>")
      assert.strictEqual(scrub(`key: ${part}...`), length < 8 ? `key: ${part}...` : "key: <redacted>...")
    }
  })

  it("is removed if it begins within a part of itself", () => {
    const scrub = scrubber(Redacted.make("ababababX-secret"))
    assert.strictEqual(scrub("abababababababX-secret."), "<redacted>.")
  })

  it("is the only text that is removed", () => {
    FastCheck.assert(
      FastCheck.property(FastCheck.string({ unit: "binary", maxLength: 200 }), (text) => {
        assert.strictEqual(scrub(text), text)
      }),
      { numRuns: runs(300, 2_000) }
    )
    for (const text of ["keys begin with tgp_v1_.", "100% & more &lt; \\\" %41 \\u0041", "&#999999; &nothing; \\"]) {
      assert.strictEqual(scrub(text), text)
    }
  })

  it("of a few letters is not treated as a secret", () => {
    assert.strictEqual(scrubber(Redacted.make("dev"))("says the devil"), "says the devil")
  })

  it("is removed in linear time", () => {
    for (const part of ["\\", "%25", "&amp;", "%5C", "tgp_v1_Z", "t", "&#0", "a"]) {
      assert.notInclude(scrub(part.repeat(2_000_000)), token, part)
    }
    const repeated = scrubber(Redacted.make(`${"a".repeat(4_000)}b`))
    assert.notInclude(repeated("a".repeat(1_000_000)), "a".repeat(8))
  })
})

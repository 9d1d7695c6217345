import * as Encoding from "effect/Encoding"
import { identity } from "effect/Function"
import * as Redacted from "effect/Redacted"

/** Replaces the token in a text. @internal */
export type Scrub = (text: string) => string

// A shorter token, such as a developer's token for an emulator, is not a secret, and removing it would garble texts.
const minLength = 8

// An error keeps far less of a text.
const maxText = 64 * 1024

// A text may be cut within the token: a prefix of `minPrefix` characters (at the end `minPrefixAtEnd`) is removed too.
const minPrefix = 8
const minPrefixAtEnd = 4

// The names of ASCII characters in HTML.
const entities: ReadonlyMap<string, string> = new Map(
  ("! excl|\" quot|# num|$ dollar|% percnt|& amp|' apos|( lpar|) rpar|* ast|+ plus|, comma|. period|/ sol|: colon|; semi|" +
    "< lt|= equals|> gt|? quest|@ commat|[ lsqb lbrack|\\ bsol|] rsqb rbrack|^ Hat|_ lowbar UnderBar|" +
    "` grave DiacriticalGrave|{ lcub lbrace|} rcub rbrace").split("|").concat("| verbar vert VerticalLine").flatMap(
      (line) => line.slice(2).split(" ").map((name) => [name, line.charAt(0)] as const)
    )
)

// The escapes of a character in source code (and JSON), URLs and HTML.
const kinds = [
  /\\(?:u[0-9a-f]{4}|x[0-9a-f]{2}|.)/gi,
  /%[0-9a-f]{2}/gi,
  /&(?:#x0*[0-9a-f]{1,4};?|#0*[0-9]{1,5};?|[a-z]+;)/gi
]
const anyKind = new RegExp(kinds.map(({ source }) => source).join("|"), "gi")

const unescape = (escape: string): string | undefined =>
  escape.startsWith("\\") && escape.length === 2
    ? escape.charAt(1)
    : /^&[a-z]/i.test(escape)
    ? entities.get(escape.slice(1, -1))
    : /^&#\d/.test(escape)
    ? String.fromCharCode(Number(escape.slice(2).replace(";", "")))
    : String.fromCharCode(parseInt(escape.replace(/^(?:\\u|\\x|%|&#x)|;$/gi, ""), 16))

// The maximum depth of nested escapes. Each pass takes linear time.
const maxPasses = 5

/** A text with some of its escapes decoded. */
interface Decoded {
  readonly text: string
  /** Returns the position in the original of a character, or of the end. */
  readonly originOf: (index: number) => number
}

/** Decodes the outermost escapes of some kinds. Returns the argument itself if there are none. */
const decode = (from: Decoded, escapes: RegExp): Decoded => {
  const origins: Array<number> = []
  let at = 0
  const keepTo = (end: number) => {
    while (at < end) origins.push(at++)
  }
  const text = from.text.replace(escapes, (escape, index: number) => {
    const char = unescape(escape)
    // a token consists of printable ASCII characters
    if (char === undefined || char < "!" || char > "~") return escape
    keepTo(index)
    origins.push(index)
    at += escape.length
    return char
  })
  if (at === 0) return from
  keepTo(from.text.length + 1)
  return { text, originOf: (index) => from.originOf(origins[index]!) }
}

/** Returns the text and its decodings: nested escapes in any order, and each kind once (a token may look like one). */
const decodings = (text: string): ReadonlyArray<Decoded> => {
  const original: Decoded = { text, originOf: identity }
  const all = [original]
  for (let pass = 0; pass < maxPasses; pass++) {
    const next = decode(all[pass]!, anyKind)
    if (next === all[pass]) break
    all.push(next)
  }
  return all.length === 1 ? all : [...all, ...kinds.map((kind) => decode(original, kind))]
}

/** A form of the token. A prefix of it is found by `min` characters, and at the end of a text by `minAtEnd`. */
interface Needle {
  readonly prefix: string
  /** All parts of the form that are as long as the prefix. */
  readonly parts: ReadonlySet<string>
  readonly minAtEnd: number
}

const needle = (form: string, charactersPerByte: number): Needle => {
  const min = Math.min(form.length, Math.ceil(minPrefix * charactersPerByte))
  return {
    prefix: form.slice(0, min),
    parts: new Set(Array.from({ length: form.length - min + 1 }, (_, at) => form.slice(at, at + min))),
    minAtEnd: Math.min(form.length, Math.ceil(minPrefixAtEnd * charactersPerByte))
  }
}

/** Reports each occurrence of a form or a prefix of it, and of what follows it as long as it consists of parts. */
const find = (text: string, { minAtEnd, parts, prefix }: Needle, found: (from: number, to: number) => void): void => {
  const min = prefix.length
  for (let at = text.indexOf(prefix); at !== -1;) {
    let next = at + 1
    while (parts.has(text.slice(next, next + min))) next++
    found(at, next + min - 1)
    at = text.indexOf(prefix, next)
  }
  for (let length = min - 1; length >= minAtEnd; length--) {
    if (text.endsWith(prefix.slice(0, length))) return found(text.length - length, text.length)
  }
}

/** Returns the base64 characters that depend on `token` alone, if `before` bytes precede it. */
const base64 = (token: string, before: number): string => {
  const bits = 8 * (before + token.length)
  return Encoding.encodeBase64("\0".repeat(before) + token).slice(Math.ceil(8 * before / 6), Math.floor(bits / 6))
}

const needlesOf = (token: string): ReadonlyArray<Needle> => {
  const needles = (forms: ReadonlyArray<string>, charactersPerByte: number) =>
    Array.from(new Set(forms), (form) => needle(form, charactersPerByte))
  const hex = Encoding.encodeHex(token)
  const base64s = [0, 1, 2].map((before) => base64(token, before))
  return [
    // a token may itself look like an escape
    ...needles(decodings(token).map(({ text }) => text), 1),
    ...needles([hex, hex.toUpperCase()], 2),
    ...needles([...base64s, ...base64s.map((form) => form.replaceAll("+", "-").replaceAll("/", "_"))], 4 / 3)
  ]
}

/**
 * Creates a function that replaces the token in a text by `<redacted>`: verbatim, in base64 or hex, alone or within
 * other text, each escaped for JSON, URLs or HTML up to `maxPasses` times. A cut off token is replaced except for a few
 * characters. The result is cut to the length that an error could keep. Takes linear time.
 *
 * @internal
 */
export const scrubber = (apiKey: Redacted.Redacted): Scrub => {
  const token = Redacted.value(apiKey)
  if (token.length < minLength) return (text) => text
  const needles = needlesOf(token)
  return (whole) => {
    const text = whole.slice(0, maxText)
    const found: Array<readonly [from: number, to: number]> = []
    for (const decoded of decodings(text)) {
      for (const needle of needles) {
        find(decoded.text, needle, (from, to) => found.push([decoded.originOf(from), decoded.originOf(to)]))
      }
    }
    let scrubbed = ""
    let end = -1
    for (const [from, to] of found.sort(([a], [b]) => a - b)) {
      if (from > end) scrubbed += `${text.slice(Math.max(end, 0), from)}<redacted>`
      end = Math.max(end, to)
    }
    return scrubbed + text.slice(Math.max(end, 0))
  }
}

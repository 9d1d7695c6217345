import * as Effect from "effect/Effect"
import type * as Random from "effect/Random"

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0")

/** Creates a UUIDv7 (RFC 9562): 48 bits of time, 74 random bits. @internal */
export const uuidv7 = (millis: number, random: Random.Random): Effect.Effect<string> =>
  Effect.map(
    Effect.all([
      random.nextIntBetween(0, 0x1000),
      random.nextIntBetween(0, 0x4000),
      random.nextIntBetween(0, 0x1000000),
      random.nextIntBetween(0, 0x1000000)
    ]),
    ([a, b, c, d]) => {
      const time = hex(Math.floor(millis), 12)
      return `${time.slice(0, 8)}-${time.slice(8)}-7${hex(a, 3)}-${hex(0x8000 | b, 4)}-${hex(c, 6)}${hex(d, 6)}`
    }
  )

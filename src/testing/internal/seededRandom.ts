import * as Duration from "effect/Duration"
import * as Hash from "effect/Hash"
import * as Random from "effect/Random"
import { PCGRandom } from "effect/Utils"
import type { Timing } from "../Worker.js"

/** @internal */
export const defaultSeed = "effect-queue-status"

/** Returns a source of numbers between 0 and 1, the same numbers for the same seed. @internal */
export const seeded = (seed: string): () => number => {
  let random: PCGRandom | undefined
  return () => {
    random ??= new PCGRandom(Hash.string(seed))
    return random.number()
  }
}

/** Returns the `Random` of a seed. Here alone, since Effect 4 has no `Random.make`. @internal */
export const make = (seed: string | number): Random.Random => Random.make(seed)

/**
 * Returns a time in whole milliseconds, the unit of the service. Fractions may differ between machines, and with them the
 * order of events.
 *
 * @internal
 */
export const sample = (timing: Timing, random: () => number): number =>
  Math.round(Duration.toMillis(typeof timing === "function" ? timing(random) : timing))

import * as Duration from "effect/Duration"
import * as Hash from "effect/Hash"
import { PCGRandom } from "effect/Utils"
import type { Timing } from "../Worker.js"

/**
 * Where none is given.
 *
 * @internal
 */
export const defaultSeed = "effect-queue-status"

/**
 * A source of numbers between 0 and 1, always the same ones for the same seed.
 *
 * @internal
 */
export const seeded = (seed: string): () => number => {
  let random: PCGRandom | undefined
  return () => {
    random ??= new PCGRandom(Hash.string(seed))
    return random.number()
  }
}

/**
 * A time in whole milliseconds, which is what the service tells; what lies behind the point may differ from machine to
 * machine, and with it the order of what happens.
 *
 * @internal
 */
export const sample = (timing: Timing, random: () => number): number =>
  Math.round(Duration.toMillis(typeof timing === "function" ? timing(random) : timing))

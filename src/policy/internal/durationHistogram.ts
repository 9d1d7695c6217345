/**
 * A compact distribution of times: weights in buckets of an eighth of an octave, from 50 milliseconds to 9 days. Times
 * are in milliseconds.
 * @internal
 */
import * as Option from "effect/Option"

/** @internal */
export const size = 192

const perOctave = 8
const unit = 50

// Bucket k holds times from bounds[k] to below bounds[k + 1].
const bounds: ReadonlyArray<number> = Array.from(
  { length: size + 1 },
  (_, k) => k === 0 ? 0 : unit * 2 ** (k / perOctave)
)
const longest = unit * 2 ** (size / perOctave)

/** @internal */
export type Sketch = Array<number>

/** @internal */
export const empty = (): Sketch => Array.from({ length: size }, () => 0)

const bucketOf = (millis: number): number =>
  millis < unit ? 0 : Math.min(size - 1, Math.floor(perOctave * Math.log2(millis / unit)))

/** @internal */
export const isMeasurable = (millis: number): boolean => millis >= 0 && millis < longest

// A weight that has faded below this is removed.
const least = 0.001

/** @internal */
export const add = (sketch: Sketch, millis: number, fading: number): void => {
  for (let k = 0; k < size; k++) {
    const weight = sketch[k]! * fading
    sketch[k] = weight < least ? 0 : weight
  }
  sketch[bucketOf(millis)]! += 1
}

/** @internal */
export const total = (sketch: Sketch): number => sketch.reduce((a, b) => a + b, 0)

/** @internal */
export const toWeights = (sketch: Sketch): ReadonlyArray<readonly [bucket: number, weight: number]> =>
  sketch.flatMap((weight, k) => weight > 0 ? [[k, weight] as const] : [])

/** @internal */
export const fromWeights = (weights: ReadonlyArray<readonly [bucket: number, weight: number]>): Sketch => {
  const sketch = empty()
  for (const [k, weight] of weights) sketch[k]! += weight
  return sketch
}

/**
 * Spreads each weight over its neighbors: with few jobs, an empty bucket next to a full one means little. The radius is
 * 20 buckets divided by the square root of the number of jobs.
 * @internal
 */
export const smooth = (sketch: Sketch): Sketch => {
  const radius = Math.round(20 / Math.sqrt(Math.max(1, total(sketch))))
  const smoothed = empty()
  for (const [k, weight] of toWeights(sketch)) {
    for (let i = -radius; i <= radius; i++) {
      smoothed[Math.max(0, Math.min(size - 1, k + i))]! += weight * (radius + 1 - Math.abs(i)) / (radius + 1) ** 2
    }
  }
  return smoothed
}

/**
 * The distribution of the remaining time: masses between two times from now on, in order of time, each spread evenly.
 * @internal
 */
export type Cells = ReadonlyArray<{ readonly from: number; readonly to: number; readonly mass: number }>

/** How many jobs a distribution stands for. @internal */
export const massOf = (cells: Cells): number => cells.reduce((all, { mass }) => all + mass, 0)

/** @internal */
export const after = (sketch: Sketch, age: number): Cells => {
  const cells: Array<Cells[number]> = []
  for (let k = bucketOf(age); k < size; k++) {
    const [low, high, weight] = [bounds[k]!, bounds[k + 1]!, sketch[k]!]
    if (weight === 0 || high <= age) continue
    const from = Math.max(low, age)
    cells.push({ from: from - age, to: high - age, mass: weight * (high - from) / (high - low) })
  }
  return cells
}

/** Returns the distribution of two times in sequence. An empty first distribution counts as zero. @internal */
export const sum = (first: Cells, second: Sketch): Sketch => {
  if (first.length === 0) return second
  const masses = empty()
  const weights = toWeights(second)
  for (const { from, mass, to } of first) {
    for (const [k, weight] of weights) masses[bucketOf((from + to + bounds[k]! + bounds[k + 1]!) / 2)]! += mass * weight
  }
  // scaled to the mass of the first, since those are still to come
  const all = total(second)
  return masses.map((mass) => mass / all)
}

/**
 * Adds the weight of one unseen job, which may end at any time, each octave being equally likely. So the distribution
 * never becomes empty.
 * @internal
 */
export const withDoubt = (sketch: Sketch): Sketch => sketch.map((weight) => weight + 1 / size)

/**
 * Returns the pause that balances the cost of polls and the time that an end stays unseen. If ends come at the rate h,
 * the best density of polls is √(h / (2 cost)) (Keller, 1974): the next poll is due when its integral reaches 1. The
 * pause extends across times in which nothing can end.
 * @internal
 */
export const balancedPause = (cells: Cells, cost: number): number => {
  let left = Math.sqrt(2 * cost)
  let alive = massOf(cells)
  for (const { from, mass, to } of cells) {
    // the density is constant within the cell, and the rate grows as fewer are left
    const density = mass / (to - from)
    const roots = 2 / Math.sqrt(density)
    const whole = roots * (Math.sqrt(alive) - Math.sqrt(Math.max(0, alive - mass)))
    if (whole >= left) return from + (alive - (Math.sqrt(alive) - left / roots) ** 2) / density
    left -= whole
    alive -= mass
  }
  return Infinity
}

/** @internal */
export const quantile = (cells: Cells, part: number): Option.Option<number> => {
  let left = part * massOf(cells)
  for (const { from, mass, to } of cells) {
    if (mass >= left) return Option.some(from + (to - from) * left / mass)
    left -= mass
  }
  return Option.map(Option.fromNullable(cells.at(-1)), ({ to }) => to)
}

/** The conditions of faults, which `Fault` describes. @internal */
import * as Duration from "effect/Duration"
import type { Call, Condition } from "./fault.js"

/** @internal */
export const where = (predicate: (call: Call) => boolean, label: string = "some calls"): Condition => ({
  label,
  start: () => predicate
})

/** @internal */
export const nth = (from: number, to: number = from): Condition => {
  const isNumber = Number.isInteger(from) && (Number.isInteger(to) || to === Infinity)
  if (!(isNumber && from >= 1 && to >= from)) throw new RangeError(`Fault.nth: there are no calls ${from} to ${to}`)
  return {
    label: from === to ? `call ${from}` : `calls ${from} to ${to}`,
    start: () => {
      let count = 0
      return () => ++count >= from && count <= to
    }
  }
}

/** @internal */
export const withProbability = (fraction: number): Condition => {
  if (!(fraction >= 0 && fraction <= 1)) {
    throw new RangeError(`Fault.withProbability: ${fraction} is not between 0 and 1`)
  }
  // without the digits of a binary fraction: 0.29 * 100 is 28.999999999999996
  const percentage = Number((fraction * 100).toPrecision(12))
  return { label: `${percentage} % of the calls`, start: ({ random }) => () => random() < fraction }
}

/** @internal */
export const during = (from: Duration.DurationInput, to: Duration.DurationInput = Duration.infinity): Condition => {
  const [start, end] = [Duration.toMillis(from), Duration.toMillis(to)]
  const label = `from ${Duration.format(from)} to ${Duration.format(to)}`
  if (start >= end) throw new RangeError(`Fault.during: there is no time ${label}`)
  return { label, start: ({ startedAt }) => ({ at }) => startedAt + start <= at && at < startedAt + end }
}

/** @internal */
export const aboveRate = (calls: number, per: Duration.DurationInput): Condition => {
  const span = Duration.toMillis(per)
  const label = `over ${calls} calls in ${Duration.format(per)}`
  if (!(Number.isInteger(calls) && calls >= 0 && span > 0)) throw new RangeError(`Fault.aboveRate: no rate is ${label}`)
  return {
    label,
    start: () => {
      let allowed: ReadonlyArray<number> = []
      return ({ at }) => {
        allowed = allowed.filter((time) => time > at - span)
        if (allowed.length >= calls) return true
        allowed = [...allowed, at]
        return false
      }
    }
  }
}

/**
 * The two times of a clock. Intervals, deadlines and ages are differences of monotonic times, which setting the wall
 * clock does not change. Dates come from the wall clock. The lint rules allow no other way to read a clock where jobs
 * are watched, so that the two can't be mixed.
 *
 * @internal
 */
import type * as Clock from "effect/Clock"
import * as DateTime from "effect/DateTime"
import { lastDate } from "./limits.js"

/** Returns the monotonic time, in whole milliseconds. Only differences of it have a meaning. @internal */
export const monotonic = (clock: Clock.Clock): number =>
  // `TestClock` multiplies in floating point, and may be some nanoseconds short
  Number((clock.unsafeCurrentTimeNanos() + 500n) / 1_000_000n)

/** Returns how far the wall clock is ahead of the monotonic time now, in milliseconds. @internal */
export const wallOffset = (clock: Clock.Clock): number => clock.unsafeCurrentTimeMillis() - monotonic(clock)

/**
 * Returns the date now, and the time of the wall clock without its settings since the process began, both in milliseconds
 * since the epoch. They differ by whole tenths of a second, so that the small differences of two clocks change neither. In
 * a test they are equal, with fractions.
 *
 * @internal
 */
export const steady = (clock: Clock.Clock): { readonly date: number; readonly time: number } => {
  const date = clock.unsafeCurrentTimeMillis()
  const ahead = date - Number(clock.unsafeCurrentTimeNanos()) / 1e6
  return { date, time: date - 100 * Math.round(ahead / 100) }
}

/** Returns the date of a monotonic time, by the current setting of the wall clock: at most the last that there is. @internal */
export const dateOf = (clock: Clock.Clock, time: number): DateTime.Utc =>
  DateTime.unsafeMake(Math.min(lastDate, wallOffset(clock) + time))

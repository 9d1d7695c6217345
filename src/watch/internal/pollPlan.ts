/**
 * When polls are due: the demand of all jobs, the capacity there is for them, and the time that pauses are measured in.
 * Times are milliseconds since the watcher began.
 *
 * @internal
 */
import * as Effect from "effect/Effect"
import type { JobStatus } from "../../model/Job.js"
import * as Pacer from "../../policy/internal/scheduleDriver.js"

/**
 * The time that pauses are measured in. It runs slower than the clock by the factor `stretch`, so that a change of the
 * factor lengthens and shortens the pauses that have begun as well as those to come.
 *
 * @internal
 */
export class StretchedTime {
  stretch = 1
  // both are the same moment: one by this time, one by the clock
  private base = 0
  private baseAt = 0

  /** This time at a time of the clock. */
  at(millis: number): number {
    return this.base + (millis - this.baseAt) / this.stretch
  }

  /** The clock's time at a time of this kind. */
  toClock(time: number): number {
    // the fraction is what a division and a multiplication by the same number may leave
    return Math.ceil(this.baseAt + (time - this.base) * this.stretch - 1e-6)
  }

  /** Runs slower by another factor from now on. */
  setStretch(stretch: number, now: number): void {
    if (stretch === this.stretch) return
    this.base = this.at(now)
    this.baseAt = now
    this.stretch = stretch
  }
}

/**
 * How many polls a second the cadences ask for.
 *
 * @internal
 */
export class Demand {
  private perSecond = 0
  private jobs = 0

  /** The period of a job is another one; 0 means that it is not known. */
  change(before: number, period: number): void {
    if (before > 0) {
      this.perSecond -= 1_000 / before
      this.jobs--
    }
    if (period > 0) {
      this.perSecond += 1_000 / period
      this.jobs++
    }
    // rounding leaves a little
    if (this.jobs === 0) this.perSecond = 0
  }

  /**
   * The factor by which pauses must be longer for the demand to fit the capacity, at least 1. Jobs whose period is not
   * known are taken to be like the others.
   */
  stretch(all: number, capacity: number): number {
    return this.jobs === 0 ? 1 : Math.max(1, this.perSecond * (all / this.jobs) / capacity)
  }
}

/**
 * How long the service takes to answer, from the requests that it answered: their mean and mean deviation, estimated as
 * TCP does. A request that timed out says nothing of how long an answer takes.
 *
 * @internal
 */
export class Latency {
  mean = 0
  private deviation: number | undefined = undefined

  add(millis: number): void {
    if (this.deviation === undefined) {
      this.mean = millis
      this.deviation = millis / 2
    } else {
      this.deviation += (Math.abs(millis - this.mean) - this.deviation) / 4
      this.mean += (millis - this.mean) / 8
    }
  }

  /** After this time an answer is late: few take longer. */
  get late(): number {
    return Math.max(1_000, Math.ceil(this.mean + 4 * (this.deviation ?? 0)))
  }
}

/**
 * The first pause of a cadence, and its period: the longer of the first two pauses. The first one may be a random part of
 * the period (`Cadence.fixed`), which says when to poll, not how often.
 *
 * @internal
 */
export const firstPause = (
  beat: Pacer.Beat,
  now: number,
  status: JobStatus
): Effect.Effect<{ readonly pause: number; readonly period: number }> =>
  Effect.flatMap(Pacer.nextPause(beat, now, status), (pause) =>
    Effect.map(
      Pacer.nextPause({ cadence: beat.cadence, state: beat.state }, now + pause, status),
      (next) => ({ pause, period: Math.max(pause, next) })
    ))

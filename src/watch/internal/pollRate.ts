/**
 * The demand of all cadences, and how it is made to fit the capacity. Times are milliseconds since the watcher was made.
 */

/**
 * The time in which pauses are measured. It runs slower than the clock by the factor `stretch`, so that a change of the
 * factor applies to pauses that have begun as well.
 * @internal
 */
export class StretchedTime {
  stretch = 1
  // one moment, by this time and by the clock
  private base = 0
  private baseAt = 0

  /** Converts a time of the clock. */
  at(millis: number): number {
    return this.base + (millis - this.baseAt) / this.stretch
  }

  /** Converts to a time of the clock. */
  toClock(time: number): number {
    // the fraction allows for rounding: a division and a multiplication by the same number may leave a little
    return Math.ceil(this.baseAt + (time - this.base) * this.stretch - 1e-6)
  }

  /** Sets the factor from now on. */
  setStretch(stretch: number, now: number): void {
    if (stretch === this.stretch) return
    this.base = this.at(now)
    this.baseAt = now
    this.stretch = stretch
  }
}

/** The polls per second that the cadences ask for. @internal */
export class Demand {
  private perSecond = 0
  private jobs = 0

  /** The period of a job changes; `undefined` if it is not known. */
  change(before: number | undefined, period: number | undefined): void {
    if (before !== undefined) {
      this.perSecond -= 1_000 / before
      this.jobs--
    }
    if (period !== undefined) {
      this.perSecond += 1_000 / period
      this.jobs++
    }
    // removes rounding errors
    if (this.jobs === 0) this.perSecond = 0
  }

  /**
   * The part of the capacity that all jobs ask for; if over 1, the factor by which pauses must be longer. Jobs with an unknown
   * period count as average ones.
   */
  use(all: number, capacity: number): number {
    return this.jobs === 0 ? 0 : this.perSecond * (all / this.jobs) / capacity
  }
}

/**
 * The response time of the service: mean and mean deviation, estimated as TCP does. Requests that timed out do not count.
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

  /** A response after this time is late: few take longer. */
  get late(): number {
    return Math.max(1_000, Math.ceil(this.mean + 4 * (this.deviation ?? 0)))
  }
}

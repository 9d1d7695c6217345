/**
 * How many polls may begin, in any stretch of time: never more than `most` in any second, and never more than a
 * tenth of that in any tenth of a second, so that what is late does not come all at once.
 *
 * @internal
 */
export class Budget {
  private readonly times: Float64Array
  private readonly window: number
  private next = 0
  /** How many that makes in a second. */
  readonly perSecond: number

  constructor(most: number) {
    const burst = Math.max(1, Math.floor(most / 10))
    // a whole number of windows to the second: with part of one more there would be too many polls in some seconds
    const windows = most < 1 ? most : Math.floor(most / burst)
    this.times = new Float64Array(burst).fill(-Infinity)
    this.window = 1_000 / windows
    this.perSecond = burst * windows
  }

  /** When the next poll may begin. */
  get freeAt(): number {
    return Math.ceil(this.times[this.next]! + this.window)
  }

  spend(now: number): void {
    this.times[this.next] = now
    this.next = (this.next + 1) % this.times.length
  }
}

/**
 * How many polls may begin: at most `pollsPerSecond` within any second, and at most a tenth of that within any tenth of a
 * second, so that late polls do not begin all at once.
 * @internal
 */
export class RateLimit {
  private readonly times: Float64Array
  private readonly window: number
  private next = 0
  /** The polls per second that these windows allow. */
  readonly perSecond: number

  constructor(pollsPerSecond: number) {
    const burst = Math.max(1, Math.floor(pollsPerSecond / 10))
    // a whole number of windows per second: part of another window would allow too many polls in some seconds
    const windows = pollsPerSecond < 1 ? pollsPerSecond : Math.floor(pollsPerSecond / burst)
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

// the times of more polls are not kept: a limit of millions, or none, needs no more memory
const longestBurst = 10_000

/**
 * How many polls may begin: at most `pollsPerSecond` within any second, and at most a tenth of that within any tenth of a
 * second, so that late polls do not begin all at once.
 * @internal
 */
export class RateLimit {
  private readonly times: Float64Array
  private readonly windows: number
  private next = 0

  /** @param share the part of `pollsPerSecond` that applies now, more than 0 */
  constructor(pollsPerSecond: number, private readonly share: () => number = () => 1) {
    const burst = Math.min(longestBurst, Math.max(1, Math.floor(pollsPerSecond / 10)))
    // a whole number of windows per second: part of another window would allow too many polls in some seconds
    this.windows = pollsPerSecond < 1 ? pollsPerSecond : Math.floor(pollsPerSecond / burst)
    this.times = new Float64Array(burst).fill(-Infinity)
  }

  /** The polls per second that the windows allow. */
  get perSecond(): number {
    return this.times.length * this.windows * this.share()
  }

  /** When the next poll may begin. */
  get freeAt(): number {
    return Math.ceil(this.times[this.next]! + 1_000 / (this.windows * this.share()))
  }

  spend(now: number): void {
    this.times[this.next] = now
    this.next = (this.next + 1) % this.times.length
  }
}

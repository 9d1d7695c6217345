/**
 * Simulated workers, told by a few figures.
 *
 * @internal
 */
import * as Duration from "effect/Duration"
import { fail, finish, lognormal, progress } from "../../testing/Worker.js"
import type { Pool, Script, Step } from "../../testing/Worker.js"

/**
 * - `workers`: how many jobs of a model run at the same time.
 * - `pickup`: how long an idle worker takes to claim a job.
 * - `duration`: the median of how long an attempt takes; two of three take between 0.6 and 1.65 times of it.
 * - `progressEvery`: how often a worker reports its progress.
 * - `failureRate`, `lossRate`: what part of the attempts, from 0 to 1, the model fails; and of how many nothing more is
 *   heard somewhere in the middle.
 * - `claimTimeout`: how long after that the job goes back to the queue.
 *
 * @internal
 */
export interface Profile {
  readonly workers: number
  readonly pickup: Duration.Duration
  readonly duration: Duration.Duration
  readonly progressEvery: Duration.Duration
  readonly failureRate: number
  readonly lossRate: number
  readonly claimTimeout: Duration.Duration
}

/** @internal */
export const defaultProfile: Profile = {
  workers: 4,
  pickup: Duration.millis(500),
  duration: Duration.seconds(20),
  progressEvery: Duration.seconds(1),
  failureRate: 0.05,
  lossRate: 0.05,
  claimTimeout: Duration.seconds(10)
}

// More steps would tell nobody more.
const mostSteps = 1_000

const script = ({ duration, failureRate, lossRate, progressEvery }: Profile): Script => {
  const drawn = lognormal(duration)
  return ({ payload }, random) => {
    const total = Math.max(1, Duration.toMillis(drawn(random)))
    const fate = random()
    const isLost = fate < lossRate
    const isFailed = !isLost && fate < lossRate + failureRate
    // an attempt that comes to nothing does so at any time
    const until = isLost || isFailed ? total * random() : total
    const pause = Math.max(1, Duration.toMillis(progressEvery), total / mostSteps)
    const steps: Array<Step> = []
    let at = pause
    for (; at < until; at += pause) steps.push(progress(Duration.millis(pause), Math.floor(1_000 * at / total) / 1_000))
    const rest = Duration.millis(until - (at - pause))
    if (isFailed) steps.push(fail(rest, "simulated failure"))
    if (!isLost && !isFailed) steps.push(finish(rest, { simulated: true, inputs: payload }))
    return steps
  }
}

/**
 * The workers of a profile.
 *
 * @internal
 */
export const toPool = (profile: Profile): Pool => ({
  workers: profile.workers,
  pickup: profile.pickup,
  claimTimeout: profile.claimTimeout,
  script: script(profile)
})

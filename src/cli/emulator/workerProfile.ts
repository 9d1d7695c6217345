// Simulated workers.
import * as Duration from "effect/Duration"
import { fail, finish, lognormal, type Pool, progress, type Script, type Step } from "../../testing/Worker.js"

/** The options of `queue-status emulator` describe each. */
export const defaultProfile = {
  workers: 4,
  pickup: Duration.millis(500),
  /** The median; two of three take between 0.6 and 1.65 times as long. */
  duration: Duration.seconds(20),
  progressEvery: Duration.seconds(1),
  failureRate: 0.05,
  lossRate: 0.05,
  claimTimeout: Duration.seconds(10)
}

export type Profile = typeof defaultProfile

// bounds the memory of a long attempt
const mostSteps = 1_000

const script = ({ duration, failureRate, lossRate, progressEvery }: Profile): Script => {
  const drawn = lognormal(duration)
  return ({ payload }, random) => {
    const total = Math.max(1, Duration.toMillis(drawn(random)))
    const fate = random()
    const isLost = fate < lossRate
    const isFailed = !isLost && fate < lossRate + failureRate
    // a failure or loss comes at any time of the attempt
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

export const toPool = (profile: Profile): Pool => ({
  workers: profile.workers,
  pickup: profile.pickup,
  claimTimeout: profile.claimTimeout,
  script: script(profile)
})

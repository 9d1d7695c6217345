/** Parts of a policy that can be given as a duration. @internal */
import * as Duration from "effect/Duration"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import { type Cadence, fixed } from "../Cadence.js"
import { type Deadline, total } from "../Deadline.js"

// watches with one cadence share its steps, so a duration is the same cadence wherever it is given
const cadences = new Map<number, Cadence>()
const maxCadences = 1_000

/** @internal */
export const toCadence = (input: Cadence | Duration.DurationInput): Cadence => {
  if (Schedule.isSchedule(input)) return input as Cadence
  const interval = input as Duration.DurationInput
  const millis = Duration.toMillis(interval)
  const known = cadences.get(millis)
  if (known !== undefined) return known
  const cadence = fixed(interval)
  if (cadences.size === maxCadences) cadences.clear()
  cadences.set(millis, cadence)
  return cadence
}

const isDeadline = (input: Deadline | Duration.DurationInput): input is Deadline =>
  Predicate.hasProperty(input, "onExpiry")

/** @internal */
export const toDeadline = (input: Deadline | Duration.DurationInput): Deadline =>
  isDeadline(input) ? input : total(input)

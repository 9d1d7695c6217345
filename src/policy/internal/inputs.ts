/** Parts of a policy that can be given as a duration. @internal */
import type * as Duration from "effect/Duration"
import * as Predicate from "effect/Predicate"
import * as Schedule from "effect/Schedule"
import { type Cadence, fixed } from "../Cadence.js"
import { type Deadline, total } from "../Deadline.js"

/** @internal */
export const toCadence = (input: Cadence | Duration.DurationInput): Cadence =>
  Schedule.isSchedule(input) ? input as Cadence : fixed(input as Duration.DurationInput)

const isDeadline = (input: Deadline | Duration.DurationInput): input is Deadline =>
  Predicate.hasProperty(input, "onExpiry")

/** @internal */
export const toDeadline = (input: Deadline | Duration.DurationInput): Deadline =>
  isDeadline(input) ? input : total(input)

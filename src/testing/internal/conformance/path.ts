/** The legal paths of a job, written without `Transition.derive`. @internal */
import type { Transition } from "../../../model/Transition.js"

const next: { readonly [tag: string]: ReadonlyArray<Transition["_tag"]> } = {
  Beginning: ["Queued"],
  Queued: ["Claimed", "Canceled"],
  Claimed: ["Progressed", "Requeued", "Completed", "FailedByModel", "RetriesExhausted"],
  Progressed: ["Progressed", "Requeued", "Completed", "FailedByModel", "RetriesExhausted"],
  Requeued: ["Claimed", "Canceled"]
}

/** Returns transitions in words, with the number of the attempt: `Claimed 1`. @internal */
export const stepsOf = (transitions: ReadonlyArray<Transition>): ReadonlyArray<string> =>
  transitions.map(({ _tag, attempt }) => `${_tag} ${attempt}`)

/** Returns `stepsOf` without progress, of which a watch may see any part. @internal */
export const stepsWithoutProgress = (transitions: ReadonlyArray<Transition>): ReadonlyArray<string> =>
  stepsOf(transitions.filter(({ _tag }) => _tag !== "Progressed"))

/** Describes the first illegal transition of a path; `undefined` if there is none. @internal */
export const mistakeIn = (transitions: ReadonlyArray<Transition>): string | undefined => {
  let before = "Beginning"
  let attempt = 0
  for (const transition of transitions) {
    const allowed = next[before] ?? []
    const expected = transition._tag === "Claimed" ? attempt + 1 : attempt
    if (!allowed.includes(transition._tag)) {
      return `after ${before} comes ${allowed.length === 0 ? "nothing" : allowed.join(" or ")}, not ${transition._tag}`
    }
    if (transition.attempt !== expected) {
      return `${transition._tag} of attempt ${expected}, not of ${transition.attempt}, after ${before} ${attempt}`
    }
    before = transition._tag
    attempt = expected
  }
  return undefined
}

/**
 * The paths that the life of a job can take, said without `Transition.derive`.
 *
 * @internal
 */
import type { Transition } from "../../../model/Transition.js"

const next: { readonly [tag: string]: ReadonlyArray<Transition["_tag"]> } = {
  Beginning: ["Queued"],
  Queued: ["Claimed", "Canceled"],
  Claimed: ["Progressed", "Requeued", "Completed", "FailedByModel", "RetriesExhausted"],
  Progressed: ["Progressed", "Requeued", "Completed", "FailedByModel", "RetriesExhausted"],
  Requeued: ["Claimed", "Canceled"]
}

/**
 * Transitions, a line each: `Claimed 1`, the number being that of the attempt.
 *
 * @internal
 */
export const stepsOf = (transitions: ReadonlyArray<Transition>): ReadonlyArray<string> =>
  transitions.map(({ _tag, attempt }) => `${_tag} ${attempt}`)

/**
 * The steps that a legal path has in place of the first one that can't be there; nothing where the path is legal.
 *
 * @internal
 */
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

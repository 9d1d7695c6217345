import * as Effect from "effect/Effect"

/**
 * Puts the job that a call is about on its span.
 *
 * @internal
 */
export const annotate = (model: string, requestId?: string): Effect.Effect<void> =>
  Effect.annotateCurrentSpan(
    requestId === undefined ? { "queue.model": model } : { "queue.model": model, "queue.request_id": requestId }
  )

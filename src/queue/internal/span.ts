import * as Effect from "effect/Effect"

/** Annotates the current span with the job of the call. @internal */
export const annotate = (model: string, requestId?: string): Effect.Effect<void> =>
  Effect.annotateCurrentSpan(
    requestId === undefined ? { "queue.model": model } : { "queue.model": model, "queue.request_id": requestId }
  )

import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"
import type { JobRef } from "../../model/Job.js"
import * as Fiber from "../../queue/internal/fiber.js"

/**
 * One span a watch, from now until the scope closes. The span is made when the watch ends, and only its start time is kept
 * until then: an open span would double the memory of a subscriber that awaits a result.
 * @internal
 */
export const spanned = (name: string, job: JobRef): Effect.Effect<void, never, Scope.Scope> =>
  Effect.flatMap(Clock.currentTimeNanos, (begun) =>
    // `Effect.addFinalizer` would keep the context of the fiber
    Effect.flatMap(Scope.Scope, (scope) => Scope.addFinalizerExit(scope, (exit) => end(name, job, begun, exit))))

const end = (name: string, job: JobRef, begun: bigint, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
  Fiber.withSelf((fiber) => {
    if (!Fiber.isTraced(fiber)) return Effect.void
    const parent = Context.getOption(fiber.currentContext, Tracer.ParentSpan)
    return Effect.tracerWith((tracer) =>
      Effect.clockWith((clock) => {
        const span = tracer.span(name, parent, Context.empty(), [], begun, "internal")
        span.attribute("queue.model", job.model)
        span.attribute("queue.request_id", job.requestId)
        span.end(clock.unsafeCurrentTimeNanos(), exit)
        return Effect.void
      })
    )
  })

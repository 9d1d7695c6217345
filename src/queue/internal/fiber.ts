/**
 * Fibers by hand: all that depends on how this version of Effect runs them. For the places where one more fiber or one
 * more turn of the scheduler would cost too much.
 *
 * @internal
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as DefaultServices from "effect/DefaultServices"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as EffectFiber from "effect/Fiber"
import * as FiberId from "effect/FiberId"
import * as FiberRef from "effect/FiberRef"
import * as FiberRefs from "effect/FiberRefs"
import type * as MetricLabel from "effect/MetricLabel"
import * as EffectRuntime from "effect/Runtime"
import * as RuntimeFlags from "effect/RuntimeFlags"
import type * as Scheduler from "effect/Scheduler"
import type * as Scope from "effect/Scope"
import * as Tracer from "effect/Tracer"

/** @internal */
export type Fiber<A = void, E = never> = EffectFiber.RuntimeFiber<A, E>

/** @internal */
export type Runtime = EffectRuntime.Runtime<never>

// The references are forked as by `Effect.fork`: those of a finalizer have the interruption that led there.
const interruptible = ({ context, fiberRefs, runtimeFlags }: Omit<Runtime, "pipe">): Runtime =>
  EffectRuntime.make({
    context,
    runtimeFlags: RuntimeFlags.enable(runtimeFlags, RuntimeFlags.Interruption),
    fiberRefs: FiberRefs.forkAs(fiberRefs, FiberId.none)
  })

/** The runtime of the current fiber. Its fibers are interruptible, also in an uninterruptible region. @internal */
export const runtime: Effect.Effect<Runtime> = Effect.map(Effect.runtime(), interruptible)

/** Starts an effect, and returns when it first suspends. @internal */
export const fork = <A, E>(runtime: Runtime, effect: Effect.Effect<A, E>): Fiber<A, E> =>
  EffectRuntime.runFork(runtime)(effect)

/**
 * Starts an effect with the references of another fiber, but for its context and one more of them. It is interruptible
 * even if the other fiber is not.
 * @internal
 */
export const forkLike = <A, E, V>(
  parent: Fiber<unknown, unknown>,
  context: Context.Context<never>,
  fiberRef: FiberRef.FiberRef<V>,
  value: V,
  effect: Effect.Effect<A, E>
): Fiber<A, E> =>
  fork(
    interruptible({
      context,
      runtimeFlags: EffectRuntime.defaultRuntimeFlags,
      fiberRefs: FiberRefs.updateAs(parent.getFiberRefs(), { fiberId: FiberId.none, fiberRef, value })
    }),
    effect
  )

/**
 * Starts an effect, which ends with the scope at the latest. It is interruptible also in an uninterruptible region: there, the
 * end of the scope would wait for it.
 * @internal
 */
export const forkIn =
  (scope: Scope.Scope) => <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<Fiber<A, E>, never, R> =>
    // eslint-disable-next-line no-restricted-syntax
    Effect.forkIn(Effect.interruptible(effect), scope)

/** The same, with the scope of the current fiber. @internal */
export const forkScoped = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Effect.scope, (scope) => forkIn(scope)(effect))

/** @internal */
export const runSync = <A>(runtime: Runtime, effect: Effect.Effect<A>): A => EffectRuntime.runSync(runtime)(effect)

/** How a fiber has ended, or `null` while it runs. @internal */
export const exitOf = <A, E>(fiber: Fiber<A, E>): Exit.Exit<A, E> | null => fiber.unsafePoll()

/** An interruption by no fiber in particular. @internal */
export const interrupted: Cause.Cause<never> = Cause.interrupt(FiberId.none)

/** Interrupts a fiber, and does not wait for its end. @internal */
export const interrupt = (fiber: Fiber<unknown, unknown>): void => fiber.unsafeInterruptAsFork(FiberId.none)

/** An effect that is given its own fiber. @internal */
export const withSelf: <A, E = never>(f: (fiber: Fiber<A, E>) => Effect.Effect<A, E>) => Effect.Effect<A, E> =
  Effect.withFiberRuntime

/** @internal */
export const isTraced = (fiber: Fiber<unknown, unknown>): boolean => fiber.getFiberRef(FiberRef.currentTracerEnabled)

/** @internal */
export const clockOf = (fiber: Fiber<unknown, unknown>): Clock.Clock =>
  Context.get(fiber.getFiberRef(DefaultServices.currentServices), Clock.Clock)

/** The scheduler of the current fiber. @internal */
export const scheduler: Effect.Effect<Scheduler.Scheduler> = FiberRef.get(FiberRef.currentScheduler)

/** The labels of the metrics of the current fiber. @internal */
export const metricLabels: Effect.Effect<ReadonlyArray<MetricLabel.MetricLabel>> = FiberRef.get(
  FiberRef.currentMetricLabels
)

/** A runtime with the clock and the scheduler of a fiber, and without spans. @internal */
export const untracedRuntimeLike = (base: Runtime, fiber: Fiber<unknown, unknown>): Runtime => {
  const services = FiberRefs.getOrDefault(base.fiberRefs, DefaultServices.currentServices)
  return base.pipe(
    EffectRuntime.setFiberRef(DefaultServices.currentServices, Context.add(services, Clock.Clock, clockOf(fiber))),
    EffectRuntime.setFiberRef(FiberRef.currentScheduler, fiber.getFiberRef(FiberRef.currentScheduler)),
    EffectRuntime.setFiberRef(FiberRef.currentTracerEnabled, false)
  )
}

/** The tracer of a program that has no other. @internal */
export const defaultTracer: Tracer.Tracer = Context.get(DefaultServices.liveServices, Tracer.Tracer)

/** Whether the current fiber is traced. @internal */
export const isTracerEnabled: Effect.Effect<boolean> = FiberRef.get(FiberRef.currentTracerEnabled)

/** Whether the spans of a fiber go anywhere: not if its current span is not sampled. @internal */
export const isExported = (fiber: Fiber<unknown, unknown>): boolean =>
  isTraced(fiber) && fiber.currentTracer !== defaultTracer && fiber.currentSpan?.sampled !== false

/** Interrupts a fiber, and waits for its end. @internal */
export const interruptAndWait = (fiber: Fiber<unknown, unknown>): Effect.Effect<void> =>
  Effect.asVoid(EffectFiber.interrupt(fiber))

// An interrupted fiber needs a few scheduler turns to finish its children (three for a request over HTTP). A fiber that
// needs more is uninterruptible, and is not waited for.
const turnsToEnd = 16

/** Waits until an interrupted fiber has ended. @internal */
export const awaitEnd = <A, E>(fiber: Fiber<A, E>, turns: number = turnsToEnd): Effect.Effect<void> =>
  Effect.suspend(() =>
    exitOf(fiber) !== null || turns === 0
      ? Effect.void
      : Effect.zipRight(Effect.yieldNow(), awaitEnd(fiber, turns - 1))
  )

/**
 * Runs an effect with a timeout. The effect has a fiber of its own: an uninterruptible request must not delay the timeout.
 * An effect that ends at once costs no timer, in contrast to `Effect.timeoutTo` around `Effect.disconnect`.
 * @internal
 */
export const makeWithin = Effect.map(runtime, (runtime) => {
  // the timeout applies to uninterruptible watches as well
  const start = <A, E>(effect: Effect.Effect<A, E>) => fork(runtime, effect)
  return <A, E, E2>(
    effect: Effect.Effect<A, E>,
    millis: number,
    onTimeout: Effect.Effect<A, E2>
  ): Effect.Effect<A, E | E2> =>
    Effect.uninterruptibleMask((restore) =>
      withSelf((self) => {
        const fiber = start(effect)
        const exit = exitOf(fiber)
        if (exit !== null) return exit
        const timer = start(Effect.sleep(millis))
        const stop = EffectFiber.interruptAsFork(timer, self.id()).pipe(
          Effect.zipRight(EffectFiber.interruptAsFork(fiber, self.id())),
          Effect.zipRight(awaitEnd(fiber))
        )
        return Effect.ensuring(
          restore(Effect.async<A, E | E2>((resume) => {
            fiber.addObserver(resume)
            // `stop` may take a while
            timer.addObserver(() => resume(Effect.zipRight(stop, onTimeout)))
          })),
          stop
        )
      })
    )
})

/** @internal */
export type Within = Effect.Effect.Success<typeof makeWithin>

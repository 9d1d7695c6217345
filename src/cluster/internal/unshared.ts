import * as Layer from "effect/Layer"

/**
 * A layer that is built once in a program, as any other, but shares none of its parts. A constant layer is built once: two
 * fleets of a program would have the same runner, or watcher, in whatever is made of it.
 *
 * @internal
 */
export const unshared = <A, E, R>(layer: Layer.Layer<A, E, R>): Layer.Layer<A, E, R> =>
  Layer.suspend(() => Layer.fresh(layer))

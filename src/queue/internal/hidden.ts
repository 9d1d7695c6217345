/**
 * Returns a member of a service that is not part of its public type, if the service has it. A `Layer.mock` has only what it was
 * given: it returns a function that fails for any other name.
 *
 * @internal
 */
export const hidden = <S extends object, K extends keyof S>(service: S, name: K): S[K] | undefined =>
  Object.hasOwn(service, name) ? service[name] : undefined

const zero = (): number => 0

/** @internal */
export const clockAheadOf = (service: { readonly clockAhead?: (() => number) | undefined }): () => number =>
  hidden(service, "clockAhead") ?? zero

/** Returns the limit that an option gives. @internal */
export const limitOf = (option: string, limit: number): number => {
  if (limit === Infinity || (Number.isSafeInteger(limit) && limit > 0)) return limit
  throw new RangeError(`${option} is ${limit}: it must be a positive integer, or Infinity`)
}

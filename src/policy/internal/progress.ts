/**
 * Returns how long an attempt of some age will still take if it goes on at its mean speed; `Infinity` if it has made no
 * progress. Times are in milliseconds.
 * @internal
 */
export const remaining = (age: number, progress: number): number =>
  progress > 0 && age > 0 ? age * (1 - Math.min(1, progress)) / progress : Infinity

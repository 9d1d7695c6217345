/**
 * The version of the package.
 *
 * @internal
 */
export const version = "0.1.0"

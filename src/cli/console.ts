/**
 * A console that writes no escape codes where nobody draws them.
 *
 * @internal
 */
// @effect-diagnostics nodeBuiltinImport:off
import type * as Console from "effect/Console"
import { stripVTControlCharacters } from "node:util"

const plain = (value: unknown): unknown => typeof value === "string" ? stripVTControlCharacters(value) : value

/** Where what is written goes. */
interface Output {
  readonly isTTY?: boolean | undefined
}

/**
 * The console, without escape codes in what goes to an output that is no terminal. What `@effect/cli` says of the
 * command, and how it is used wrongly, is in color wherever it goes.
 *
 * @internal
 */
export const withoutEscapes = (
  self: Console.Console,
  { stderr, stdout }: { readonly stdout: Output; readonly stderr: Output }
): Console.Console => ({
  ...self,
  log: (...args) => self.log(...stdout.isTTY === true ? args : args.map(plain)),
  error: (...args) => self.error(...stderr.isTTY === true ? args : args.map(plain))
})

/**
 * Standard output.
 *
 * @internal
 */
import * as Terminal from "@effect/platform/Terminal"
import * as Effect from "effect/Effect"
import * as Exit from "./exit.js"

/** @internal */
export const write = (text: string): Effect.Effect<void, Exit.ExitWith, Terminal.Terminal> =>
  Effect.flatMap(Terminal.Terminal, (terminal) => Effect.mapError(terminal.display(text), Exit.fromUnwritten))

/**
 * Writes a line.
 *
 * @internal
 */
export const print = (line: string): Effect.Effect<void, Exit.ExitWith, Terminal.Terminal> => write(`${line}\n`)

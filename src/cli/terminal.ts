// Standard output and the terminal behind it.
import * as Terminal from "@effect/platform/Terminal"
import * as Config from "effect/Config"
import type * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { stripVTControlCharacters } from "node:util"
import * as Exit from "./exit.js"

export const write = (text: string): Effect.Effect<void, Exit.ExitWith, Terminal.Terminal> =>
  Effect.flatMap(Terminal.Terminal, (terminal) => Effect.mapError(terminal.display(text), Exit.fromUnwritten))

export const print = (line: string): Effect.Effect<void, Exit.ExitWith, Terminal.Terminal> => write(`${line}\n`)

const variable = (name: string): Effect.Effect<string> => Effect.orElseSucceed(Config.string(name), () => "")

const isSet = (name: string) => Effect.map(variable(name), (value) => !["", "0", "false"].includes(value))

/** Whether rows can be redrawn. The log of a CI job keeps every row that was ever drawn, even from a terminal. */
export const isLive: Effect.Effect<boolean, never, Terminal.Terminal> = Effect.gen(function*() {
  const { isTTY } = yield* Terminal.Terminal
  return (yield* isTTY) && (yield* variable("TERM")) !== "dumb" && !(yield* isSet("CI"))
})

/** `FORCE_COLOR` overrides `NO_COLOR`, as in Node. */
export const isColored: Effect.Effect<boolean> = Effect.gen(function*() {
  return (yield* variable("FORCE_COLOR")) === "" ? (yield* variable("NO_COLOR")) === "" : yield* isSet("FORCE_COLOR")
})

/** How many columns a row may take: `COLUMNS` if it is set, else those that the terminal has now. */
export const columns: Effect.Effect<number, never, Terminal.Terminal> = Effect.gen(function*() {
  const fixed = yield* Effect.option(Config.integer("COLUMNS"))
  const columns = Option.isSome(fixed) && fixed.value > 0 ? fixed.value : yield* (yield* Terminal.Terminal).columns
  return columns > 0 ? columns : Infinity
})

const plain = (value: unknown): unknown => typeof value === "string" ? stripVTControlCharacters(value) : value

/** A console without escape codes in what goes to an output that is not a terminal. `@effect/cli` always writes them. */
export const withoutEscapes = (
  self: Console.Console,
  { stderr, stdout }: { readonly [output in "stderr" | "stdout"]: { readonly isTTY?: boolean | undefined } }
): Console.Console => ({
  ...self,
  log: (...args) => self.log(...stdout.isTTY === true ? args : args.map(plain)),
  error: (...args) => self.error(...stderr.isTTY === true ? args : args.map(plain))
})

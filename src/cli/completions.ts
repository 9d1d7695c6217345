// Corrections of the completion scripts that `@effect/cli` makes.
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"

/** It looks for the subcommands of `queue-status` under `queue__status` only, and `-o nosort` needs bash 4.4. */
export const bash = <Name extends string, R, E, A>(
  command: Command.Command<Name, R, E, A>,
  name: string
): Effect.Effect<string> =>
  Effect.map(Command.getBashCompletions(command, name), (lines) =>
    lines
      .map((line) =>
        line
          .replace(`cmd="${name}"`, `cmd="${name.replaceAll("-", "__")}"`)
          .replace(new RegExp(`^(\\s*)${name}\\)$`), `$1${name.replaceAll("-", "__")})`)
          .replace(" -o nosort", "")
      )
      .join("\n"))

/** Loaded from a file `_queue-status` in `fpath`, it completes nothing the first time. */
export const zsh = <Name extends string, R, E, A>(
  command: Command.Command<Name, R, E, A>,
  name: string
): Effect.Effect<string> =>
  Effect.map(
    Command.getZshCompletions(command, name),
    (lines) => lines.join("\n").replace(`= "_${name}_zsh_completions" ]`, `= "_${name}" ]`)
  )

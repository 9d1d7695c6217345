// The completion scripts that `@effect/cli` makes, corrected.
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"

type Script = <Name extends string, R, E, A>(
  command: Command.Command<Name, R, E, A>,
  name: string
) => Effect.Effect<string>

/** It looks for the subcommands of `queue-status` under `queue__status` only, and `-o nosort` needs bash 4.4. */
const bash: Script = (command, name) => {
  const variable = name.replaceAll("-", "__")
  return Effect.map(Command.getBashCompletions(command, name), (lines) =>
    lines.join("\n")
      .replaceAll(`cmd="${name}"`, `cmd="${variable}"`)
      .replaceAll(new RegExp(`^(\\s*)${name}\\)$`, "gm"), `$1${variable})`)
      .replaceAll(" -o nosort", ""))
}

/** Loaded from a file `_queue-status` in `fpath`, it completes nothing the first time. */
const zsh: Script = (command, name) =>
  Effect.map(
    Command.getZshCompletions(command, name),
    (lines) => lines.join("\n").replace(`= "_${name}_zsh_completions" ]`, `= "_${name}" ]`)
  )

export const scripts: { readonly [shell: string]: Script } = { bash, sh: bash, zsh }

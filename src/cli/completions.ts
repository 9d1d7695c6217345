/**
 * `--completions`, mended: the script that `@effect/cli` makes for bash knows the subcommands of `queue-status` under
 * `queue__status` alone, and has an option that only newer versions of bash have.
 *
 * @internal
 */
import * as Command from "@effect/cli/Command"
import * as Effect from "effect/Effect"

/** @internal */
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

// The help of the command. @effect/cli's own names no parent command, does not wrap, and puts the type of each value
// before its description; so the help is rendered here, from its `HelpDoc`.
import * as CliConfig from "@effect/cli/CliConfig"
import * as CommandDescriptor from "@effect/cli/CommandDescriptor"
import type * as HelpDoc from "@effect/cli/HelpDoc"
import type * as Span from "@effect/cli/HelpDoc/Span"
import * as HashMap from "effect/HashMap"
import { codes } from "./exit.js"

export const name = "queue-status"

export const version = "0.1.0"

const about: { readonly [code: number]: string } = {
  [codes.done]: "success",
  [codes.bug]: "a bug",
  [codes.usage]: "invalid usage: an argument, a file, a variable, an output that cannot be written",
  [codes.failed]: "the job failed, or one of them",
  [codes.canceled]: "the job was canceled, or one of them",
  [codes.gaveUp]: "the service is unreachable, refuses the call, or the timeout has passed; the job may continue",
  [codes.notCanceled]: "the job is running or has ended, and is unchanged",
  [codes.interrupted]: "stopped by Ctrl-C (SIGINT); 141 by a closed output, 143 by SIGTERM"
}

interface Page {
  readonly examples: readonly [string, ...ReadonlyArray<string>]
  /** The exit codes in addition to those that every command has. */
  readonly codes: ReadonlyArray<number>
}

const codesOf = ({ codes: others }: Page): ReadonlyArray<number> =>
  [codes.done, codes.bug, codes.usage, codes.interrupted, ...others].sort((a, b) => a - b)

const job = "my-org/video-generator/019ba379-92da-71e4-ac40-d98059fd67c7"

/** Every subcommand, in the order of the list. */
const pages: { readonly [command: string]: Page } = {
  submit: {
    examples: [
      `${name} submit my-org/video-generator '{"prompt":"a cat at the piano"}'`,
      `${name} submit my-org/video-generator @payload.json --priority 5`
    ],
    codes: [codes.gaveUp]
  },
  status: { examples: [`${name} status ${job}`], codes: [codes.gaveUp] },
  why: { examples: [`${name} why ${job}`], codes: [codes.gaveUp] },
  watch: {
    examples: [`${name} watch ${job}`, `${name} watch ${job} --json --every 5s`],
    codes: [codes.failed, codes.canceled, codes.gaveUp]
  },
  result: {
    examples: [`${name} result ${job} | jq -r .video_url`],
    codes: [codes.failed, codes.canceled, codes.gaveUp]
  },
  cancel: { examples: [`${name} cancel ${job}`], codes: [codes.gaveUp, codes.notCanceled] },
  clear: { examples: [`${name} clear my-org/video-generator`], codes: [codes.gaveUp] },
  metrics: { examples: [`${name} metrics my-org/video-generator --json`], codes: [codes.gaveUp] },
  serve: { examples: [`${name} serve`, `${name} serve --emulate --port 0`], codes: [codes.gaveUp] },
  runner: {
    examples: [`${name} runner`, `${name} runner --runner-host 10.0.0.7 --host 0.0.0.0 --rate 200`],
    codes: [codes.gaveUp]
  },
  migrate: { examples: [`${name} migrate`], codes: [codes.gaveUp] },
  emulator: {
    examples: [
      `${name} emulator`,
      `${name} emulator --simulate --duration 5s --fault "rate-limited 2s on status probability 10%"`
    ],
    codes: []
  },
  demo: { examples: [`${name} demo`, `${name} demo --jobs 2000`, `${name} demo --board`], codes: [codes.gaveUp] },
  help: { examples: [`${name} help watch`], codes: [] }
}

export const commands: ReadonlyArray<string> = Object.keys(pages)

// -----------------------------------------------------------------------------
// what @effect/cli knows of a command
// -----------------------------------------------------------------------------

const textOf = (span: Span.Span): string => {
  switch (span._tag) {
    case "Text":
    case "URI":
      return span.value
    case "Sequence":
      return textOf(span.left) + textOf(span.right)
    default:
      return textOf(span.value)
  }
}

const flat = (doc: HelpDoc.HelpDoc): ReadonlyArray<HelpDoc.HelpDoc> =>
  doc._tag === "Sequence" ? [...flat(doc.left), ...flat(doc.right)] : [doc]

const paragraphs = (doc: HelpDoc.HelpDoc): ReadonlyArray<string> =>
  flat(doc).flatMap((part) => part._tag === "Paragraph" ? [textOf(part.value)] : [])

type Entry = readonly [head: string, about: string]

interface Description {
  readonly text: string
  readonly args: ReadonlyArray<Entry>
  readonly options: ReadonlyArray<Entry>
}

const descriptionOf = (doc: HelpDoc.HelpDoc): Description => {
  const sections: { [header: string]: Array<HelpDoc.HelpDoc> } = {}
  let section: Array<HelpDoc.HelpDoc> = []
  for (const part of flat(doc)) {
    if (part._tag === "Header") section = sections[textOf(part.value)] = []
    else section.push(part)
  }
  const entries = (header: string) =>
    (sections[header] ?? []).flatMap((part) =>
      part._tag === "DescriptionList"
        ? part.definitions.map(([span, doc]): Entry => {
          const head = textOf(span).replace(/ 1\+$/, "...").replace(/^\((.*)\)$/, "$1").replace(/ all \| .*/, " level")
          const [_type, text = "", note = ""] = paragraphs(doc)
          return [header === "ARGUMENTS" && note.includes("optional") ? `[${head}]` : head, text]
        })
        : []
    )
  return {
    text: (sections["DESCRIPTION"] ?? []).flatMap(paragraphs).join(" "),
    args: entries("ARGUMENTS"),
    options: entries("OPTIONS")
  }
}

const describe = (
  root: CommandDescriptor.Command<unknown>,
  command: string | undefined,
  showBuiltIns: boolean
): Description => {
  const config = CliConfig.make({ showBuiltIns })
  const descriptor = command === undefined
    ? root
    : HashMap.unsafeGet(CommandDescriptor.getSubcommands(root), command)
  return descriptionOf(CommandDescriptor.getHelp(descriptor, config))
}

/** The names of the options that a command takes. */
export const optionsOf = (
  root: CommandDescriptor.Command<unknown>,
  command: string | undefined
): ReadonlyArray<string> =>
  describe(root, command, true).options.flatMap(([head]) => head.match(/(?<![\w-])--?[a-z][a-z-]*/g) ?? [])

// -----------------------------------------------------------------------------
// pages
// -----------------------------------------------------------------------------

const columns = 100

/** Breaks a text between words, each line after a head, or after blanks as wide. (`Doc.reflow` takes exponential time.) */
const wrapped = (head: string, text: string): ReadonlyArray<string> => {
  const lines = [head]
  for (const word of text.split(" ")) {
    const last = lines.length - 1
    if (lines[last]!.length + word.length > columns) lines.push(" ".repeat(head.length) + word + " ")
    else lines[last] += `${word} `
  }
  return lines.map((line) => line.trimEnd())
}

const section = (title: string, lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length === 0 ? [] : ["", `${title}:`, ...lines]

const table = (entries: ReadonlyArray<Entry>): ReadonlyArray<string> => {
  const width = Math.max(0, ...entries.map(([head]) => head.length))
  return entries.flatMap(([head, about]) => wrapped(`  ${head.padEnd(width)}  `, about))
}

/** The help of a subcommand, or of the whole command. */
export const page = (root: CommandDescriptor.Command<unknown>, command: string | undefined): string => {
  const { args, options, text } = describe(root, command, command === undefined)
  const lines = command === undefined
    ? [
      `Usage: ${name} <command> [options]`,
      "",
      ...wrapped("", text),
      ...section("Commands", table(commands.map((command) => [command, describe(root, command, false).text]))),
      ...section("Options", table(options)),
      "",
      `Options, examples and exit codes of a command: ${name} help <command>`
    ]
    : [
      `Usage: ${[name, command, ...options.length > 0 ? ["[options]"] : [], ...args.map(([head]) => head)].join(" ")}`,
      "",
      ...wrapped("", text),
      ...section("Arguments", table(args)),
      ...section("Options", table(options)),
      ...section("Examples", pages[command]!.examples.map((example) => `  ${example}`)),
      ...section("Exit codes", table(codesOf(pages[command]!).map((code) => [String(code), about[code] ?? ""])))
    ]
  return lines.join("\n")
}

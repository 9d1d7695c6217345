// The help of the command. @effect/cli's own names no parent command, does not wrap, and puts the type of each value
// before its description; so the help is rendered here, from its `HelpDoc`.
import * as CliConfig from "@effect/cli/CliConfig"
import * as CommandDescriptor from "@effect/cli/CommandDescriptor"
import type * as HelpDoc from "@effect/cli/HelpDoc"
import type * as Span from "@effect/cli/HelpDoc/Span"
import * as HashMap from "effect/HashMap"
import { codes } from "./exit.js"
import { type Entry, table, wrapped } from "./text.js"

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

const job = "my-org/video-generator/019ba379-92da-71e4-ac40-d98059fd67c7"

const waiting = [codes.failed, codes.canceled, codes.gaveUp]

/** Every subcommand, in the order of the list: its examples, without the name, and the exit codes that not all have. */
const pages: {
  readonly [command: string]: { readonly examples: ReadonlyArray<string>; readonly codes: ReadonlyArray<number> }
} = {
  submit: {
    examples: [
      `my-org/video-generator '{"prompt":"a cat at the piano"}'`,
      "my-org/video-generator @payload.json --priority 5"
    ],
    codes: [codes.gaveUp]
  },
  status: { examples: [job], codes: [codes.gaveUp] },
  why: { examples: [job], codes: [codes.gaveUp] },
  watch: { examples: [job, `${job} --json --every 5s`], codes: waiting },
  result: { examples: [`${job} | jq -r .video_url`], codes: waiting },
  cancel: { examples: [job], codes: [codes.gaveUp, codes.notCanceled] },
  clear: { examples: ["my-org/video-generator"], codes: [codes.gaveUp] },
  metrics: { examples: ["my-org/video-generator --json"], codes: [codes.gaveUp] },
  serve: { examples: ["", "--emulate --port 0"], codes: [codes.gaveUp] },
  runner: { examples: ["", "--runner-host 10.0.0.7 --host 0.0.0.0 --rate 200"], codes: [codes.gaveUp] },
  migrate: { examples: [""], codes: [codes.gaveUp] },
  emulator: {
    examples: ["", "--simulate --duration 5s --fault \"rate-limited 2s on status probability 10%\""],
    codes: []
  },
  demo: { examples: ["", "--jobs 2000", "--board"], codes: [codes.gaveUp] },
  help: { examples: ["watch"], codes: [] }
}

export const commands: ReadonlyArray<string> = Object.keys(pages)

const flat = (doc: HelpDoc.HelpDoc): ReadonlyArray<HelpDoc.HelpDoc> =>
  doc._tag === "Sequence" ? [...flat(doc.left), ...flat(doc.right)] : [doc]

const textOf = (span: Span.Span): string =>
  "left" in span
    ? textOf(span.left) + textOf(span.right)
    : typeof span.value === "string"
    ? span.value
    : textOf(span.value)

const paragraphs = (doc: HelpDoc.HelpDoc): ReadonlyArray<string> =>
  flat(doc).flatMap((part) => part._tag === "Paragraph" ? [textOf(part.value)] : [])

type Root = CommandDescriptor.Command<unknown>

/** What `@effect/cli` knows of a command. */
const describe = (root: Root, command: string | undefined, showBuiltIns: boolean) => {
  const descriptor = command === undefined ? root : HashMap.unsafeGet(CommandDescriptor.getSubcommands(root), command)
  const sections: { [header: string]: Array<HelpDoc.HelpDoc> } = {}
  let section: Array<HelpDoc.HelpDoc> = []
  for (const part of flat(CommandDescriptor.getHelp(descriptor, CliConfig.make({ showBuiltIns })))) {
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

/** The names of the options that a command takes, and whether each has a value. */
export const optionsOf = (root: Root, command: string | undefined): ReadonlyMap<string, boolean> =>
  new Map(
    describe(root, command, true).options.flatMap(([head]) =>
      (head.match(/(?<![\w-])--?[a-z][a-z-]*/g) ?? []).map((name) => [name, /[^,] [^-]/.test(head)] as const)
    )
  )

const section = (title: string, lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length === 0 ? [] : ["", `${title}:`, ...lines]

/** The help of a subcommand, or of the whole command. */
export const page = (root: Root, command: string | undefined): string => {
  const { args, options, text } = describe(root, command, command === undefined)
  if (command === undefined) {
    return [
      `Usage: ${name} <command> [options]`,
      "",
      ...wrapped("", text),
      ...section("Commands", table(commands.map((command) => [command, describe(root, command, false).text]))),
      ...section("Options", table(options)),
      "",
      `Options, examples and exit codes of a command: ${name} help <command>`
    ].join("\n")
  }
  const { codes: others, examples } = pages[command]!
  const all = [codes.done, codes.bug, codes.usage, codes.interrupted, ...others].sort((a, b) => a - b)
  return [
    `Usage: ${[name, command, ...options.length > 0 ? ["[options]"] : [], ...args.map(([head]) => head)].join(" ")}`,
    "",
    ...wrapped("", text),
    ...section("Arguments", table(args)),
    ...section("Options", table(options)),
    ...section("Examples", examples.map((example) => `  ${name} ${command} ${example}`.trimEnd())),
    ...section("Exit codes", table(all.map((code) => [String(code), about[code] ?? ""])))
  ].join("\n")
}

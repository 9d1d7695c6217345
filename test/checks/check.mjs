// Checks every file and the code in pages and doc comments with TypeScript, and every file with the rules of the Effect
// language service: `npm run check`.
//
// As in an editor, the nearest tsconfig.json sets the rules of a file. One program checks everything: `tsc` and
// `effect-language-service diagnostics` need eleven. The rules must also find the mistake of a canary: rules that no
// longer apply would pass everything.
import init from "@effect/language-service"
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import ts from "typescript"
import { idOf, snippetsOf } from "./snippets.ts"
import { link, modules, root, temporary } from "./tools.mjs"

const folder = temporary()
const canary = join(folder, "canary.ts")
link(modules, join(folder, "node_modules"))
writeFileSync(
  canary,
  `import * as Effect from "effect/Effect"
export const wrong = Effect.gen(function*() { yield* Effect.void; return Date.now() })\n`
)

const print = ({ messageText }) => ts.flattenDiagnosticMessageText(messageText, "\n")

const parse = (path) => {
  const fail = (diagnostic) => {
    throw new Error(`${path}: ${print(diagnostic)}`)
  }
  const config = ts.getParsedCommandLineOfConfigFile(path, {}, { ...ts.sys, onUnRecoverableConfigFileDiagnostic: fail })
  config.errors.forEach(fail)
  return config
}

const configPath = join(root, "tsconfig.json")
const { fileNames, options } = parse(configPath)
const files = [...fileNames, canary]

// The TypeScript blocks of pages and doc comments are modules that keep their line numbers. A block that is a whole file
// is checked as that file.
const texts = new Set(fileNames.map((name) => readFileSync(name, "utf8")))
const pages = ["README.md", ...readdirSync(join(root, "docs")).map((name) => join("docs", name))]
const sources = readdirSync(join(root, "src"), { recursive: true }).map((name) => join("src", name))
const blocks = new Map(
  [...pages.filter((name) => name.endsWith(".md")), ...sources.filter((name) => name.endsWith(".ts"))].flatMap((name) =>
    snippetsOf(name, readFileSync(join(root, name), "utf8")).map(({ line, text }, i) => [
      join(root, idOf(name, i + 1)),
      { block: text, text: "\n".repeat(line - 1) + text }
    ])
  ).filter(([, { block }]) => !texts.has(block))
)
// a declaration in a block may be for the reader only
const unused = new Set([6133, 6192, 6196, 6198])

const host = {
  ...ts.sys,
  getCompilationSettings: () => options,
  getCurrentDirectory: () => root,
  getDefaultLibFileName: ts.getDefaultLibFilePath,
  getScriptFileNames: () => [...files, ...blocks.keys()],
  getScriptSnapshot: (name) => {
    const text = blocks.get(name)?.text ?? ts.sys.readFile(name)
    return text === undefined ? undefined : ts.ScriptSnapshot.fromString(text)
  },
  getScriptVersion: () => "1",
  useCaseSensitiveFileNames: () => ts.sys.useCaseSensitiveFileNames
}
const languageService = ts.createLanguageService(host)
const program = languageService.getProgram()

/** The language service with the rules of a tsconfig.json, which differs from that of the root in nothing else. */
const serviceBy = (path) => {
  const { options: { configFilePath: _, plugins = [], ...others } } = parse(path)
  for (const [name, value] of Object.entries(others)) {
    if (JSON.stringify(value) !== JSON.stringify(options[name])) throw new Error(`${path}: another ${name}`)
  }
  const config = plugins.find(({ name }) => name === "@effect/language-service")
  if (config === undefined) throw new Error(`${path}: no rules`)
  return init({ typescript: ts }).create({
    config,
    // only the rules: the TypeScript diagnostics come from the program
    languageService: { ...languageService, getSemanticDiagnostics: () => [] },
    languageServiceHost: host,
    project: { log: () => {} }
  })
}

const services = new Map()
const brokenRules = (file) => {
  const path = file === canary ? configPath : ts.findConfigFile(dirname(file), ts.sys.fileExists)
  if (!services.has(path)) services.set(path, serviceBy(path))
  return services.get(path).getSemanticDiagnostics(file)
}

const checked = files.filter((file) => program.getSourceFile(file) !== undefined)
const found = [...ts.getPreEmitDiagnostics(program), ...checked.flatMap(brokenRules)]
const isForReader = ({ code, file }) => blocks.has(file?.fileName) && unused.has(code)
const isOfCanary = ({ file }) => file?.fileName === canary
const severe = [ts.DiagnosticCategory.Error, ts.DiagnosticCategory.Warning]

const problems = found
  .filter((diagnostic) => severe.includes(diagnostic.category) && !isOfCanary(diagnostic) && !isForReader(diagnostic))
  .map((diagnostic) => {
    const { file, start } = diagnostic
    if (file === undefined) return print(diagnostic)
    const { character, line } = file.getLineAndCharacterOfPosition(start)
    return `${relative(root, file.fileName)}:${line + 1}:${character + 1} ${print(diagnostic)}`
  })
if (!found.some((diagnostic) => isOfCanary(diagnostic) && print(diagnostic).includes("effect(globalDateInEffect)"))) {
  problems.push("The canary was not caught: the rules do not see our imports (moduleResolution in tsconfig.json?)")
}
if (checked.length !== files.length) problems.push(`Only ${checked.length} of ${files.length} files were checked`)

for (const kind of [".md.1.ts", ".ts.1.ts"]) {
  if (![...blocks.keys()].some((name) => name.endsWith(kind))) problems.push(`There is no snippet like ${kind}`)
}

console.log(
  [
    ...problems,
    `${checked.length} files, ${blocks.size} snippets of pages and doc comments, ${problems.length} problems`
  ].join("\n")
)
if (problems.length > 0) process.exitCode = 1

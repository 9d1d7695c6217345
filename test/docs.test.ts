import { assert, describe, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

const root = fileURLToPath(new URL("..", import.meta.url))

const pages = [
  "README.md",
  ...readdirSync(join(root, "docs")).filter((name) => name.endsWith(".md")).map((name) => join("docs", name))
]

/** The TypeScript blocks of a page, each as the name and text of a module of its own. */
const blocks = (page: string) =>
  Array.from(
    readFileSync(join(root, page), "utf8").matchAll(/^```ts\n([^]*?)^```$/gm),
    ([, text = ""], i) => [join(root, `${page}.${i + 1}.ts`), text] as const
  )

const examples = readdirSync(join(root, "docs/examples"))
  .filter((name) => name.endsWith(".ts"))
  .map((name) => [name, readFileSync(join(root, "docs/examples", name), "utf8")] as const)

describe("the code in the documents", () => {
  it("compiles", () => {
    // an example does where it is, with what it imports
    const elsewhere = new Set(examples.map(([, text]) => text))
    const modules = new Map(pages.flatMap(blocks).filter(([, text]) => !elsewhere.has(text)))
    assert.isAbove(modules.size, 2)

    const { config } = ts.readConfigFile(join(root, "tsconfig.json"), ts.sys.readFile)
    const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
    const host = ts.createCompilerHost(options)
    const { fileExists, getSourceFile } = host
    host.fileExists = (name) => modules.has(name) || fileExists(name)
    host.getSourceFile = (name, version, ...rest) => {
      const text = modules.get(name)
      return text === undefined ? getSourceFile(name, version, ...rest) : ts.createSourceFile(name, text, version, true)
    }
    const program = ts.createProgram([...modules.keys()], { ...options, noUnusedLocals: false }, host)
    const problems = [...modules.keys()].flatMap((name) => {
      const file = program.getSourceFile(name)
      return [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)].map(
        ({ messageText, start }) =>
          `${relative(root, name)}:${start}: ${ts.flattenDiagnosticMessageText(messageText, "\n")}`
      )
    })
    assert.deepStrictEqual(problems, [])
  })

  it("is run: every page about testing is one of tests, and so is what the README shows of it", () => {
    const tests = pages.filter((page) => page.startsWith("docs/testing"))
    assert.include(tests, "docs/testing.md")
    const run = new Set(tests.flatMap(blocks).map(([, text]) => text))
    const shown = blocks("README.md").filter(([, text]) => text.includes("TestJobQueue"))
    assert.isAbove(shown.length, 0)
    for (const [name, text] of shown) {
      assert(run.has(text), `${relative(root, name)} is not run: not a block of the guide`)
    }
  })

  it("has every example in full on a page", () => {
    const shown = new Set(pages.flatMap(blocks).map(([, text]) => text))
    assert.isAbove(examples.length, 1)
    for (const [name, text] of examples) assert(shown.has(text), `${name} is on no page as it is`)
  })

  it("links to pages that are there", () => {
    for (const page of pages) {
      for (const [, target = ""] of readFileSync(join(root, page), "utf8").matchAll(/\]\((?!https?:)([^)#]+)\)/g)) {
        assert(ts.sys.fileExists(join(root, dirname(page), target)), `${page} links to ${target}`)
      }
    }
  })

  it("names a version of each package whose latest is another major, wherever it is installed", () => {
    const sources = readdirSync(join(root, "src"), { encoding: "utf8", recursive: true })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => join("src", name))
    const lines = [...pages, ...sources].flatMap((name) =>
      Array.from(
        readFileSync(join(root, name), "utf8").matchAll(/(?:npm (?:install|i)|pnpm add) ([^#`\n]*)/g),
        ([line, packages = ""]) => ({ line: `${name}: ${line}`, packages: packages.trim().split(/\s+/) })
      )
    )
    assert.isAbove(lines.length, 2)
    const unversioned = lines.filter(({ packages }) =>
      packages.some((name) => /^(effect|@effect\/[\w-]+|vitest)$/.test(name))
    )
    assert.deepStrictEqual(unversioned.map(({ line }) => line), [])
  })
})

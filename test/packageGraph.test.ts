import { assert, describe, it } from "@effect/vitest"
import { readFileSync } from "node:fs"
import { dirname, relative, resolve } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

const src = fileURLToPath(new URL("../src", import.meta.url))

/** What a file imports when it runs. `import { type X }` stays in the output (verbatimModuleSyntax), so it counts. */
const specifiersOf = (file: string): Array<string> => {
  const specifiers: Array<string> = []
  const add = (node: ts.Node | undefined) => {
    if (node !== undefined && ts.isStringLiteralLike(node)) specifiers.push(node.text)
  }
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) {
      if (node.importClause?.isTypeOnly !== true) add(node.moduleSpecifier)
    } else if (ts.isExportDeclaration(node)) {
      if (!node.isTypeOnly) add(node.moduleSpecifier)
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      add(node.arguments[0])
    }
    ts.forEachChild(node, visit)
  }
  visit(ts.createSourceFile(file, readFileSync(file, "utf8"), ts.ScriptTarget.ES2022))
  return specifiers
}

/** Everything that is loaded with an entry: our files (relative to `src`), and the bare specifiers of others. */
const graphOf = (entry: string) => {
  const files = new Set<string>()
  const packages = new Set<string>()
  const load = (file: string) => {
    const name = relative(src, file)
    if (files.has(name)) return
    files.add(name)
    for (const specifier of specifiersOf(file)) {
      if (!specifier.startsWith(".")) packages.add(specifier)
      else load(resolve(dirname(file), specifier.replace(/\.js$/, ".ts")))
    }
  }
  load(resolve(src, entry))
  return { files: [...files].sort(), packages: [...packages].sort() }
}

const except = (names: Array<string>, allowed: RegExp) => names.filter((name) => !allowed.test(name))

// Neither Node nor a tool of tests: these run in browsers and workers too.
const anywhere = /^(effect|@effect\/platform)\/./

describe("package graph", () => {
  const core = graphOf("index.ts")
  const testing = graphOf("testing/index.ts")
  const node = graphOf("node/index.ts")

  it("is seen", () => {
    for (const graph of [core, testing, node]) {
      assert.isAbove(graph.files.length, 1)
      assert.isAbove(graph.packages.length, 0)
    }
  })

  it("core loads only the modules of effect and @effect/platform", () => {
    assert.deepStrictEqual(except(core.packages, anywhere), [])
  })

  it("core loads no other room", () => {
    assert.deepStrictEqual(except(core.files, /^(\w+\.ts|internal\/.+)$/), [])
  })

  it("testing loads only the modules of effect and @effect/platform", () => {
    assert.deepStrictEqual(except(testing.packages, anywhere), [])
  })

  it("testing loads core, and no other room", () => {
    assert.deepStrictEqual(except(testing.files, /^(\w+\.ts|(internal|testing)\/.+)$/), [])
  })

  it("node loads what core loads, and what runs on Node", () => {
    assert.deepStrictEqual(except(node.packages, /^(effect|@effect\/platform(-node)?)\/./), [])
  })

  it("node loads core, and no other room", () => {
    assert.deepStrictEqual(except(node.files, /^(\w+\.ts|(internal|node)\/.+)$/), [])
  })
})

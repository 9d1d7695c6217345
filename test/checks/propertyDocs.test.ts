import { assert, it } from "@effect/vitest"
import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import ts from "typescript"

const src = fileURLToPath(new URL("../../src", import.meta.url))

// internal, but public types extend their interfaces
const extended = [
  ...["watch/internal/notice.ts", "watch/internal/outcome.ts", "queue/internal/options.ts"],
  ...["run/internal/submit.ts", "run/internal/ownership.ts", "run/internal/runToEnd.ts"]
]

const files = readdirSync(src, { recursive: true, encoding: "utf8" })
  .map((name) => name.replaceAll("\\", "/"))
  .filter((name) => name.endsWith(".ts") && (extended.includes(name) || !/(^|\/)internal\/|^cli\//.test(name)))

const isExported = (node: ts.Node): boolean =>
  ts.canHaveModifiers(node) &&
  ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword) === true

/** Whether the build leaves a declaration out. */
const isInternal = (node: ts.Node): boolean => ts.getJSDocTags(node).some(({ tagName }) => tagName.text === "internal")

/** The names in exported declarations: users see an interface among them, even if it is not exported itself. */
const shownBy = (source: ts.SourceFile): ReadonlySet<string> => {
  const names = new Set<string>()
  const collect = (node: ts.Node): void => {
    if (ts.isTypeReferenceNode(node) || ts.isExpressionWithTypeArguments(node)) names.add(node.getText(source))
    if (!ts.isBlock(node) && !ts.isArrowFunction(node)) ts.forEachChild(node, collect)
  }
  for (const statement of source.statements) {
    if (isExported(statement) && (ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement))) {
      collect(statement)
    }
  }
  return names
}

/** The properties and methods of public interfaces except `_tag`, each with whether it has its own comment. */
const propertiesOf = (
  file: string,
  text: string
): ReadonlyArray<{ readonly name: string; readonly hasComment: boolean }> => {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true)
  const shown = shownBy(source)
  const properties: Array<{ readonly name: string; readonly hasComment: boolean }> = []
  const visit = (node: ts.Node): void => {
    if (ts.isInterfaceDeclaration(node) && !isInternal(node) && (isExported(node) || shown.has(node.name.text))) {
      for (const member of node.members) {
        if (!ts.isPropertySignature(member) && !ts.isMethodSignature(member)) continue
        const name = member.name.getText(source)
        if (name === "_tag") continue
        properties.push({
          name: `${file}: ${node.name.text}.${name}`,
          hasComment: ts.getJSDocCommentsAndTags(member).length > 0
        })
      }
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return properties
}

const undocumented = (file: string, text: string): ReadonlyArray<string> =>
  propertiesOf(file, text).filter(({ hasComment }) => !hasComment).map(({ name }) => name)

it("every property of an exported interface has its own doc comment", () => {
  const texts = files.map((file) => [file, readFileSync(join(src, file), "utf8")] as const)
  assert.includeMembers(files, extended)
  assert.isAbove(texts.flatMap(([file, text]) => propertiesOf(file, text)).length, 180)
  assert.deepStrictEqual(texts.flatMap(([file, text]) => undocumented(file, text)), [])
})

it("a property without a comment is found, even if the interface has one", () => {
  const text = `
/** A comment of the interface is none of its properties. */
export interface Options {
  readonly _tag: "Options"
  /** Has one. */
  readonly host: string
  // not a doc comment
  readonly port: number
  listen(): void
}
interface Private {
  readonly port: number
}
/** @internal */
export interface Internal {
  readonly port: number
}
interface Base {
  readonly id: string
}
export interface Extended extends Base {}
`
  assert.deepStrictEqual(undocumented("file.ts", text), [
    "file.ts: Options.port",
    "file.ts: Options.listen",
    "file.ts: Base.id"
  ])
})

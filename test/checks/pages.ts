import { readFileSync } from "node:fs"
import { basename, join, relative } from "node:path"
import { type Plugin, transformWithEsbuild } from "vite"

/** A TypeScript block of a page: the heading above it, the line of the page that it begins with, its text. */
export interface Block {
  readonly heading: string
  readonly line: number
  readonly text: string
}

// A block of any language: a `#` in one is no heading.
const parts = /^#+ (?<title>.*)$|^```ts\n(?<text>[^]*?)^```$|^```(?!ts\b)[^]*?^```$|^[ \t]*```ts\b.*$/gm

/** The TypeScript blocks of a page, in their order. One that would be passed over is an error. */
export const blocksOf = (page: string): ReadonlyArray<Block> => {
  const blocks: Array<Block> = []
  let heading = ""
  for (const { 0: found, groups: { text, title } = {}, index } of page.matchAll(parts)) {
    const line = page.slice(0, index).split("\n").length
    if (title !== undefined) heading = title
    else if (text !== undefined) blocks.push({ heading, line: line + 1, text })
    else if (found.trimStart().startsWith("```ts")) {
      throw new Error(`line ${line}: not the beginning of a block: ${found}`)
    }
  }
  return blocks
}

const idOf = (file: string, block: number): string => `${file}.${block}.ts`
const ids = /^(.+\.md)(?:\.(\d+)\.ts)?$/

/**
 * Lets vitest run pages as files of tests: each TypeScript block is a module of its own, whose tests stand under the
 * heading above it. A page without a block, and a block without a test, fail. What goes wrong in a block is shown where
 * it stands in the page.
 */
export const pages = (): Plugin => {
  let root = ""
  return {
    name: "pages",
    enforce: "pre",
    configResolved: (config) => {
      root = config.root
    },
    // a module that is no file is asked for by its path from the root, and would be shown by that
    resolveId: (id) => ids.test(id) ? (id.startsWith(root) ? id : join(root, id)) : null,
    load: async (id) => {
      const { 1: file, 2: number } = ids.exec(id) ?? []
      if (file === undefined) return null
      const page = readFileSync(file, "utf8")
      const blocks = blocksOf(page)
      if (number === undefined) {
        const suites = blocks.map(({ heading, line }, i) => {
          const name = `${heading} (${relative(root, file)}:${line})`
          return `describe(${JSON.stringify(name)}, () => import(${JSON.stringify(idOf(file, i + 1))}))`
        })
        return ["import { describe } from \"vitest\"", ...suites].join("\n")
      }
      const { line, text } = blocks[Number(number) - 1]!
      // as many lines before it as there are in the page: what is mapped to the block is mapped to the page
      const { code, map } = await transformWithEsbuild("\n".repeat(line - 1) + text, id, { target: "es2022" })
      return { code, map: { ...map, sources: [basename(file)], sourcesContent: [page] } }
    }
  }
}

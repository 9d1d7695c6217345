import { readFileSync } from "node:fs"
import { basename, join, relative } from "node:path"
import { type Plugin, transformWithEsbuild } from "vite"
import { blocksOf, idOf, snippetsOf } from "./snippets.js"

const ids = /^(?<file>.+\.(?:md|ts))\.(?<snippet>\d+)\.ts$|\.md$/

/**
 * Lets vitest import the examples of doc comments, and run pages as test files: each TypeScript block is a separate
 * module, whose tests are grouped under the heading above it. A page without a block, and a block without a test, fail.
 * Errors have their position in the page.
 */
export const pages = (): Plugin => {
  let root = ""
  return {
    name: "pages",
    enforce: "pre",
    configResolved: (config) => {
      root = config.root
    },
    // a virtual module is requested by its path from the root, and would be shown with that path
    resolveId: (id) => ids.test(id) ? (id.startsWith(root) ? id : join(root, id)) : null,
    load: async (id) => {
      const found = ids.exec(id)
      if (found === null) return null
      const { file, snippet } = found.groups!
      if (file === undefined) {
        const suites = blocksOf(readFileSync(id, "utf8")).map(({ heading, line }, i) => {
          const name = `${heading} (${relative(root, id)}:${line})`
          return `describe(${JSON.stringify(name)}, () => import(${JSON.stringify(idOf(id, i + 1))}))`
        })
        return ["import { describe } from \"vitest\"", ...suites].join("\n")
      }
      const content = readFileSync(file, "utf8")
      const { line, text } = snippetsOf(file, content)[Number(snippet) - 1]!
      // padded with the preceding lines of the file, so that positions in the snippet are positions in the file
      const { code, map } = await transformWithEsbuild("\n".repeat(line - 1) + text, id, { target: "es2022" })
      return { code, map: { ...map, sources: [basename(file)], sourcesContent: [content] } }
    }
  }
}

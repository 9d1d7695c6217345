/** The TypeScript blocks of pages and doc comments. */
/** A TypeScript block of a page: the heading above it, its first line in the page, its text. */
export interface Block {
  readonly heading: string
  readonly line: number
  readonly text: string
}

// A block of any language: a `#` in it is not a heading.
const parts =
  /^#+ (?<title>.*)$|^```(?<language>ts|diff)\n(?<content>[^]*?)^```$|^```(?!ts\b)[^]*?^```$|^[ \t]*```ts\b.*$/gm

/** The TypeScript blocks of a page and the results of its diffs, in order. A block that would be skipped is an error. */
export const blocksOf = (page: string): ReadonlyArray<Block> => {
  const blocks: Array<Block> = []
  let heading = ""
  for (const { 0: found, groups: { content, language, title } = {}, index } of page.matchAll(parts)) {
    const line = page.slice(0, index).split("\n").length
    if (title !== undefined) heading = title
    else if (content !== undefined) {
      const text = language === "ts" ? content : content.replace(/^-.*/gm, "").replace(/^[ +]/gm, "")
      blocks.push({ heading, line: line + 1, text })
    } else if (found.trimStart().startsWith("```ts")) {
      throw new Error(`line ${line}: not the beginning of a block: ${found}`)
    }
  }
  return blocks
}

/** The examples in the doc comments of a module, in order: the first line and the text of each. */
export const examplesOf = (module: string): ReadonlyArray<Omit<Block, "heading">> =>
  Array.from(module.matchAll(/^ *\* @example\n((?: *\*(?: (?!@).*)?\n)+)/gm), ({ 1: lines = "", index }) => ({
    line: module.slice(0, index).split("\n").length + 1,
    text: lines.replace(/^ *\*(?: |$)/gm, "")
  }))

/** The snippets of a file: the examples of a module, or the blocks of a page. */
export const snippetsOf = (file: string, text: string): ReadonlyArray<Omit<Block, "heading">> =>
  file.endsWith(".md") ? blocksOf(text) : examplesOf(text)

/** The module name of a snippet of a file. */
export const idOf = (file: string, snippet: number): string => `${file}.${snippet}.ts`

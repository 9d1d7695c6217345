/** The TypeScript that pages and doc comments show. */
/** A TypeScript block of a page: the heading above it, the line of the page that it begins with, its text. */
export interface Block {
  readonly heading: string
  readonly line: number
  readonly text: string
}

// A block of any language: a `#` in one is no heading.
const parts =
  /^#+ (?<title>.*)$|^```(?<language>ts|diff)\n(?<content>[^]*?)^```$|^```(?!ts\b)[^]*?^```$|^[ \t]*```ts\b.*$/gm

/** The TypeScript blocks of a page, and what its diffs make, in their order. One that would be passed over is an error. */
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

/** The examples in the doc comments of a module, in their order: the line that each begins with, and its text. */
export const examplesOf = (module: string): ReadonlyArray<Omit<Block, "heading">> =>
  Array.from(module.matchAll(/^ *\* @example\n((?: *\*(?: (?!@).*)?\n)+)/gm), ({ 1: lines = "", index }) => ({
    line: module.slice(0, index).split("\n").length + 1,
    text: lines.replace(/^ *\*(?: |$)/gm, "")
  }))

/** What a file shows: an example of a module is found as a block of a page is. */
export const snippetsOf = (file: string, text: string): ReadonlyArray<Omit<Block, "heading">> =>
  file.endsWith(".md") ? blocksOf(text) : examplesOf(text)

/** The name of the module that a snippet of a file is. */
export const idOf = (file: string, snippet: number): string => `${file}.${snippet}.ts`

// The site: the guides and the API reference, as static pages in `site/` (`npm run docs`).
import { readFileSync } from "node:fs"
import { Comment, Converter, ReflectionKind } from "typedoc"

const read = (name) => readFileSync(new URL(name, import.meta.url), "utf8")

/** The guides, in the order of the README. */
const guides = Array.from(read("README.md").matchAll(/^\d+\. \[[^\]]+\]\((docs\/[^)]+)\)/gm), ([, page]) => page)

/** The text of the comment that a module begins with. */
const aboutModule = (name) => {
  const [, comment = ""] = /^\/\*\*\n([^]*?)\*\//.exec(read(`src/${name}.ts`)) ?? []
  return comment.replace(/^ \* ?/gm, "").replace(/^@since[^]*/m, "").trim()
}

/** Names a page by its heading, and a module as a program imports it, with the comment that it begins with. */
const withNames = ({ converter }) => {
  converter.on(Converter.EVENT_CREATE_DOCUMENT, (_, document) => {
    const [{ text }] = document.content
    const [, heading] = /^# (.+)$/m.exec(text) ?? []
    if (heading === undefined) throw new Error(`${document.name} has no heading`)
    document.name = heading
  })
  converter.on(Converter.EVENT_RESOLVE_BEGIN, ({ project }) => {
    const [start] = project.readme
    start.text = start.text.replace(/^# .*\n/, "") // the page has a title already
    for (const module of project.getReflectionsByKind(ReflectionKind.Module)) {
      module.comment = new Comment([{ kind: "text", text: aboutModule(module.name) }])
      module.name = module.name.replace(/^(model|queue|policy|watch|run|telemetry)\//, "")
    }
  })
}

/** Warns of an export without a sentence, its version or its category. */
const withTags = ({ converter, logger }) => {
  converter.on(Converter.EVENT_RESOLVE_END, ({ project }) => {
    for (const module of project.getReflectionsByKind(ReflectionKind.Module)) {
      for (const { comment, name, signatures } of module.children ?? []) {
        const comments = comment === undefined ? signatures?.map(({ comment }) => comment) ?? [undefined] : [comment]
        const isWhole = (comment) =>
          comment?.summary.length > 0 && comment.getTag("@since") && comment.getTag("@category")
        if (!comments.every(isWhole)) logger.warn(`${module.name}.${name}: a sentence, @since or @category is missing`)
      }
    }
  })
}

/** @type {Partial<import("typedoc").TypeDocOptions>} */
export default {
  name: "effect-queue-status",
  entryPoints: ["src/*/[A-Z]*.ts"],
  tsconfig: "tsconfig.build.json",
  skipErrorChecking: true, // `npm run check` does
  out: "site",
  customCss: "test/checks/site.css",
  projectDocuments: [...guides, "CHANGELOG.md"],
  plugin: [withNames, withTags],
  blockTags: ["@category", "@default", "@example", "@see", "@since"],
  highlightLanguages: ["bash", "diff", "js", "json", "mermaid", "python", "sh", "text", "ts", "typescript"],
  disableSources: true,
  excludeExternals: true,
  excludeInternal: true,
  excludePrivate: true,
  searchInComments: true,
  searchInDocuments: true,
  treatWarningsAsErrors: true,
  validation: { invalidLink: true, invalidPath: true, notExported: false }
}

// Every link of the site leads to a page, and to the heading that it names: `npm run docs`, which builds it first.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs"
import { dirname, join } from "node:path"
import { root } from "./tools.mjs"

const site = join(root, "site")
const pages = new Map(
  readdirSync(site, { recursive: true })
    .filter((name) => name.endsWith(".html"))
    .map((name) => [join(site, name), readFileSync(join(site, name), "utf8")])
)

/** The file that a link leads to, if there is one. */
const fileOf = (page, path) => {
  const file = path === "" ? page : join(dirname(page), path)
  return existsSync(file) && statSync(file).isDirectory() ? join(file, "index.html") : file
}

const broken = new Set()
let links = 0
for (const [page, html] of pages) {
  for (const [, link] of html.matchAll(/<a [^>]*?href="(?!\w+:)([^"]*)"/g)) {
    const [path, heading = ""] = decodeURI(link.replaceAll("&amp;", "&")).split("#")
    const file = fileOf(page, path)
    const isThere = heading === "" ? existsSync(file) : pages.get(file)?.includes(` id="${heading}"`)
    if (!isThere) broken.add(`${page.slice(site.length + 1)} links to ${link}`)
    links++
  }
}
console.log([...broken, `${pages.size} pages, ${links} links, ${broken.size} broken`].join("\n"))
if (broken.size > 0 || links === 0) process.exitCode = 1

// The rows of the page, by model.
// @effect-diagnostics globalDate:off globalFetch:off preferSchemaOverJson:off
import {
  columns,
  describe,
  type Fact,
  type Facts,
  factsOf,
  isEnd,
  type Job,
  merge,
  nameOf,
  now,
  precisely,
  type Step,
  timeOf,
  words
} from "./job.js"

export const byId = (id: string): HTMLElement => document.getElementById(id)!

const element = <Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  properties: { readonly [name: string]: unknown } = {},
  ...children: ReadonlyArray<Node | string>
): HTMLElementTagNameMap[Name] => {
  const made = Object.assign(document.createElement(name), properties)
  made.append(...children)
  return made
}

/** Changes a text only if it differs: an unchanged row costs no layout. */
export const write = (node: Node, text: string): void => {
  if (node.textContent !== text) node.textContent = text
}

class Row {
  readonly tr = element("tr")
  private readonly button: HTMLButtonElement
  private readonly bar = element("progress", { max: 1, hidden: true })
  /** Where the texts are written. */
  private readonly texts = new Map<Fact, HTMLElement>()
  private detail: HTMLTableRowElement | undefined
  private readonly detailTexts = new Map<Fact, HTMLElement>()
  private readonly timeline = element("ol")
  /** Why the job has not ended yet. */
  private readonly cause = element("p", { hidden: true })
  private explainedAt = 0
  private shown: ReadonlyArray<Step> = []
  private outputs: HTMLElement | undefined
  /** Whether the row can be seen, or nearly. */
  isNear = true

  constructor(public job: Job) {
    const name = job.requestId.slice(-8)
    this.button = element("button", { type: "button", ariaExpanded: "false", title: job.requestId }, name)
    this.button.onclick = () => this.toggle()
    this.bar.ariaLabel = `progress of ${name}`
    const text = (fact: Fact, node: HTMLElement = element("span")): HTMLElement => {
      this.texts.set(fact, node)
      return node
    }
    const why = text("why", element("span", { className: "why" }))
    this.tr.append(
      element("th", { className: "job", scope: "row" }, this.button),
      element("td", { className: "state" }, text("state", element("b")), element("small", {}, text("trouble"), why)),
      text("attempt", element("td", { className: "attempt" })),
      element("td", { className: "progress" }, this.bar, text("progress")),
      ...(["age", "queue", "left"] as const).map((className) => text(className, element("td", { className })))
    )
    this.tr.dataset["job"] = job.job
    nearness.observe(this.tr)
  }

  /** Whether the texts depend on the time. */
  get isLive(): boolean {
    const last = this.job.steps.at(-1)
    return last === undefined || !isEnd(last)
  }

  private get className(): string {
    return `${this.job.steps.at(-1)?._tag ?? "Unseen"}${this.isLive ? "" : " over"}`
  }

  /** Whether the row shows another state than the one that the job is in. */
  get hasMoved(): boolean {
    return this.tr.className !== this.className
  }

  render(): void {
    const facts = factsOf(this.job)
    if (this.hasMoved) this.tr.className = this.className
    for (const [fact, node] of this.texts) write(node, facts[fact])
    const fraction = parseInt(facts.progress) / 100
    this.bar.hidden = facts.progress === ""
    if (!this.bar.hidden && this.bar.value !== fraction) this.bar.value = fraction
    if (this.detail !== undefined) this.renderDetail(facts)
  }

  private toggle(): void {
    this.button.ariaExpanded = String(this.detail === undefined)
    if (this.detail !== undefined) {
      this.detail.remove()
      this.detail = undefined
      return
    }
    const list = element("dl")
    for (const [name, title] of [...columns, ["trouble", "Trouble"]] as const) {
      const value = element("dd")
      this.detailTexts.set(name, value)
      list.append(element("dt", {}, title), value)
    }
    this.explainedAt = 0
    const cell = element("td", { colSpan: columns.length }, this.cause, list, this.timeline)
    if (this.outputs !== undefined) cell.append(this.outputs)
    this.detail = element("tr", { className: "detail" }, cell)
    this.tr.after(this.detail)
    this.render()
  }

  private renderDetail(facts: Facts): void {
    const { job } = this
    const texts = { ...facts, trouble: facts.trouble + facts.why }
    for (const [fact, node] of this.detailTexts) write(node, texts[fact] || "–")
    if (this.shown !== job.steps) {
      this.shown = job.steps
      const items = job.steps.map((step, i) => this.item(step, job.steps[i - 1]))
      this.timeline.replaceChildren(...items)
    }
    if (job.steps.at(-1)?._tag === "Completed" && this.outputs === undefined) this.loadOutputs()
    this.cause.hidden = !this.isLive || this.cause.textContent === ""
    if (this.isLive && now() - this.explainedAt > 5_000) this.explain()
  }

  private explain(): void {
    this.explainedAt = now()
    fetch(`why?${new URLSearchParams({ job: this.job.job })}`).then((response) => response.json()).then(
      ({ summary }) => write(this.cause, summary ?? ""), // of a job that the board has dropped meanwhile, nothing
      () => write(this.cause, "")
    )
  }

  private item(step: Step, before: Step | undefined): HTMLLIElement {
    const pause = before === undefined ? "" : ` (+${precisely(Math.max(0, timeOf(step) - timeOf(before)))})`
    const time = step.at === undefined ? "no time reported, seen at" : "at"
    const item = element(
      "li",
      { className: step.evidence },
      describe(step),
      element("small", {}, `${step.evidence}, ${time} ${new Date(timeOf(step)).toLocaleTimeString()}${pause}`)
    )
    item.dataset["step"] = nameOf(step)
    return item
  }

  private loadOutputs(): void {
    const { job: { job } } = this
    const shown = element("pre", { tabIndex: 0, ariaLabel: "outputs" }, "Loading the outputs")
    shown.setAttribute("role", "region")
    this.outputs = shown
    this.detail?.firstElementChild?.append(shown)
    fetch(`outputs?${new URLSearchParams({ job })}`).then((response) => response.json()).then(
      // a page is slow with more
      (outputs) => write(shown, JSON.stringify(outputs, null, 2).slice(0, 20_000)),
      () => write(shown, "The outputs can't be loaded")
    )
  }

  remove(): void {
    nearness.unobserve(this.tr)
    this.tr.remove()
    this.detail?.remove()
  }
}

class Group {
  readonly rows = new Set<Row>()
  private readonly counts = element("p")
  private readonly body = element("tbody")
  private readonly section: HTMLElement

  constructor(model: string) {
    const head = element(
      "tr",
      {},
      ...columns.map(([className, title]) => element("th", { className, scope: "col" }, title))
    )
    const table = element("table", { ariaLabel: `jobs of ${model}` }, element("thead", {}, head), this.body)
    this.section = element("section", {}, element("h2", {}, model), this.counts, table)
    byId("models").append(this.section)
  }

  add(row: Row): void {
    this.rows.add(row)
    this.body.prepend(row.tr)
  }

  render(): void {
    if (this.rows.size === 0) this.section.remove()
    write(this.counts, countsOf(this.rows))
  }
}

export const countsOf = (all: Iterable<Row>): string => {
  const counts = new Map<string, number>()
  for (const { job: { steps } } of all) {
    const state = (words[steps.at(-1)?._tag ?? ""] ?? "? unknown").slice(2)
    counts.set(state, (counts.get(state) ?? 0) + 1)
  }
  return Array.from(counts, ([state, count]) => `${count} ${state}`).sort().join(", ")
}

export const rows = new Map<string, Row>()
const groups = new Map<string, Group>()
const changed = new Set<Row>()

// the progress and the times of a row that is far away are written when it comes near: a thousand rows cost too much
const nearness = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    const row = rows.get((target as HTMLElement).dataset["job"] ?? "") // only rows are observed
    if (row === undefined) continue
    row.isNear = isIntersecting
    if (isIntersecting) changed.add(row)
  }
}, { rootMargin: "50%" })

export const receive = (job: Job): void => {
  let row = rows.get(job.job)
  if (row === undefined) {
    row = new Row(job)
    rows.set(job.job, row)
    let group = groups.get(job.model)
    if (group === undefined) groups.set(job.model, group = new Group(job.model))
    group.add(row)
  }
  row.job = merge(row.job, job)
  changed.add(row)
}

export const remove = (name: string): void => {
  const row = rows.get(name)
  if (row === undefined) return
  const group = groups.get(row.job.model)
  row.remove()
  rows.delete(name)
  changed.delete(row)
  group?.rows.delete(row)
  group?.render()
  if (group?.rows.size === 0) groups.delete(row.job.model)
}

let second = 0

export const render = (): void => {
  const current = Math.floor(now() / 1_000)
  const models = new Set(Array.from(changed, ({ job }) => job.model))
  if (current !== second) { for (const row of rows.values()) if (row.isLive) changed.add(row) }
  second = current
  for (const row of changed) if (row.isNear || row.hasMoved) row.render()
  changed.clear()
  for (const model of models) groups.get(model)?.render()
  byId("empty").hidden = rows.size > 0
}

/** The figures of a benchmark and their goals, each beside its measurement. */

export interface Figure {
  readonly what: string
  readonly value: number
  /** Defaults to none: the value counts something. */
  readonly unit?: string
  /** A figure without a goal explains those around it. */
  readonly goal?: readonly [relation: "≤" | "<", limit: number]
}

const isReached = ({ goal, value }: Figure): boolean =>
  goal === undefined || (goal[0] === "<" ? value < goal[1] : value <= goal[1])

/** Three digits or more. */
const withUnit = (value: number, unit = ""): string =>
  `${value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 2 : value < 100 ? 1 : 0 })} ${unit}`.trim()

/** A table in Markdown. */
export const tableOf = (title: string, figures: ReadonlyArray<Figure>): string =>
  [
    `| ${title} | to reach | measured | reached |`,
    "| --- | ---: | ---: | --- |",
    ...figures.map((figure) => {
      const { goal, unit, value, what } = figure
      const [toReach, reached] = goal === undefined
        ? ["", ""]
        : [`${goal[0]} ${withUnit(goal[1], unit)}`, isReached(figure) ? "yes" : "**no**"]
      return `| ${what} | ${toReach} | ${withUnit(value, unit)} | ${reached} |`
    }),
    ""
  ].join("\n")

/** Sends the figures to `run.ts`, if it has started this process, for the table of all goals. */
export const handOver = (figures: ReadonlyArray<Figure>): Promise<void> =>
  new Promise((resolve) => {
    if (process.send === undefined) resolve()
    else process.send(figures, undefined, {}, () => resolve())
  })

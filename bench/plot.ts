import { writeFileSync } from 'node:fs'
import path from 'node:path'

/** One curve. */
export interface PlotLine {
  readonly label: string
  readonly points: readonly { readonly x: number; readonly y: number }[]
  /** Lines of one tone belong together; the second of a pair is dashed. */
  readonly tone: 'ours' | 'theirs' | 'limit'
  readonly dashed?: boolean
}

export interface PlotOptions {
  readonly title: string
  readonly xLabel: string
  readonly yLabel: string
  readonly lines: readonly PlotLine[]
  /** A horizontal line that nothing should pass. */
  readonly limits?: readonly { readonly label: string; readonly y: number }[]
}

const WIDTH = 840
const HEIGHT = 420
const LEFT = 64
const RIGHT = 16
const TOP = 76
const BOTTOM = 52
/** More points than pixels cannot be seen. */
const MAX_POINTS = 400

/**
 * A line chart as SVG: readable at the width of a README, on light and on dark ground, without scripts or fonts of its
 * own. Both axes begin at 0. Where there are more points than pixels, the highest of each step is drawn: a peak is
 * never hidden.
 */
export function plotLines(options: PlotOptions): string {
  const { lines, limits = [] } = options
  const xMax = niceMax(Math.max(...lines.flatMap(({ points }) => points.map(({ x }) => x)), 0))
  const yMax = niceMax(
    Math.max(...lines.flatMap(({ points }) => points.map(({ y }) => y)), ...limits.map(({ y }) => y), 0),
  )
  const toX = (x: number): number => round(LEFT + (x / xMax.max) * (WIDTH - LEFT - RIGHT))
  const toY = (y: number): number => round(HEIGHT - BOTTOM - (y / yMax.max) * (HEIGHT - TOP - BOTTOM))
  const parts = [
    ...ticks(yMax).flatMap((y) => [
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${toY(y)}" y2="${toY(y)}"/>`,
      `<text class="tick" x="${LEFT - 8}" y="${toY(y) + 4}" text-anchor="end">${y.toLocaleString('en')}</text>`,
    ]),
    ...ticks(xMax).map(
      (x) =>
        `<text class="tick" x="${toX(x)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${x.toLocaleString('en')}</text>`,
    ),
    `<text class="label" x="${WIDTH - RIGHT}" y="${HEIGHT - 12}" text-anchor="end">${escape(options.xLabel)}</text>`,
    `<text class="title" x="${LEFT}" y="22">${escape(options.title)}</text>`,
    `<text class="label" x="${LEFT}" y="${TOP - 10}">${escape(options.yLabel)}</text>`,
    ...limits.flatMap(({ label, y }) => [
      `<line class="limit" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${toY(y)}" y2="${toY(y)}"/>`,
      `<text class="limit-label" x="${WIDTH - RIGHT}" y="${toY(y) - 6}" text-anchor="end">${escape(label)}</text>`,
    ]),
    ...lines.map(({ points, tone, dashed }) => {
      const path = thinned(points, xMax.max)
        .map(({ x, y }) => `${toX(x)},${toY(y)}`)
        .join(' ')
      return `<polyline class="${tone}${dashed === true ? ' dashed' : ''}" points="${path}"/>`
    }),
    ...legend(lines),
  ]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${escape(options.title)}">
<style>${STYLE}</style>
${parts.join('\n')}
</svg>
`
}

/** Writes a chart into bench/results. */
export function writePlot(name: string, options: PlotOptions): void {
  writeFileSync(path.join(import.meta.dirname, 'results', `${name}.svg`), plotLines(options))
}

/** Colours that keep their contrast on white and on GitHub's dark ground; no ground of its own. */
const STYLE = [
  'text{font-family:system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;fill:#57606a}',
  '.title{font-size:16px;font-weight:600;fill:#1f2328}.label,.tick,.legend,.limit-label{font-size:12px}',
  '.grid{stroke:#8c959f;stroke-opacity:.25}',
  'polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}.dashed{stroke-dasharray:5 3}',
  '.ours{stroke:#1a7f37}.theirs{stroke:#bf5b00}polyline.limit,.limit{stroke:#cf222e;stroke-dasharray:2 4;stroke-width:1.5}',
  '.limit-label{fill:#cf222e}',
  '@media (prefers-color-scheme:dark){text{fill:#9198a1}.title{fill:#f0f6fc}.ours{stroke:#3fb950}.theirs{stroke:#f0883e}polyline.limit,.limit{stroke:#ff7b72}.limit-label{fill:#ff7b72}}',
].join('')

function legend(lines: readonly PlotLine[]): string[] {
  let x = LEFT
  return lines.flatMap(({ label, tone, dashed }) => {
    const at = x
    // Text of 12 px is about 6.3 px a letter.
    x += 44 + label.length * 6.3
    return [
      `<polyline class="${tone}${dashed === true ? ' dashed' : ''}" points="${at},42 ${at + 22},42"/>`,
      `<text class="legend" x="${at + 27}" y="46">${escape(label)}</text>`,
    ]
  })
}

interface Axis {
  readonly max: number
  readonly step: number
}

/** A round end of an axis, with four to eight steps. */
function niceMax(value: number): Axis {
  if (!(value > 0)) return { max: 1, step: 1 }
  const magnitude = 10 ** Math.floor(Math.log10(value))
  const step = [0.2, 0.25, 0.5, 1, 2].map((factor) => factor * magnitude).find((step) => value / step <= 7)
  const found = step ?? 2 * magnitude
  return { max: Math.ceil(value / found) * found, step: found }
}

function ticks({ max, step }: Axis): number[] {
  return Array.from({ length: Math.round(max / step) + 1 }, (_, index) => round(index * step))
}

/** The highest point of each step of the width. */
function thinned(points: PlotLine['points'], xMax: number): PlotLine['points'] {
  if (points.length <= MAX_POINTS) return points
  // bounded by: MAX_POINTS
  const highest = new Map<number, { x: number; y: number }>()
  for (const point of points) {
    const slot = Math.floor((point.x / xMax) * MAX_POINTS)
    const before = highest.get(slot)
    if (before === undefined || point.y > before.y) highest.set(slot, point)
  }
  return [...highest.values()]
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}

function escape(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}

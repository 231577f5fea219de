import { useComputedColorScheme } from '@mantine/core'
import { type ReactNode, useEffect, useMemo, useRef, useState } from 'react'
import type uPlot from 'uplot'
import { useTexts } from '../i18n/index.tsx'

interface PlotLine {
  readonly name: string
  readonly values: readonly number[]
  /** A colour of the page, such as `--info`. */
  readonly colour: string
  readonly filled?: boolean
}

interface PlotProps {
  /** Epoch milliseconds. */
  readonly at: readonly number[]
  readonly lines: readonly PlotLine[]
  readonly format: (value: number) => string
  /** Steps of the axis are powers of two. */
  readonly isBytes?: boolean
  readonly height?: number
  /** A line across at this height, such as a ceiling. */
  readonly mark?: { readonly value: number; readonly name: string } | undefined
}

/** Seconds: the labels have minutes, so that a finer step would write the same one again. */
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720].map((minutes) => minutes * 60)
const BYTE_STEPS = Array.from({ length: 40 }, (_, power) => 2 ** power)

/** Lines over time; what is under the cursor stands in the legend. */
export function Plot({ at, lines, format, isBytes = false, height = 190, mark }: PlotProps): ReactNode {
  const { language, time } = useTexts()
  const scheme = useComputedColorScheme('light')
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const [index, setIndex] = useState<number | null>(null)
  const data = useMemo(() => dataOf(at, lines, mark), [at, lines, mark])
  const latest = useRef({ data, format })
  latest.current = { data, format }
  const shape = lines.map(({ name, colour, filled }) => `${name} ${colour} ${filled}`).join('|')

  useEffect(() => {
    const element = box.current
    if (element === null) return undefined
    const colourOf = (name: string): string =>
      getComputedStyle(document.documentElement).getPropertyValue(name).trim()
    const axis = {
      stroke: colourOf('--muted'),
      font: '11px system-ui, sans-serif',
      ticks: { show: false },
    } as const
    const grid = { stroke: colourOf('--line'), width: 1 } as const
    let ended = false
    const watcher = new ResizeObserver(() =>
      plot.current?.setSize({ width: Math.max(200, element.clientWidth), height }),
    )
    const draw = (Plotter: typeof uPlot): void => {
      if (ended) return
      plot.current = new Plotter(
        {
          width: Math.max(200, element.clientWidth),
          height,
          legend: { show: false },
          cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
          scales: { x: { time: true }, y: { range: (_plot, _low, high) => [0, Math.max(1, high * 1.08)] } },
          axes: [
            {
              ...axis,
              grid: { show: false },
              size: 30,
              incrs: TIME_STEPS,
              space: 70,
              // One beyond the last value would be cut off.
              values: ({ scales }, splits) =>
                splits.map((split) => (split > (scales['x']?.max ?? split) ? '' : time(split * 1000))),
            },
            {
              ...axis,
              grid,
              size: isBytes ? 66 : 40,
              ...(isBytes ? { incrs: BYTE_STEPS } : {}),
              space: 34,
              values: (_plot, splits) => splits.map((split) => latest.current.format(split)),
            },
          ],
          series: [
            {},
            ...lines.map(({ colour, filled }) => ({
              stroke: colourOf(colour),
              width: 1.7,
              points: { show: false },
              ...(filled === true ? { fill: `${colourOf(colour)}22` } : {}),
            })),
            ...(mark === undefined
              ? []
              : [{ stroke: colourOf('--bad'), width: 1.2, dash: [5, 4], points: { show: false } }]),
          ],
          hooks: { setCursor: [(self) => setIndex(self.cursor.idx ?? null)] },
        },
        latest.current.data,
        element,
      )
      watcher.observe(element)
    }
    void import('uplot').then((module) => draw(module.default))
    return () => {
      ended = true
      watcher.disconnect()
      plot.current?.destroy()
      plot.current = null
    }
    // oxlint-disable-next-line react-hooks/exhaustive-deps -- made anew for another look, not for new values
  }, [shape, scheme, language, height, mark === undefined])

  useEffect(() => plot.current?.setData(data), [data])

  const shownAt = index ?? at.length - 1
  return (
    <div style={{ display: 'grid', gap: 10, minWidth: 0 }}>
      <div className="legend">
        {lines.map(({ name, colour, values }) => (
          <span key={name}>
            <i style={{ background: `var(${colour})` }} />
            {name} <b>{format(values[shownAt] ?? 0)}</b>
          </span>
        ))}
        {mark !== undefined && (
          <span>
            <i style={{ background: 'var(--bad)', height: 2 }} />
            {mark.name} <b>{format(mark.value)}</b>
          </span>
        )}
        {index !== null && at[index] !== undefined && <span className="tabular">{time(at[index])}</span>}
      </div>
      <div ref={box} className="plot" style={{ height, minWidth: 0, overflow: 'hidden' }} />
    </div>
  )
}

function dataOf(
  at: readonly number[],
  lines: readonly PlotLine[],
  mark: PlotProps['mark'],
): uPlot.AlignedData {
  return [
    Float64Array.from(at, (ms) => ms / 1000),
    ...lines.map(({ values }) => Float64Array.from(values)),
    ...(mark === undefined ? [] : [new Float64Array(at.length).fill(mark.value)]),
  ]
}

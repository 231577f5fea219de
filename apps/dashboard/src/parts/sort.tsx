import { type ReactNode, useMemo, useState } from 'react'
import { Icon } from './icon.tsx'

export interface Sorting<Column extends string> {
  readonly column: Column
  readonly down: boolean
}

/** Rows in the order that the heads of the columns were pressed to. */
export function useSorting<Row, Column extends string>(
  rows: readonly Row[],
  values: Readonly<Record<Column, (row: Row) => string | number>>,
  first: Sorting<NoInfer<Column>>,
): {
  readonly sorted: readonly Row[]
  readonly head: (column: Column, name: string, isNumber?: boolean) => ReactNode
} {
  const [sorting, setSorting] = useState<Sorting<Column>>(first)
  const sorted = useMemo(() => {
    const valueOf = values[sorting.column]
    const sign = sorting.down ? -1 : 1
    return [...rows].sort((a, b) => {
      const [left, right] = [valueOf(a), valueOf(b)]
      return (
        sign *
        (typeof left === 'number' && typeof right === 'number'
          ? left - right
          : String(left).localeCompare(String(right)))
      )
    })
    // oxlint-disable-next-line react-hooks/exhaustive-deps -- the functions are made anew with each drawing
  }, [rows, sorting])
  const head = (column: Column, name: string, isNumber = false): ReactNode => {
    const isSorted = sorting.column === column
    return (
      <th
        key={column}
        className={isNumber ? 'num' : undefined}
        aria-sort={isSorted ? (sorting.down ? 'descending' : 'ascending') : 'none'}
      >
        <button
          type="button"
          className="sort"
          onClick={() => setSorting({ column, down: isSorted ? !sorting.down : isNumber })}
        >
          {name}
          {isSorted && <Icon name={sorting.down ? 'arrowDown' : 'arrowUp'} size={12} />}
        </button>
      </th>
    )
  }
  return { sorted, head }
}

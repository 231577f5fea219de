import type { ReactNode } from 'react'

interface PageProps {
  readonly title: string
  readonly lead?: ReactNode
  /** Buttons at the right of the title. */
  readonly actions?: ReactNode
  readonly children: ReactNode
}

export function Page({ title, lead, actions, children }: PageProps): ReactNode {
  return (
    <div className="page">
      <header className="page-head">
        <div style={{ minWidth: 0 }}>
          <h1>{title}</h1>
          {lead !== undefined && <p className="page-lead">{lead}</p>}
        </div>
        {actions !== undefined && <div style={{ display: 'flex', flexWrap: 'wrap', gap: 8 }}>{actions}</div>}
      </header>
      {children}
    </div>
  )
}

interface CardProps {
  readonly title?: ReactNode
  readonly aside?: ReactNode
  /** Without room around what is in it, for tables. */
  readonly flush?: boolean
  readonly children: ReactNode
}

export function Card({ title, aside, flush = false, children }: CardProps): ReactNode {
  return (
    <section className="card">
      {title !== undefined && (
        <div className="card-head" style={flush ? { paddingBottom: 10 } : {}}>
          <h2>{title}</h2>
          {aside}
        </div>
      )}
      {flush ? children : <div className="card-body">{children}</div>}
    </section>
  )
}

interface TileProps {
  readonly name: string
  readonly value: ReactNode
  readonly note?: ReactNode
  readonly tone?: 'bad' | 'warn' | undefined
}

export function Tile({ name, value, note, tone }: TileProps): ReactNode {
  return (
    <div className="card tile">
      <div className="tile-name">{name}</div>
      <div className="tile-value" style={tone === undefined ? {} : { color: `var(--${tone})` }}>
        {value}
      </div>
      {note !== undefined && <div className="tile-note">{note}</div>}
    </div>
  )
}

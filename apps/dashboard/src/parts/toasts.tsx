import { createContext, type ReactNode, useCallback, useContext, useMemo, useRef, useState } from 'react'
import { useTexts } from '../i18n/index.tsx'
import { sentenceOf } from './states.tsx'
import { Icon } from './icon.tsx'

interface Toast {
  readonly id: number
  readonly kind: 'good' | 'bad'
  readonly text: string
}

interface Toasts {
  good(text: string): void
  /** Says why it did not work. */
  bad(error: unknown): void
}

const MAX_TOASTS = 3
const SHOWN_MS = 6000

const Context = createContext<Toasts | null>(null)

export function useToasts(): Toasts {
  const toasts = useContext(Context)
  if (toasts === null) throw new Error('useToasts outside of ToastProvider')
  return toasts
}

/** Short words at the bottom about what was just done. */
export function ToastProvider({ children }: { readonly children: ReactNode }): ReactNode {
  const texts = useTexts()
  const [shown, setShown] = useState<readonly Toast[]>([])
  const nextId = useRef(1)
  const add = useCallback((kind: Toast['kind'], text: string) => {
    const id = nextId.current++
    setShown((before) => [...before.slice(1 - MAX_TOASTS), { id, kind, text }])
    setTimeout(() => setShown((before) => before.filter((toast) => toast.id !== id)), SHOWN_MS)
  }, [])
  const toasts = useMemo<Toasts>(
    () => ({ good: (text) => add('good', text), bad: (error) => add('bad', sentenceOf(error, texts)) }),
    [add, texts],
  )
  return (
    <Context value={toasts}>
      {children}
      <div className="toasts" role="status" aria-live="polite">
        {shown.map(({ id, kind, text }) => (
          <div key={id} className={`toast card state-${kind}`}>
            <Icon name={kind === 'good' ? 'check' : 'alert'} />
            <span>{text}</span>
          </div>
        ))}
      </div>
    </Context>
  )
}

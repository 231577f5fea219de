import { createContext, type ReactNode, useContext, useMemo, useState } from 'react'
import { type Dictionary, type Language, makeTexts, type Spoken, type Texts } from './texts.ts'

export type { TextKey, Texts } from './texts.ts'

/** Loaded when somebody speaks it. */
const load: Readonly<Record<Language, () => Promise<Dictionary>>> = {
  en: async () => (await import('./en.ts')).en,
  'pt-BR': async () => (await import('./pt-br.ts')).ptBr,
}
const STORED = 'eclusa.language'

const Context = createContext<Texts | null>(null)

export function useTexts(): Texts {
  const texts = useContext(Context)
  if (texts === null) throw new Error('useTexts outside of TextsProvider')
  return texts
}

/** The language that was chosen here before, or the browser's. */
export async function firstSpoken(): Promise<Spoken> {
  const language = firstLanguage()
  return { language, dictionary: await load[language]() }
}

interface TextsProviderProps {
  readonly first: Spoken
  readonly children: ReactNode
}

export function TextsProvider({ first, children }: TextsProviderProps): ReactNode {
  const [spoken, setSpoken] = useState(first)
  const texts = useMemo(
    () =>
      makeTexts(spoken, (language) => {
        void load[language]().then((dictionary) => {
          localStorage.setItem(STORED, language)
          setSpoken({ language, dictionary })
        })
      }),
    [spoken],
  )
  document.documentElement.lang = spoken.language
  return <Context value={texts}>{children}</Context>
}

function firstLanguage(): Language {
  const stored = localStorage.getItem(STORED)
  if (stored === 'en' || stored === 'pt-BR') return stored
  return navigator.language.toLowerCase().startsWith('pt') ? 'pt-BR' : 'en'
}

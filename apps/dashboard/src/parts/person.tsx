import type { ReactNode } from 'react'
import { addressOf, visible } from './address.ts'

/** What we call them, what they call themselves, or their number. */
export function nameOf(
  contact: { readonly name: string | null; readonly pushName: string | null } | undefined,
  chat: string,
): string {
  return visible(contact?.name ?? contact?.pushName ?? addressOf(chat))
}

export function Avatar({ name }: { readonly name: string }): ReactNode {
  const letter = /\p{L}/u.exec(name)?.[0]?.toUpperCase() ?? '#'
  return (
    <span className="avatar" aria-hidden="true">
      {letter}
    </span>
  )
}

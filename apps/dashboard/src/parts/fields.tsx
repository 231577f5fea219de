import { NativeSelect, TextInput } from '@mantine/core'
import type { ReactNode } from 'react'
import { useTexts } from '../i18n/index.tsx'
import { Icon } from './icon.tsx'

interface SearchProps {
  readonly value: string
  readonly onChange: (value: string) => void
  readonly label?: string
}

export function SearchField({ value, onChange, label }: SearchProps): ReactNode {
  const { t } = useTexts()
  return (
    <TextInput
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      placeholder={label ?? t('common.search')}
      aria-label={label ?? t('common.search')}
      leftSection={<Icon name="search" size={15} />}
      style={{ flex: '1 1 180px', maxWidth: 320 }}
    />
  )
}

interface PickProps {
  readonly label: string
  readonly value: string
  readonly onChange: (value: string) => void
  readonly options: readonly { readonly value: string; readonly label: string }[]
  /** What the empty value means; without it there is none. */
  readonly all?: string
}

/** The system's own list: right on every device and keyboard. */
export function PickField({ label, value, onChange, options, all }: PickProps): ReactNode {
  return (
    <NativeSelect
      aria-label={label}
      value={value}
      onChange={(event) => onChange(event.currentTarget.value)}
      data={[...(all === undefined ? [] : [{ value: '', label: all }]), ...options]}
      className="pick"
      style={{ flex: '0 1 200px', minWidth: 130 }}
    />
  )
}

import { ActionIcon, useComputedColorScheme, useMantineColorScheme } from '@mantine/core'
import type { ReactNode } from 'react'
import { useTexts } from '../i18n/index.tsx'
import { Icon } from '../parts/icon.tsx'

/** Dark or light, and the other language. */
export function LookButtons(): ReactNode {
  const { t, language, setLanguage } = useTexts()
  const { setColorScheme } = useMantineColorScheme()
  const isDark = useComputedColorScheme('light') === 'dark'
  const other = language === 'en' ? 'pt-BR' : 'en'
  const otherName = t(other === 'en' ? 'look.english' : 'look.portuguese')
  return (
    <div style={{ display: 'flex' }}>
      <ActionIcon
        variant="subtle"
        color="gray"
        size="lg"
        lang={other}
        aria-label={otherName}
        title={otherName}
        onClick={() => setLanguage(other)}
      >
        <Icon name="language" />
      </ActionIcon>
      <ActionIcon
        variant="subtle"
        color="gray"
        size="lg"
        aria-label={t(isDark ? 'look.light' : 'look.dark')}
        title={t(isDark ? 'look.light' : 'look.dark')}
        onClick={() => setColorScheme(isDark ? 'light' : 'dark')}
      >
        <Icon name={isDark ? 'sun' : 'moon'} />
      </ActionIcon>
    </div>
  )
}

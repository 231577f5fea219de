import { Button } from '@mantine/core'
import { type ReactNode, useState } from 'react'
import { useTexts } from '../i18n/index.tsx'
import { Icon } from './icon.tsx'

/** Something that is shown this once. */
export function Secret({ text, hint }: { readonly text: string; readonly hint: string }): ReactNode {
  const { t } = useTexts()
  const [isCopied, setCopied] = useState(false)
  return (
    <div style={{ display: 'grid', gap: 12 }}>
      <p style={{ margin: 0, fontSize: 14 }}>{hint}</p>
      <code className="mono json card" style={{ padding: 12 }}>
        {text}
      </code>
      <Button
        variant="default"
        leftSection={<Icon name={isCopied ? 'check' : 'copy'} size={15} />}
        onClick={() => void navigator.clipboard.writeText(text).then(() => setCopied(true))}
      >
        {t(isCopied ? 'common.copied' : 'common.copy')}
      </Button>
    </div>
  )
}

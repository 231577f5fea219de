import { Button, Modal } from '@mantine/core'
import { type ReactNode, useState } from 'react'
import { useTexts } from '../i18n/index.tsx'
import { useToasts } from './toasts.tsx'

interface Question {
  readonly title: string
  readonly text: ReactNode
  readonly confirm?: string
  /** What is done on yes; a failure is told, and the question stays. */
  readonly act: () => Promise<unknown>
}

/** Asks before something that cannot be undone; `dialog` must be drawn. */
export function useConfirm(): { readonly ask: (question: Question) => void; readonly dialog: ReactNode } {
  const { t } = useTexts()
  const toasts = useToasts()
  const [question, setQuestion] = useState<Question | null>(null)
  const [busy, setBusy] = useState(false)
  const act = async (): Promise<void> => {
    if (question === null) return
    setBusy(true)
    try {
      await question.act()
      setQuestion(null)
    } catch (error) {
      toasts.bad(error)
    } finally {
      setBusy(false)
    }
  }
  const dialog = (
    <Modal
      opened={question !== null}
      onClose={() => setQuestion(null)}
      title={question?.title}
      centered
      closeButtonProps={{ 'aria-label': t('common.close') }}
    >
      <div style={{ fontSize: 14.5, marginBottom: 20, overflowWrap: 'anywhere' }}>{question?.text}</div>
      <div style={{ display: 'flex', justifyContent: 'flex-end', gap: 8 }}>
        <Button variant="default" onClick={() => setQuestion(null)}>
          {t('common.cancel')}
        </Button>
        <Button color="red" loading={busy} onClick={() => void act()}>
          {question?.confirm ?? t('common.confirm')}
        </Button>
      </div>
    </Modal>
  )
  return { ask: setQuestion, dialog }
}

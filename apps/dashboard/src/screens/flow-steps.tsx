import { Button, NativeSelect, Textarea, TextInput } from '@mantine/core'
import type { ReactNode } from 'react'
import type { Finding } from '../api/types.ts'
import { useTexts } from '../i18n/index.tsx'
import { Icon } from '../parts/icon.tsx'

/** A flow as far as this editor knows it; what it does not know stays as it is. */
export interface Document {
  readonly start?: string
  readonly steps?: readonly Step[]
  readonly [more: string]: unknown
}

interface Option {
  readonly label: string
  readonly next?: string
  readonly [more: string]: unknown
}

interface Step {
  readonly id: string
  readonly kind: string
  readonly text?: string
  readonly next?: string
  readonly options?: readonly Option[]
  readonly fallback?: string
  readonly to?: { readonly sector?: string; readonly operator?: string }
  readonly [more: string]: unknown
}

/** Kinds that can be added here; others are shown by the names that documents call them. */
const KINDS = ['send', 'menu', 'question', 'assign', 'hand_over', 'close'] as const

/** Fields that name another step. */
const TARGETS = ['next', 'open', 'closed', 'yes', 'no', 'otherwise', 'heard', 'fallback'] as const

interface Props {
  readonly document: Document
  readonly findings: readonly Finding[]
  readonly mayChange: boolean
  readonly onChange: (next: Document) => void
}

/** The steps as cards, in their order, each with where it leads. */
export function StepEditor({ document, findings, mayChange, onChange }: Props): ReactNode {
  const { t } = useTexts()
  const steps = Array.isArray(document.steps) ? document.steps : []
  const ids = steps.map(({ id }) => id)
  const change = (index: number, next: Step | null): void =>
    onChange({
      ...document,
      steps: steps.flatMap((step, nth) => (nth !== index ? [step] : next === null ? [] : [next])),
    })
  const add = (kind: string): void => {
    let nth = steps.length + 1
    while (ids.includes(`${kind}-${nth}`)) nth++
    onChange({ ...document, steps: [...steps, newStep(kind, `${kind}-${nth}`)] })
  }
  return (
    <div className="stack">
      {steps.map((step, index) => (
        <StepCard
          key={step.id}
          step={step}
          ids={ids}
          isStart={document.start === step.id}
          fault={findings.find((finding) => finding.step === step.id)}
          mayChange={mayChange}
          onChange={(next) => change(index, next)}
        />
      ))}
      {mayChange && (
        <div style={{ display: 'flex', gap: 6, flexWrap: 'wrap', alignItems: 'center' }}>
          <span className="muted small">{t('flows.addStep')}</span>
          {KINDS.map((kind) => (
            <Button key={kind} size="compact-xs" variant="default" onClick={() => add(kind)}>
              {t(`step.${kind}`)}
            </Button>
          ))}
        </div>
      )}
    </div>
  )
}

function newStep(kind: string, id: string): Step {
  switch (kind) {
    case 'menu':
      return { id, kind, text: '', options: [{ label: '' }] }
    case 'question':
      return { id, kind, text: '', answer: { kind: 'text' }, field: 'answer' }
    case 'assign':
      return { id, kind, to: { sector: '' } }
    case 'send':
      return { id, kind, text: '' }
    default:
      return { id, kind }
  }
}

interface CardProps {
  readonly step: Step
  readonly ids: readonly string[]
  readonly isStart: boolean
  readonly fault: Finding | undefined
  readonly mayChange: boolean
  readonly onChange: (next: Step | null) => void
}

function StepCard({ step, ids, isStart, fault, mayChange, onChange }: CardProps): ReactNode {
  const { t } = useTexts()
  const kind = KINDS.find((one) => one === step.kind)
  const targets = TARGETS.filter((name) => typeof step[name] === 'string')
  const shown = new Set(['id', 'kind', 'text', 'options', 'to', ...targets])
  const others = Object.keys(step).filter((name) => !shown.has(name))
  return (
    <div className="step-card" data-fault={fault?.level}>
      <div style={{ display: 'flex', gap: 8, alignItems: 'center' }}>
        <span className="tag tag-good">{kind === undefined ? step.kind : t(`step.${kind}`)}</span>
        <strong className="mono">{step.id}</strong>
        {isStart && <span className="tag">{t('flows.start')}</span>}
        {mayChange && (
          <Button
            style={{ marginLeft: 'auto' }}
            size="compact-xs"
            variant="subtle"
            color="red"
            aria-label={t('flows.removeStep', { step: step.id })}
            onClick={() => onChange(null)}
          >
            <Icon name="trash" size={14} />
          </Button>
        )}
      </div>
      {typeof step.text === 'string' && (
        <Textarea
          aria-label={t('flows.text')}
          value={step.text}
          readOnly={!mayChange}
          autosize
          minRows={1}
          maxRows={8}
          onChange={(event) => onChange({ ...step, text: event.currentTarget.value })}
        />
      )}
      {step.options !== undefined && (
        <div style={{ display: 'grid', gap: 6 }}>
          {step.options.map((option, nth) => (
            <div key={`${nth}`} style={{ display: 'flex', gap: 6, alignItems: 'center' }}>
              <span className="muted small tabular" style={{ width: 16 }}>
                {nth + 1}
              </span>
              <TextInput
                style={{ flex: 2 }}
                size="xs"
                aria-label={t('flows.option', { nth: String(nth + 1) })}
                value={option.label}
                readOnly={!mayChange}
                onChange={(event) =>
                  onChange({
                    ...step,
                    options: replaced(step.options ?? [], nth, {
                      ...option,
                      label: event.currentTarget.value,
                    }),
                  })
                }
              />
              <Target
                label={t('flows.optionNext', { nth: String(nth + 1) })}
                value={option.next ?? ''}
                ids={ids}
                mayChange={mayChange}
                onChange={(next) =>
                  onChange({ ...step, options: replaced(step.options ?? [], nth, { ...option, next }) })
                }
              />
            </div>
          ))}
          {mayChange && (
            <Button
              size="compact-xs"
              variant="subtle"
              style={{ justifySelf: 'start' }}
              onClick={() => onChange({ ...step, options: [...(step.options ?? []), { label: '' }] })}
            >
              {t('flows.addOption')}
            </Button>
          )}
        </div>
      )}
      {step.to?.sector !== undefined && (
        <TextInput
          size="xs"
          label={t('inbox.sectors')}
          value={step.to.sector}
          readOnly={!mayChange}
          onChange={(event) => onChange({ ...step, to: { ...step.to, sector: event.currentTarget.value } })}
        />
      )}
      {targets.length > 0 && (
        <div style={{ display: 'flex', gap: 10, flexWrap: 'wrap' }}>
          {targets.map((name) => (
            <span key={name} style={{ display: 'inline-flex', gap: 6, alignItems: 'center' }}>
              <span className="muted small mono">{`${name} →`}</span>
              <Target
                label={`${step.id}.${name}`}
                value={String(step[name])}
                ids={ids}
                mayChange={mayChange}
                onChange={(next) => onChange({ ...step, [name]: next })}
              />
            </span>
          ))}
        </div>
      )}
      {others.length > 0 && (
        <div className="muted small mono clip">
          {others.map((name) => `${name}: ${JSON.stringify(step[name])}`).join('  ')}
        </div>
      )}
      {fault !== undefined && (
        <div className={`small ${fault.level === 'error' ? 'state-bad' : 'state-wait'}`}>{fault.message}</div>
      )}
    </div>
  )
}

interface TargetProps {
  readonly label: string
  readonly value: string
  readonly ids: readonly string[]
  readonly mayChange: boolean
  readonly onChange: (next: string) => void
}

function Target({ label, value, ids, mayChange, onChange }: TargetProps): ReactNode {
  const known = ids.includes(value) ? ids : [value, ...ids]
  return (
    <NativeSelect
      size="xs"
      style={{ flex: 1, minWidth: 110 }}
      aria-label={label}
      value={value}
      disabled={!mayChange}
      onChange={(event) => onChange(event.currentTarget.value)}
      data={known.map((id) => ({ value: id, label: id }))}
    />
  )
}

function replaced<T>(all: readonly T[], index: number, next: T): readonly T[] {
  return all.map((one, nth) => (nth === index ? next : one))
}

import type { CSSProperties, ReactNode } from 'react'
import { type IconName, shapes } from './icon-shapes.tsx'

export type { IconName }

interface IconProps {
  readonly name: IconName
  /** Pixels; default 18. */
  readonly size?: number
  readonly style?: CSSProperties
  /** Said to who does not see it; without one it is decoration. */
  readonly label?: string
}

export function Icon({ name, size = 18, style, label }: IconProps): ReactNode {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 24 24"
      fill="none"
      stroke="currentColor"
      strokeWidth={1.8}
      strokeLinecap="round"
      strokeLinejoin="round"
      style={{ flexShrink: 0, display: 'block', ...style }}
      {...(label === undefined ? { 'aria-hidden': true } : { role: 'img', 'aria-label': label })}
    >
      {shapes[name]}
    </svg>
  )
}

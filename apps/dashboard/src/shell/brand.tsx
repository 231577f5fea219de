import type { ReactNode } from 'react'
import { useTexts } from '../i18n/index.tsx'

/** The gates of a lock and the water below. */
export function Brand(): ReactNode {
  const { t } = useTexts()
  return (
    <span style={{ display: 'inline-flex', alignItems: 'center', gap: 10, fontSize: 17, fontWeight: 680 }}>
      <svg width="28" height="28" viewBox="0 0 32 32" aria-hidden="true">
        <rect width="32" height="32" rx="8" fill="#0d7d74" />
        <path
          d="M6 9h8v6h4V9h8"
          fill="none"
          stroke="#fff"
          strokeWidth="2.6"
          strokeLinecap="round"
          strokeLinejoin="round"
        />
        <path
          d="M6 22c1.700-1.500 3.300-1.500 5 0s3.300 1.500 5 0 3.300-1.500 5 0 3.300 1.500 5 0"
          fill="none"
          stroke="#8fe3d6"
          strokeWidth="2.600"
          strokeLinecap="round"
        />
      </svg>
      {t('app.name')}
    </span>
  )
}

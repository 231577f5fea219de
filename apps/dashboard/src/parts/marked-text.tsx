import { Fragment, type ReactNode } from 'react'
import { piecesOf } from './pieces.ts'

export function MarkedText({ text }: { readonly text: string }): ReactNode {
  return piecesOf(text).map((piece, nth) => {
    const key = `${nth}`
    switch (piece.kind) {
      case 'bold':
        return <strong key={key}>{piece.text}</strong>
      case 'italic':
        return <em key={key}>{piece.text}</em>
      case 'strike':
        return <s key={key}>{piece.text}</s>
      case 'code':
        return (
          <code key={key} className="mono">
            {piece.text}
          </code>
        )
      case 'link':
        return (
          <a key={key} href={piece.href} target="_blank" rel="noopener noreferrer nofollow">
            {piece.text}
          </a>
        )
      case 'text':
        return <Fragment key={key}>{piece.text}</Fragment>
      default:
        return piece satisfies never
    }
  })
}

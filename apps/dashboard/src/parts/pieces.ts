type Piece =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'bold' | 'italic' | 'strike' | 'code'; readonly text: string }
  | { readonly kind: 'link'; readonly text: string; readonly href: string }

const PIECES =
  /(https?:\/\/[^\s<>"']{1,1000})|```([^`]{1,4000})```|`([^`\n]{1,1000})`|\*([^*\n]{1,1000})\*|\b_([^_\n]{1,1000})_\b|~([^~\n]{1,1000})~/g

/** WhatsApp's marks, and links that lead to the web; everything else is text. Pure. */
export function piecesOf(text: string): readonly Piece[] {
  const pieces: Piece[] = []
  let end = 0
  for (const match of text.matchAll(PIECES)) {
    if (match.index > end) pieces.push({ kind: 'text', text: text.slice(end, match.index) })
    end = match.index + match[0].length
    const [whole, link, block, code, bold, italic, strike] = match
    const url = link === undefined ? null : URL.parse(link)
    if (url !== null) pieces.push({ kind: 'link', text: whole, href: url.href })
    else if (bold !== undefined) pieces.push({ kind: 'bold', text: bold })
    else if (italic !== undefined) pieces.push({ kind: 'italic', text: italic })
    else if (strike !== undefined) pieces.push({ kind: 'strike', text: strike })
    else pieces.push({ kind: 'code', text: block ?? code ?? whole })
  }
  if (end < text.length) pieces.push({ kind: 'text', text: text.slice(end) })
  return pieces
}

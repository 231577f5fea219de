import { toBuffer, toString } from 'qrcode'

/** The quiet zone a phone's camera needs is 4 modules. */
const MARGIN = 4

export function qrSvg(text: string): Promise<string> {
  return toString(text, { type: 'svg', margin: MARGIN })
}

/** 6 pixels a module: about 430 pixels wide for a pairing code. */
export function qrPng(text: string): Promise<Buffer> {
  return toBuffer(text, { type: 'png', margin: MARGIN, scale: 6 })
}

/** Half-block characters, dark on light whatever the terminal's colours are; about 60 columns. */
export function qrTerminal(text: string): Promise<string> {
  return toString(text, { type: 'terminal', small: true })
}

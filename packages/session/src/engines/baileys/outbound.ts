import type { proto } from '@eclusa/baileys'
import type { OutboundContent } from '../../engine.ts'

/** Our content as WhatsApp's protobuf. Pure: the same content gives the same message, now and for a retry. */
export function toWhatsApp(content: OutboundContent): proto.IMessage {
  switch (content.kind) {
    case 'text':
      return { extendedTextMessage: { text: content.text } }
    default:
      return content.kind satisfies never
  }
}

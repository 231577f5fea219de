import { createCipheriv, createHash, createHmac, randomBytes } from 'node:crypto'
import { proto } from '@eclusa/baileys'

/** A vote as an app seals it: the key comes from the poll's secret and the names of poll, its creator and the voter. */
export function sealVote(
  choices: readonly string[],
  poll: {
    readonly secret: Uint8Array
    readonly pollId: string
    readonly creator: string
    readonly voter: string
  },
): proto.Message.IPollEncValue {
  const { secret, pollId, creator, voter } = poll
  const hmac = (key: Uint8Array, bytes: Uint8Array): Buffer =>
    createHmac('sha256', key).update(bytes).digest()
  const extracted = hmac(new Uint8Array(32), secret)
  const key = hmac(extracted, Buffer.from(`${pollId}${creator}${voter}Poll Vote\u0001`))
  const iv = randomBytes(12)
  const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(`${pollId}\0${voter}`))
  const plain = proto.Message.PollVoteMessage.encode({
    selectedOptions: choices.map((choice) => createHash('sha256').update(choice).digest()),
  }).finish()
  const encPayload = Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()])
  return { encPayload, encIv: iv }
}

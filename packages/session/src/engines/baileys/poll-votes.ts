import { createHash } from 'node:crypto'
import { decryptPollVote } from '@eclusa/baileys'
import type { ChatId } from '@eclusa/kernel'
import type { KnownPoll } from '../../engine.ts'
import type { EncryptedVote } from './inbound-content.ts'

/**
 * What was voted, or null when the vote cannot be opened. The key is made of the names of who made the poll and who
 * votes, and each app takes number or LID as it likes: the right pair is the one that opens it. Pure.
 */
export function openVote(
  vote: EncryptedVote,
  poll: KnownPoll,
  names: {
    readonly pollId: string
    readonly creators: readonly ChatId[]
    readonly voters: readonly ChatId[]
  },
): readonly string[] | null {
  for (const pollCreatorJid of names.creators) {
    for (const voterJid of names.voters) {
      const selected = selectedIn(vote, poll, { pollMsgId: names.pollId, pollCreatorJid, voterJid })
      if (selected === null) continue
      const hashes = new Set(selected.map((hash) => Buffer.from(hash).toString('base64')))
      return poll.options.filter((option) => hashes.has(hashOf(option)))
    }
  }
  return null
}

function selectedIn(
  { payload, iv }: EncryptedVote,
  { secret }: KnownPoll,
  names: { readonly pollMsgId: string; readonly pollCreatorJid: string; readonly voterJid: string },
): readonly Uint8Array[] | null {
  try {
    return (
      decryptPollVote({ encPayload: payload, encIv: iv }, { ...names, pollEncKey: secret }).selectedOptions ??
      []
    )
  } catch {
    // Sealed for other names, or no vote at all.
    return null
  }
}

function hashOf(option: string): string {
  return createHash('sha256').update(option).digest('base64')
}

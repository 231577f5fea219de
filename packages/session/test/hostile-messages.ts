import assert from 'node:assert/strict'
import { proto } from '@eclusa/baileys'
import { type InboundMessage, seededRandom } from '@eclusa/kernel'
import { lidsIn, type OwnJids, translateInbound } from '../src/engines/baileys/inbound.ts'
import { openVote } from '../src/engines/baileys/poll-votes.ts'

const OWN: OwnJids = { number: '5511900000001@s.whatsapp.net', lid: '900@lid' }
const CAROL = '5511910000001@s.whatsapp.net' as never
const { Type } = proto.Message.ProtocolMessage

/** Messages of every kind, as they are before somebody damages them. */
const SEEDS: readonly Uint8Array[] = (
  [
    { conversation: 'hi' },
    {
      extendedTextMessage: {
        text: 'héllo 😀',
        contextInfo: {
          stanzaId: 'Q',
          participant: '77@lid',
          mentionedJid: ['77@lid', '78@lid'],
          quotedMessage: { imageMessage: { caption: 'c' } },
        },
      },
    },
    { imageMessage: { caption: 'c', mediaKey: new Uint8Array(32), fileLength: 5, directPath: '/x' } },
    { audioMessage: { ptt: true, seconds: 4 } },
    { documentWithCaptionMessage: { message: { documentMessage: { fileName: 'f', caption: 'c' } } } },
    { liveLocationMessage: { degreesLatitude: 1, degreesLongitude: 2, caption: 'x' } },
    { contactsArrayMessage: { contacts: [{ displayName: 'D', vcard: 'BEGIN' }] } },
    { buttonsResponseMessage: { selectedButtonId: 'b', selectedDisplayText: 'B' } },
    { listResponseMessage: { title: 't', singleSelectReply: { selectedRowId: 'r' } } },
    { interactiveResponseMessage: { nativeFlowResponseMessage: { name: 'n', paramsJson: '{"id":"1"}' } } },
    { pollCreationMessageV3: { name: 'p', options: [{ optionName: 'a' }, { optionName: 'b' }] } },
    {
      pollUpdateMessage: {
        pollCreationMessageKey: { id: 'P', fromMe: true },
        vote: { encPayload: new Uint8Array(48), encIv: new Uint8Array(12) },
      },
    },
    { reactionMessage: { key: { id: 'X', participant: '77@lid' }, text: '👍' } },
    { protocolMessage: { type: Type.REVOKE, key: { id: 'X', fromMe: true } } },
    {
      editedMessage: {
        message: {
          protocolMessage: {
            type: Type.MESSAGE_EDIT,
            key: { id: 'X' },
            editedMessage: { conversation: 'b' },
          },
        },
      },
    },
    { protocolMessage: { type: Type.HISTORY_SYNC_NOTIFICATION, historySyncNotification: { syncType: 0 } } },
    {
      protocolMessage: {
        type: Type.PEER_DATA_OPERATION_REQUEST_RESPONSE_MESSAGE,
        peerDataOperationRequestResponseMessage: {
          peerDataOperationResult: [
            { placeholderMessageResendResponse: { webMessageInfoBytes: new Uint8Array(9) } },
          ],
        },
      },
    },
    {
      senderKeyDistributionMessage: { groupId: 'g', axolotlSenderKeyDistributionMessage: new Uint8Array(9) },
    },
    { templateMessage: { hydratedTemplate: { hydratedContentText: 't' } } },
    { deviceSentMessage: { destinationJid: 'x', message: { conversation: 'mine' } } },
  ] satisfies proto.IMessage[]
).map((message) => proto.Message.encode(message).finish())

/** Field numbers of `Message` whose value is a message that holds a message again. */
const WRAPPERS = [37, 40, 53, 55, 58, 59, 31] as const

type Random = () => number

/** Plaintexts as nobody should send them, the same for the same seed: damaged, random, nested, huge. */
export function* hostileMessages(seed: number): Generator<Uint8Array, never> {
  const random = seededRandom(seed)
  const whole = (max: number): number => Math.floor(random() * max)
  const any = (): Uint8Array => SEEDS[whole(SEEDS.length)] ?? new Uint8Array()
  for (let turn = 0; ; turn++) {
    // Rare, because one costs as much as a thousand others.
    if (turn % 997 === 0) yield huge(random)
    else if (turn % 499 === 0)
      yield nested(any(), WRAPPERS[whole(WRAPPERS.length)] ?? 37, 2_000 + whole(30_000))
    else {
      const kind = whole(6)
      if (kind === 0) yield randomBytes(random, whole(200))
      else if (kind === 1) yield any().subarray(0, whole(any().length + 1))
      else if (kind === 2) yield Buffer.concat([any(), any().subarray(whole(20))])
      else if (kind === 3) yield randomFields(random, 4)
      else if (kind === 4) yield nested(any(), WRAPPERS[whole(WRAPPERS.length)] ?? 37, whole(12))
      else yield damaged(any(), random)
    }
  }
}

function randomBytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => Math.floor(random() * 256))
}

function damaged(bytes: Uint8Array, random: Random): Uint8Array {
  const copy = Uint8Array.from(bytes)
  const times = 1 + Math.floor(random() * 4)
  for (let time = 0; time < times; time++) {
    copy[Math.floor(random() * copy.length)] = Math.floor(random() * 256)
  }
  return copy
}

/** Well-formed fields of any number and wire type, some with fields inside. */
function randomFields(random: Random, depth: number): Uint8Array {
  const writer: Uint8Array[] = []
  const count = Math.floor(random() * 5)
  for (let field = 0; field < count; field++) {
    const number = 1 + Math.floor(random() * 120)
    const type = [0, 1, 2, 2, 2, 5][Math.floor(random() * 6)] ?? 0
    writer.push(varint(number * 8 + type))
    if (type === 0) writer.push(varint(Math.floor(random() * 2 ** 40)))
    else if (type === 1) writer.push(randomBytes(random, 8))
    else if (type === 5) writer.push(randomBytes(random, 4))
    else {
      const inner =
        depth > 0 && random() < 0.6
          ? randomFields(random, depth - 1)
          : randomBytes(random, Math.floor(random() * 40))
      writer.push(varint(inner.length), inner)
    }
  }
  return Buffer.concat(writer)
}

/** `inner` in so many wrappers: `field { message { field { message { … } } } }`. */
function nested(inner: Uint8Array, field: number, depth: number): Uint8Array {
  const heads: Uint8Array[] = []
  let length = inner.length
  for (let level = 0; level < depth; level++) {
    // Odd levels are the wrapper, even ones the `message` (1) inside it.
    const head = Buffer.concat([varint((level % 2 === 0 ? 1 : field) * 8 + 2), varint(length)])
    heads.push(head)
    length += head.length
  }
  return Buffer.concat([...heads.toReversed(), inner])
}

function huge(random: Random): Uint8Array {
  const kinds: readonly (() => proto.IMessage)[] = [
    () => ({ conversation: 'é'.repeat(400_000) }),
    () => ({
      extendedTextMessage: { text: 'x', contextInfo: { mentionedJid: Array(20_000).fill('77@lid') } },
    }),
    () => ({
      contactsArrayMessage: {
        contacts: Array.from({ length: 5_000 }, () => ({ displayName: 'n'.repeat(50), vcard: 'v' })),
      },
    }),
    () => ({
      pollCreationMessage: {
        name: 'p',
        options: Array.from({ length: 20_000 }, () => ({ optionName: 'o' })),
      },
    }),
    () => ({
      imageMessage: { caption: 'c', mediaKey: new Uint8Array(500_000), directPath: 'p'.repeat(100_000) },
    }),
    () => ({
      reactionMessage: { key: { id: 'i'.repeat(300_000), participant: 'j'.repeat(300_000) }, text: 'x' },
    }),
  ]
  const make = kinds[Math.floor(random() * kinds.length)]
  return proto.Message.encode(make?.() ?? {}).finish()
}

function varint(value: number): Uint8Array {
  const bytes: number[] = []
  let rest = value
  while (rest > 127) {
    bytes.push((rest % 128) | 128)
    rest = Math.floor(rest / 128)
  }
  bytes.push(rest)
  return Uint8Array.from(bytes)
}

/** With its padding, or with one that is impossible. */
function padded(bytes: Uint8Array, turn: number): Uint8Array {
  if (turn % 101 === 0) return bytes
  const length = 1 + (turn % 16)
  return Buffer.concat([bytes, Buffer.alloc(length, length)])
}

/** Decodes and translates so many, and asserts of each that what comes of it is bounded and can be kept. */
export function translateHostile(seed: number, count: number): Record<string, number> {
  const outcomes: Record<string, number> = {}
  const messages = hostileMessages(seed)
  for (let turn = 0; turn < count; turn++) {
    const fromMe = turn % 7 === 0
    const envelope = { chat: CAROL, author: CAROL, addressedAs: CAROL, alias: null, fromMe }
    const stanza = { tag: 'message', attrs: { id: 'A', from: CAROL, t: '100', notify: 'C' } }
    const inbound = translateInbound(stanza, envelope, OWN, padded(messages.next().value, turn))
    const name = 'message' in inbound ? inbound.message.content.kind : inbound.is
    outcomes[name] = (outcomes[name] ?? 0) + 1
    if (!('message' in inbound)) continue
    assertKeepable(inbound.message)
    if (inbound.vote !== null) {
      const poll = { secret: new Uint8Array(32), options: ['a', 'b'] }
      openVote(inbound.vote, poll, { pollId: 'P', creators: [CAROL], voters: [CAROL] })
    }
  }
  return outcomes
}

/** 100 cards of 16 KiB and their names, escaped as JSON, are the most that is kept of one message. */
const MAX_JSON = 100 * (16_384 + 1_024) * 6

function assertKeepable(message: InboundMessage): void {
  const json = JSON.stringify(message)
  assert.ok(json.length <= MAX_JSON, `${json.length} characters`)
  assert.deepEqual(JSON.parse(json), message)
  const { content, mentions, quoted } = message
  assert.ok(mentions.length <= 1_000 && lidsIn(message).length <= 1_002)
  if ('text' in content) assert.ok((content.text?.length ?? 0) <= 65_536)
  if ('target' in content)
    assert.ok(content.target.waMessageId.length <= 256 && content.target.author.length <= 512)
  if (content.kind === 'poll') assert.ok(content.options.length <= 100)
  if (content.kind === 'contact') assert.ok(content.cards.length <= 100)
  if (content.kind === 'answer') assert.ok(content.choiceId.length <= 1_024)
  assert.ok((quoted?.text?.length ?? 0) <= 65_536)
}

import { proto } from 'baileys/WAProto/index.js'

/*
 * Reads a history without ever holding it as objects: the outer two layers of the protobuf are walked by hand, so that
 * one message at a time is decoded. Upstream decodes all of it at once, into 1.5 to 6 times its inflated size.
 */

/** Rows of one batch: plain objects that share no memory with the history they were read from. */
export interface HistoryRows {
  readonly chats: Row[]
  readonly contacts: Row[]
  readonly messages: Row[]
  readonly lids: { readonly lid: string; readonly pn: string }[]
  readonly tokens: HistoryToken[]
}

type Row = Record<string, unknown>

/** A trusted-contact token of a chat. */
export interface HistoryToken {
  readonly jid: string
  readonly token: Uint8Array
  readonly timestamp: number
  readonly senderTimestamp: number | undefined
}

/** Rows of all kinds in one batch, and their bytes: a message may be large. */
const BATCH_ROWS = 200
const BATCH_BYTES = 1024 * 1024

const { HistorySyncType } = proto.HistorySync
const PUSH_NAME: number = HistorySyncType.PUSH_NAME
const WITH_CHATS: ReadonlySet<number> = new Set([
  HistorySyncType.INITIAL_BOOTSTRAP,
  HistorySyncType.RECENT,
  HistorySyncType.FULL,
  HistorySyncType.ON_DEMAND,
])

/** Fields of HistorySync and Conversation that are read here, by number. */
const HISTORY = { conversations: 2, pushnames: 7, pastParticipants: 12, lidMappings: 15 } as const
const CONVERSATION_MESSAGES = 2
const MESSAGE_OF_ENTRY = 1

/**
 * Hands the rows of an inflated history to `give`, a batch at a time, and waits for it each time.
 * @throws RangeError or Error where the bytes are no history; what was given before stays given
 */
export async function readHistory(
  bytes: Uint8Array,
  syncType: number,
  give: (rows: HistoryRows, last: boolean) => Promise<void>,
): Promise<void> {
  const batch = new Batch(give)
  for (const field of fieldsOf(bytes)) {
    if (field.wire !== 2) continue
    const part = bytes.subarray(field.start, field.end)
    switch (field.number) {
      case HISTORY.conversations:
        if (WITH_CHATS.has(syncType)) await readConversation(part, batch)
        break
      case HISTORY.pushnames:
        if (syncType === PUSH_NAME) {
          const { id, pushname } = proto.Pushname.decode(part)
          await batch.add('contacts', { id, notify: pushname }, field.end - field.start)
        }
        break
      case HISTORY.lidMappings: {
        const { lidJid, pnJid } = proto.PhoneNumberToLIDMapping.decode(part)
        if (lidJid && pnJid) await batch.add('lids', { lid: lidJid, pn: pnJid }, field.end - field.start)
        break
      }
      default:
    }
  }
  await batch.end()
}

async function readConversation(bytes: Uint8Array, batch: Batch): Promise<void> {
  // bounded by: one conversation; views into it, 100 B each
  const messages: Uint8Array[] = []
  const rest: Uint8Array[] = []
  for (const field of fieldsOf(bytes)) {
    if (field.number === CONVERSATION_MESSAGES && field.wire === 2)
      messages.push(bytes.subarray(field.start, field.end))
    else rest.push(bytes.subarray(field.from, field.end))
  }
  const decoded = proto.Conversation.decode(Buffer.concat(rest))
  const chat = plain(proto.Conversation, decoded)
  const { id } = decoded
  let lid = isLid(id) ? id : (decoded.lidJid ?? undefined)
  let pn = isLid(id) ? (decoded.pnJid ?? undefined) : id
  let newest: Row | undefined
  let received: unknown
  for (const entry of messages) {
    const message = messageOf(entry)
    if (message === undefined) continue
    newest ??= message
    const key = message['key'] as { readonly fromMe?: boolean } | undefined
    if (key?.fromMe !== true) received ??= message['messageTimestamp']
    // A chat under a LID without its number: who got our messages there has it.
    else if (pn === undefined) pn = recipientOf(message)
    await batch.add('messages', message, entry.byteLength)
    const verifiedName = businessName(message)
    if (verifiedName !== undefined) await batch.add('contacts', verifiedName, 64)
  }
  if (newest !== undefined) chat['messages'] = [{ message: newest }]
  if (received !== undefined && chat['lastMessageRecvTimestamp'] === undefined)
    chat['lastMessageRecvTimestamp'] = received
  const contact = {
    id,
    name: decoded.displayName || decoded.name || decoded.username || undefined,
    username: decoded.username || undefined,
    lid: decoded.lidJid || decoded.accountLid || undefined,
    phoneNumber: decoded.pnJid || undefined,
  }
  await batch.add('contacts', contact, 128)
  await batch.add('chats', chat, 512)
  if (lid === undefined && isLid(decoded.lidJid ?? '')) lid = decoded.lidJid ?? undefined
  if (lid !== undefined && pn !== undefined && isNumber(pn)) await batch.add('lids', { lid, pn }, 64)
  const timestamp = Number(decoded.tcTokenTimestamp ?? 0)
  if (decoded.tcToken && decoded.tcToken.length > 0 && timestamp > 0) {
    const senderTimestamp = decoded.tcTokenSenderTimestamp
    const token: HistoryToken = {
      jid: id,
      token: Uint8Array.from(decoded.tcToken),
      timestamp,
      senderTimestamp:
        senderTimestamp === null || senderTimestamp === undefined ? undefined : Number(senderTimestamp),
    }
    await batch.add('tokens', token, 128)
  }
}

function messageOf(entry: Uint8Array): Row | undefined {
  for (const field of fieldsOf(entry)) {
    if (field.number === MESSAGE_OF_ENTRY && field.wire === 2) {
      return plain(proto.WebMessageInfo, proto.WebMessageInfo.decode(entry.subarray(field.start, field.end)))
    }
  }
  return undefined
}

function recipientOf(message: Row): string | undefined {
  const [first] = (message['userReceipt'] as { readonly userJid?: string }[] | undefined) ?? []
  const jid = first?.userJid
  return jid !== undefined && isNumber(jid) ? jid : undefined
}

/** The notice that a chat is with a business carries its name. */
function businessName(message: Row): Row | undefined {
  const { BIZ_PRIVACY_MODE_TO_BSP, BIZ_PRIVACY_MODE_TO_FB } = proto.WebMessageInfo.StubType
  const stub = message['messageStubType']
  const [verifiedName] = (message['messageStubParameters'] as string[] | undefined) ?? []
  if ((stub !== BIZ_PRIVACY_MODE_TO_BSP && stub !== BIZ_PRIVACY_MODE_TO_FB) || !verifiedName) return undefined
  const key = message['key'] as { readonly participant?: string; readonly remoteJid?: string }
  return { id: key.participant || key.remoteJid, verifiedName }
}

function isLid(jid: string): boolean {
  return jid.endsWith('@lid') || jid.endsWith('@hosted.lid')
}

function isNumber(jid: string): boolean {
  return jid.endsWith('@s.whatsapp.net') || jid.endsWith('@hosted')
}

class Batch {
  readonly #give: (rows: HistoryRows, last: boolean) => Promise<void>
  #rows: HistoryRows = emptyRows()
  #count = 0
  #bytes = 0

  constructor(give: (rows: HistoryRows, last: boolean) => Promise<void>) {
    this.#give = give
  }

  async add<Kind extends keyof HistoryRows>(
    kind: Kind,
    row: HistoryRows[Kind][number],
    bytes: number,
  ): Promise<void> {
    ;(this.#rows[kind] as (typeof row)[]).push(row)
    this.#count += 1
    this.#bytes += bytes
    if (this.#count < BATCH_ROWS && this.#bytes < BATCH_BYTES) return
    await this.#give(this.#rows, false)
    this.#rows = emptyRows()
    this.#count = 0
    this.#bytes = 0
  }

  /** The last batch is given even when it is empty: it says that this was all. */
  end(): Promise<void> {
    return this.#give(this.#rows, true)
  }
}

function emptyRows(): HistoryRows {
  return { chats: [], contacts: [], messages: [], lids: [], tokens: [] }
}

interface Field {
  readonly number: number
  readonly wire: number
  /** Of the field with its tag, and of its value. */
  readonly from: number
  readonly start: number
  readonly end: number
}

/** The fields of a protobuf message, undecoded. @throws RangeError where it is none */
function* fieldsOf(bytes: Uint8Array): Generator<Field> {
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++]
      if (byte === undefined || shift > 2 ** 63) throw new RangeError('the history ends within a number')
      value += (byte & 127) * shift
      if (byte < 128) return value
    }
  }
  while (at < bytes.length) {
    const from = at
    const tag = varint()
    const wire = tag % 8
    const number = Math.floor(tag / 8)
    let start = at
    switch (wire) {
      case 0:
        varint()
        break
      case 1:
        at += 8
        break
      case 2: {
        const length = varint()
        start = at
        at += length
        break
      }
      case 5:
        at += 4
        break
      default:
        throw new RangeError(`the history holds a field of type ${wire}, which there is not`)
    }
    if (number === 0 || at > bytes.length) throw new RangeError('the history ends within a field')
    yield { number, wire, from, start, end: at }
  }
}

interface MessageClass<Message> {
  toObject(message: Message, options: object): Record<string, unknown>
}

/** Numbers for longs, and bytes copied: a view would keep the whole history, or be cloned as the whole of it. */
function plain<Message>(type: MessageClass<Message>, message: Message): Row {
  return copied(type.toObject(message, { longs: Number })) as Row
}

function copied(value: unknown): unknown {
  if (value instanceof Uint8Array) return Uint8Array.from(value)
  if (Array.isArray(value)) return value.map(copied)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, copied(part)]))
}

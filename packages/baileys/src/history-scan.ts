import { proto } from 'baileys/WAProto/index.js'

/*
 * Reads a history without ever holding it: the outer layer of the protobuf is walked while it is inflated, one
 * conversation at a time, and that message by message. Upstream inflates all of it, joins the parts, and decodes them
 * at once into 1.5 to 6 times their size.
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

/** A conversation, with everything in it, or any other field of a history. */
const MAX_FIELD_BYTES: number = 8 * 1024 * 1024
const FIRST_CAPACITY = 256 * 1024

/** The history, or one conversation of it, is larger than is read. */
export class TooLargeError extends Error {}

/**
 * Hands the rows of an inflated history to `give`, a batch at a time, and waits for it each time.
 * @throws TooLargeError; RangeError or Error where the bytes are no history; what was given before stays given
 */
export async function readHistory(
  inflated: AsyncIterable<Uint8Array>,
  options: {
    readonly syncType: number
    readonly maxBytes: number
    /** Whether chats, contacts and messages are wanted, beside LIDs and tokens. */
    readonly rows: boolean
  },
  give: (rows: HistoryRows, last: boolean) => Promise<void>,
): Promise<void> {
  const { syncType, maxBytes, rows } = options
  const batch = new Batch(give, rows)
  for await (const { number, wire, value: part } of topFields(inflated, maxBytes)) {
    if (wire !== 2) continue
    switch (number) {
      case HISTORY.conversations:
        if (WITH_CHATS.has(syncType)) await readConversation(part, batch)
        break
      case HISTORY.pushnames:
        if (syncType === PUSH_NAME) {
          const { id, pushname } = proto.Pushname.decode(part)
          await batch.add('contacts', { id, notify: pushname }, part.byteLength)
        }
        break
      case HISTORY.lidMappings: {
        const { lidJid, pnJid } = proto.PhoneNumberToLIDMapping.decode(part)
        if (lidJid && pnJid) await batch.add('lids', { lid: lidJid, pn: pnJid }, part.byteLength)
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
  // Of a chat under a LID that does not say its number, a message of ours does.
  const wanted = batch.wantsRows || pn === undefined ? messages : []
  for (const entry of wanted) {
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
  /** Whether chats, contacts and messages are wanted. */
  readonly wantsRows: boolean
  #rows: HistoryRows = emptyRows()
  #count = 0
  #bytes = 0

  constructor(give: (rows: HistoryRows, last: boolean) => Promise<void>, wantsRows: boolean) {
    this.#give = give
    this.wantsRows = wantsRows
  }

  async add<Kind extends keyof HistoryRows>(
    kind: Kind,
    row: HistoryRows[Kind][number],
    bytes: number,
  ): Promise<void> {
    if (!this.wantsRows && kind !== 'lids' && kind !== 'tokens') return
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

/** The fields of a message that comes in parts; a value is a view that holds until the next one is asked for. */
async function* topFields(
  parts: AsyncIterable<Uint8Array>,
  maxBytes: number,
): AsyncGenerator<{ readonly number: number; readonly wire: number; readonly value: Uint8Array }> {
  let buffer = Buffer.allocUnsafeSlow(FIRST_CAPACITY)
  let length = 0
  let total = 0
  for await (const part of parts) {
    total += part.byteLength
    if (total > maxBytes) throw new TooLargeError(`it inflates to more than ${maxBytes} bytes`)
    if (length + part.byteLength > buffer.byteLength) {
      const doubled = Math.min(2 * buffer.byteLength, MAX_FIELD_BYTES)
      const larger = Buffer.allocUnsafeSlow(Math.max(doubled, length + part.byteLength))
      buffer.copy(larger, 0, 0, length)
      buffer = larger
    }
    buffer.set(part, length)
    length += part.byteLength
    let at = 0
    for (;;) {
      const field = fieldAt(buffer.subarray(0, length), at)
      if (field === undefined || field.end > length) {
        // Its length is known before it has come: what is too long is not waited for.
        if (field !== undefined && field.end - field.from > MAX_FIELD_BYTES)
          throw new TooLargeError(`a conversation has more than ${MAX_FIELD_BYTES} bytes`)
        break
      }
      yield { number: field.number, wire: field.wire, value: buffer.subarray(field.start, field.end) }
      at = field.end
    }
    buffer.copyWithin(0, at, length)
    length -= at
  }
  if (length > 0) throw new RangeError('the history ends within a field')
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
  for (let at = 0; at < bytes.length;) {
    const field = fieldAt(bytes, at)
    if (field === undefined || field.end > bytes.length)
      throw new RangeError('the history ends within a field')
    yield field
    at = field.end
  }
}

/** The field that begins at `from`; its end may lie beyond `bytes`. Undefined when even its head does. */
function fieldAt(bytes: Uint8Array, from: number): Field | undefined {
  let at = from
  const varint = (): number | undefined => {
    let value = 0
    for (let place = 0; place < 10; place++) {
      const byte = bytes[at++]
      if (byte === undefined) return undefined
      value += (byte & 127) * 128 ** place
      if (byte < 128) return value
    }
    throw new RangeError('the history holds a number of more than ten bytes')
  }
  const tag = varint()
  if (tag === undefined) return undefined
  const wire = tag % 8
  const number = Math.floor(tag / 8)
  if (number === 0) throw new RangeError('the history holds a field without a number')
  const start = at
  switch (wire) {
    case 0:
      return varint() === undefined ? undefined : { number, wire, from, start, end: at }
    case 1:
      return { number, wire, from, start, end: at + 8 }
    case 2: {
      const length = varint()
      return length === undefined ? undefined : { number, wire, from, start: at, end: at + length }
    }
    case 5:
      return { number, wire, from, start, end: at + 4 }
    default:
      throw new RangeError(`the history holds a field of type ${wire}, which there is not`)
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

import { createHmac } from 'node:crypto'
import type { LogFields, Logger } from '@eclusa/kernel'
import { EclusaError } from '@eclusa/kernel'
import pino from 'pino'

type LogLevel = 'debug' | 'info' | 'warn' | 'error' | 'silent'

export interface LogOptions {
  readonly level: LogLevel
  readonly format: 'json' | 'pretty'
  /** Whole lines with their line end. Default: standard output, written synchronously, so that a crash loses none. */
  readonly write?: (line: string) => void
  /** Numbers and chats appear as a hash under this key: the same one in every line of an installation, no other's. */
  readonly hashKey: Uint8Array
}

/** Fields never written, whatever they hold. */
const SECRET_FIELDS: ReadonlySet<string> = new Set([
  'authorization',
  'code8',
  'content',
  'creds',
  'key',
  'pairingCode',
  'password',
  'qr',
  'secret',
  'text',
  'token',
])
/** Fields that name a person: always hashed. */
const PERSON_FIELDS: ReadonlySet<string> = new Set([
  'chat',
  'contact',
  'from',
  'jid',
  'number',
  'participant',
  'to',
])
/** A net under the rule that callers pass no number in clear: JIDs and runs of 8 to 15 digits inside any string. */
const JID = /[0-9a-zA-Z.-]{1,64}(?::\d{1,5})?@(?:s\.whatsapp\.net|lid|g\.us)/g
const NUMBER = /(?<![\w.-])\+?\d{8,15}(?![\w.-])/g
/** Depth to which fields are walked; deeper ones are left out, so that no line can be made huge. */
const MAX_DEPTH = 4
const MAX_TEXT = 4096

/** The kernel's Logger on pino. No message text, no secret and no number in clear leaves it. */
export function openLog(options: LogOptions): Logger {
  const write = options.write ?? synchronousStdout()
  const format = options.format === 'pretty' ? prettyLine : (line: string): string => line
  const sink = pino(
    {
      level: options.level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => write(format(line)) },
  )
  const hide: Hide = {
    whole: (person) => hashOf(person, options.hashKey),
    inside: (text) => hidePeople(text, options.hashKey),
  }
  const at =
    (level: 'debug' | 'info' | 'warn' | 'error') =>
    (fields: LogFields, message: string): void => {
      if (sink.isLevelEnabled(level)) sink[level](cleaned(fields, hide, 0) as object, hide.inside(message))
    }
  return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}

/** 10 hex digits that stand for a number or chat in the log of one installation; a number and its chat share them. */
export function hashOf(person: string, key: Uint8Array): string {
  const plain = person.replace(/^\+/, '').replace(/(?::\d{1,5})?@s\.whatsapp\.net$/, '')
  return createHmac('sha256', key).update(plain).digest('hex').slice(0, 10)
}

interface Hide {
  /** The hash of all of it: for a field that holds a person. */
  whole(person: string): string
  /** The text with every JID and number in it hashed. */
  inside(text: string): string
}

function synchronousStdout(): (line: string) => void {
  const destination = pino.destination({ fd: 1, sync: true })
  return (line) => void destination.write(line)
}

function hidePeople(text: string, key: Uint8Array): string {
  return text
    .slice(0, MAX_TEXT)
    .replaceAll(JID, (jid) => hashOf(jid, key))
    .replaceAll(NUMBER, (number) => hashOf(number, key))
}

function cleaned(value: unknown, hide: Hide, depth: number): unknown {
  if (typeof value === 'string') return hide.inside(value)
  if (typeof value === 'bigint') return value.toString()
  if (value === null || typeof value !== 'object') return value
  if (value instanceof Error) return describe(value, hide, depth)
  if (depth >= MAX_DEPTH) return '…'
  if (ArrayBuffer.isView(value)) return `${value.byteLength} bytes`
  if (Array.isArray(value)) return value.slice(0, 50).map((item) => cleaned(item, hide, depth + 1))
  const result: Record<string, unknown> = {}
  for (const [name, item] of Object.entries(value)) {
    if (SECRET_FIELDS.has(name)) result[name] = '[hidden]'
    else if (PERSON_FIELDS.has(name) && typeof item === 'string') result[name] = hide.whole(item)
    else result[name] = cleaned(item, hide, depth + 1)
  }
  return result
}

function describe(error: Error, hide: Hide, depth: number): unknown {
  return {
    name: error.name,
    ...(error instanceof EclusaError
      ? { code: error.code, details: cleaned(error.details, hide, depth + 1) }
      : {}),
    message: hide.inside(error.message),
    stack: hide.inside((error.stack ?? '').split('\n').slice(1, 9).join('\n')),
    ...(error.cause !== undefined && depth < MAX_DEPTH
      ? { cause: cleaned(error.cause, hide, depth + 1) }
      : {}),
  }
}

/** `12:00:03 info  session online  instance=ins_… durMs=120` */
function prettyLine(line: string): string {
  const { level, time, msg, ...fields } = JSON.parse(line) as Record<string, unknown>
  const tail = Object.entries(fields).map(([name, value]) => {
    return `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`
  })
  return `${String(time).slice(11, 19)} ${String(level).padEnd(5)} ${String(msg)}${tail.length > 0 ? `  ${tail.join(' ')}` : ''}\n`
}

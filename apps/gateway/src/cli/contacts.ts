import { createReadStream, readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { type ApiClient, CliError } from './api-client.ts'

export interface ContactsCommand {
  readonly api: ApiClient
  readonly json: boolean
  readonly tenant: string
}

export interface ContactFlags {
  readonly name?: string
  readonly zone?: string
  readonly tag?: readonly string[]
  readonly untag?: readonly string[]
  readonly field?: readonly string[]
}

interface Shown {
  readonly id: string
  readonly address: string
  readonly name: string | null
  readonly pushName: string | null
  readonly tags: readonly string[]
  readonly optedOutAt: string | null
}

/** Of one request: the API takes 512 KiB and 1,000 lines. */
const PART_BYTES = 256 * 1024
const PART_LINES = 1000

export async function contactsList(
  command: ContactsCommand,
  filter: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(filter)) if (value !== undefined) query.set(name, value)
  const page = (await command.api.call('GET', `${pathOf(command)}?${query.toString()}`)) as {
    readonly items: readonly Shown[]
    readonly next: string | null
  }
  print(command, page, () => [
    ...page.items.map(lineOf),
    ...(page.next === null ? [] : [`more: --after ${page.next}`]),
  ])
}

export async function contactShow(command: ContactsCommand, contact: string): Promise<void> {
  const shown = await command.api.call('GET', `${pathOf(command)}/${encodeURIComponent(contact)}`)
  console.log(JSON.stringify(shown, null, command.json ? 0 : 2))
}

export async function contactSet(
  command: ContactsCommand,
  contact: string,
  flags: ContactFlags,
): Promise<void> {
  const fields = (flags.field ?? []).map((text) => {
    const [name = '', ...value] = text.split('=')
    return [name, value.length === 0 ? null : value.join('=')] as const
  })
  const change = {
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(flags.zone === undefined ? {} : { zone: flags.zone }),
    ...(flags.tag === undefined ? {} : { addTags: flags.tag }),
    ...(flags.untag === undefined ? {} : { removeTags: flags.untag }),
    ...(fields.length === 0 ? {} : { fields: Object.fromEntries(fields) }),
  }
  const path = `${pathOf(command)}/${encodeURIComponent(contact)}`
  const shown = (await command.api.call('PATCH', path, change)) as Shown
  print(command, shown, () => [lineOf(shown)])
}

/** Part by part, in order: a file of any size takes no more memory than one part. */
export async function contactsImport(command: ContactsCommand, file: string): Promise<void> {
  const isCsv = file.toLowerCase().endsWith('.csv')
  const type = isCsv ? 'text/csv' : 'application/x-ndjson'
  const total = { lines: 0, created: 0, changed: 0, unchanged: 0 }
  let startLine = 1
  for await (const part of partsOf(file, isCsv)) {
    let counts
    try {
      counts = await command.api.sendText(`${tenantPath(command)}/contacts-import`, type, part.text)
    } catch (error) {
      if (!(error instanceof CliError)) throw error
      throw new CliError(
        `${file}, in the part from line ${startLine} on: ${error.message}. ${total.lines} contacts before it are in; the same file again changes nothing of them`,
        { cause: error },
      )
    }
    for (const [name, count] of Object.entries(counts as typeof total)) total[name as 'lines'] += count
    startLine = part.nextLine
  }
  print(command, total, () => [
    `${total.lines} contacts: ${total.created} new, ${total.changed} changed, ${total.unchanged} as they were`,
  ])
}

export async function contactsExport(
  command: ContactsCommand,
  format: 'csv' | 'ndjson',
  fields: string,
): Promise<void> {
  const query = new URLSearchParams({ format, ...(fields === '' ? {} : { fields }) })
  await pour(command, `${tenantPath(command)}/contacts-export?${query.toString()}`)
}

export async function contactData(command: ContactsCommand, contact: string): Promise<void> {
  await pour(command, `${pathOf(command)}/${encodeURIComponent(contact)}/export`)
}

export async function contactErase(command: ContactsCommand, contact: string): Promise<void> {
  const path = `${pathOf(command)}/${encodeURIComponent(contact)}`
  const receipt = (await command.api.call('DELETE', path)) as {
    readonly removed: Readonly<Record<string, number>>
    readonly kept: readonly { readonly what: string; readonly why: string }[]
  }
  print(command, receipt, () => [
    ...Object.entries(receipt.removed).map(([table, count]) => `removed ${count} of ${table}`),
    ...receipt.kept.map(({ what, why }) => `kept ${what}: ${why}`),
  ])
}

export async function contactAutoReplies(command: ContactsCommand, file: string | null): Promise<void> {
  const path = `${tenantPath(command)}/contact-settings`
  if (file !== null) {
    await command.api.call('PUT', `${path}/auto-replies`, JSON.parse(readFileSync(file, 'utf8')) as object)
  }
  const { autoReplies } = (await command.api.call('GET', path)) as { readonly autoReplies: unknown }
  console.log(JSON.stringify(autoReplies, null, command.json ? 0 : 2))
}

/** Shown, after what is named was changed: an empty text sends none. */
export async function contactConfirmations(
  command: ContactsCommand,
  change: { readonly optOutText?: string; readonly optInText?: string },
  isDefault: boolean,
): Promise<void> {
  const path = `${tenantPath(command)}/contact-settings/confirmations`
  if (isDefault) await command.api.call('PUT', path, {})
  const shown = (await changeSetting(command, 'confirmations', change)) as Readonly<
    Record<string, string | null | undefined>
  >
  print(command, shown, () =>
    ['optOutText', 'optInText'].map((name) => {
      const text = shown[name]
      return `${name}: ${text === undefined ? "in the language of the number's country" : (text ?? 'none is sent')}`
    }),
  )
}

export async function contactNotes(command: ContactsCommand, contact: string): Promise<void> {
  const { items } = (await command.api.call('GET', notesOf(command, contact))) as {
    readonly items: readonly {
      readonly id: number
      readonly at: string
      readonly by: string
      readonly text: string
    }[]
  }
  print(command, items, () => items.map(({ id, at, by, text }) => `${id}  ${at}  ${by}: ${text}`))
}

export async function contactNote(
  command: ContactsCommand,
  contact: string,
  note: { readonly text: string; readonly by?: string },
): Promise<void> {
  await command.api.call('POST', notesOf(command, contact), note)
  await contactNotes(command, contact)
}

export async function contactDropNote(
  command: ContactsCommand,
  contact: string,
  note: string,
): Promise<void> {
  await command.api.call('DELETE', `${notesOf(command, contact)}/${encodeURIComponent(note)}`)
  print(command, { removed: Number(note) }, () => [`note ${note} removed`])
}

/** Shown, after what is named was changed; an empty list takes all own words away. */
export async function contactWords(
  command: ContactsCommand,
  change: { readonly optOut?: readonly string[]; readonly person?: readonly string[] },
): Promise<void> {
  const shown = await changeSetting(command, 'words', change)
  print(command, shown, () =>
    Object.entries(shown).map(
      ([wish, words]) => `${wish}: ${(words as readonly string[]).join(', ') || 'none'}`,
    ),
  )
}

/** One of a tenant's settings for contacts, with what is named in `change`; shown as it then is. */
async function changeSetting(
  command: ContactsCommand,
  name: 'words' | 'confirmations',
  change: object,
): Promise<object> {
  const path = `${tenantPath(command)}/contact-settings`
  const read = async (): Promise<object> =>
    ((await command.api.call('GET', path)) as Readonly<Record<typeof name, object>>)[name]
  const before = await read()
  if (Object.keys(change).length === 0) return before
  await command.api.call('PUT', `${path}/${name}`, { ...before, ...change })
  return read()
}

async function* partsOf(
  file: string,
  isCsv: boolean,
): AsyncGenerator<{ readonly text: string; readonly nextLine: number }> {
  let header = ''
  let text = ''
  let lines = 0
  let row = ''
  let nth = 0
  for await (const line of createInterface({ input: createReadStream(file, 'utf8'), crlfDelay: Infinity })) {
    nth++
    row += row === '' ? line : `\n${line}`
    if (row.length > PART_BYTES)
      throw new CliError(`${file}, line ${nth}: is longer than ${PART_BYTES} bytes`)
    // A cell may go on in the next line.
    if (isCsv && (row.split('"').length - 1) % 2 === 1) continue
    if (isCsv && header === '') header = `${row}\n`
    else {
      text += `${row}\n`
      lines++
    }
    row = ''
    if (lines === PART_LINES || Buffer.byteLength(text) >= PART_BYTES) {
      yield { text: header + text, nextLine: nth + 1 }
      text = ''
      lines = 0
    }
  }
  if (lines > 0 || row !== '') yield { text: `${header}${text}${row}`, nextLine: nth + 1 }
}

async function pour({ api }: ContactsCommand, path: string): Promise<void> {
  for await (const chunk of await api.stream(path)) {
    if (!process.stdout.write(chunk)) await new Promise((resolve) => process.stdout.once('drain', resolve))
  }
}

function tenantPath({ tenant }: ContactsCommand): string {
  return `/v1/tenants/${encodeURIComponent(tenant)}`
}

function pathOf(command: ContactsCommand): string {
  return `${tenantPath(command)}/contacts`
}

function notesOf(command: ContactsCommand, contact: string): string {
  return `${pathOf(command)}/${encodeURIComponent(contact)}/notes`
}

function lineOf({ id, address, name, pushName, tags, optedOutAt }: Shown): string {
  const out = optedOutAt === null ? '' : '  opted out'
  return `${id}  ${address}  ${name ?? pushName ?? ''}${tags.length === 0 ? '' : `  [${tags.join(', ')}]`}${out}`
}

function print(
  { json }: Pick<ContactsCommand, 'json'>,
  answer: object,
  lines: () => readonly string[],
): void {
  console.log(json ? JSON.stringify(answer) : lines().join('\n'))
}

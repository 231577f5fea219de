import { readFileSync } from 'node:fs'
import {
  dryRun,
  type DryRunLine,
  type Finding,
  lintFlow,
  parseFlow,
  readTemplate,
  templateLanguages,
  templateNames,
} from '@eclusa/flows'
import { dryRunCare } from '../dry-run-care.ts'
import { type ApiClient, CliError } from './api-client.ts'

interface Listed {
  readonly name: string
  readonly publishedVersion: number | null
  readonly lastVersion: number
  readonly changedAt: string
}

/** The flows of a tenant. */
export async function flowList(options: {
  readonly api: ApiClient
  readonly json: boolean
  readonly tenant: string
}): Promise<void> {
  const { api, json, tenant } = options
  const { items } = (await api.call('GET', `/v1/tenants/${encodeURIComponent(tenant)}/flows`)) as {
    readonly items: readonly Listed[]
  }
  print(json, items, () =>
    items.map(({ name, publishedVersion, lastVersion, changedAt }) => {
      const published =
        publishedVersion === null ? 'not published' : `version ${publishedVersion} is published`
      return `${name}  ${published}, ${lastVersion} is the last  ${changedAt}`
    }),
  )
}

/** What is wrong with a file; fails when there is an error. Asks no gateway, so names of sectors are not judged. */
export function flowLint(options: { readonly file: string; readonly json: boolean }): void {
  const findings = lintFlow(documentIn(options.file))
  print(options.json, findings, () =>
    findings.length === 0 ? ['nothing is wrong with it'] : linesOf(findings),
  )
  if (findings.some(({ level }) => level === 'error')) throw new CliError(`${options.file} has errors`)
}

/** Puts a file as a flow's next version, and publishes it. */
export async function flowPublish(options: {
  readonly api: ApiClient
  readonly json: boolean
  readonly tenant: string
  readonly name: string
  readonly file: string
}): Promise<void> {
  const { api, json, tenant, name, file } = options
  const path = `/v1/tenants/${encodeURIComponent(tenant)}/flows/${encodeURIComponent(name)}`
  const put = (await api.call('PUT', path, documentIn(file))) as {
    readonly version: number
    readonly findings: readonly Finding[]
  }
  await api.call('POST', `${path}/publish`, { version: put.version })
  print(json, put, () => [...linesOf(put.findings), `version ${put.version} of ${name} is published`])
}

/** A file against a contact who says these lines; sends nothing, and needs no gateway. */
export async function flowTest(options: {
  readonly file: string
  readonly json: boolean
  readonly lines: readonly DryRunLine[]
  readonly startAt: number
  readonly contactName?: string
  readonly tags: readonly string[]
  /** A file with the JSON that every lookup answers. */
  readonly lookup?: string
  readonly lastOperator?: string
  readonly owner?: string
}): Promise<void> {
  const { file, json, lines, startAt, contactName, tags, lookup, lastOperator, owner } = options
  const parsed = parseFlow(documentIn(file))
  if ('findings' in parsed)
    throw new CliError([`${file} cannot be run:`, ...linesOf(parsed.findings)].join('\n'))
  const report = await dryRun({
    definition: parsed.flow,
    lines,
    startAt,
    hear: dryRunCare(),
    contact: { tags, ...(contactName === undefined ? {} : { name: contactName }) },
    ...(lookup === undefined ? {} : { lookup: documentIn(lookup) }),
    ...(lastOperator === undefined ? {} : { lastOperator }),
    ...(owner === undefined ? {} : { owner }),
  })
  const signs = { contact: '>', flow: '<', event: '*' } as const
  print(json, report, () => [
    ...report.entries.map(({ afterMs, who, text }) => {
      const [first = '', ...rest] = text.split('\n')
      return [`${clockOf(afterMs)} ${signs[who]} ${first}`, ...rest.map((one) => `          ${one}`)].join(
        '\n',
      )
    }),
    report.waitsAt === null
      ? `ended: ${report.outcome ?? 'no run began'}`
      : `waits for the contact at step "${report.waitsAt}"`,
  ])
}

/** A ready flow, to be saved to a file and adapted; without a name, their names. */
export function flowTemplate(options: { readonly name: string | null; readonly language: string }): void {
  const { name, language } = options
  if (name === null) {
    process.stdout.write(`${templateNames().join('\n')}\n`)
    return
  }
  const template = readTemplate(name, language)
  if (template === undefined) {
    throw new CliError(
      `There is no ready flow "${name}" in "${language}": the names are ${templateNames().join(', ')}, the languages ${templateLanguages().join(', ')}`,
    )
  }
  process.stdout.write(`${JSON.stringify(template, null, 2)}\n`)
}

function documentIn(file: string): object {
  const text = readFileSync(file, 'utf8')
  try {
    const value = JSON.parse(text) as unknown
    if (typeof value === 'object' && value !== null) return value
  } catch (cause) {
    throw new CliError(`${file} is not JSON: ${(cause as Error).message}`, { cause })
  }
  throw new CliError(`${file} holds no JSON object`)
}

function linesOf(findings: readonly Finding[]): readonly string[] {
  return findings.map(({ level, message }) => `${level}: ${message}`)
}

/** `+01:30:05` */
function clockOf(ms: number): string {
  const seconds = Math.floor(ms / 1000)
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  return `+${parts.map((part) => String(part).padStart(2, '0')).join(':')}`
}

function print(json: boolean, value: unknown, lines: () => readonly string[]): void {
  process.stdout.write(json ? `${JSON.stringify(value)}\n` : `${lines().join('\n')}\n`)
}

import { contactErrors } from '@eclusa/contacts'
import { conversationErrors, flowErrors } from '@eclusa/flows'
import { type ErrorKind, kernelErrors } from '@eclusa/kernel'
import { careErrors, queueErrors } from '@eclusa/queue'
import { sessionErrors } from '@eclusa/session'
import { storageErrors } from '@eclusa/storage'
import { httpErrors } from './guarded-http/errors.ts'
import { gatewayErrors, messageErrors } from './errors.ts'
import { webhookErrors } from './webhooks/errors.ts'

/** Every error a caller can meet, by the package it comes from: the text of docs/errors.md. */
const tables: readonly (readonly [title: string, kinds: readonly ErrorKind[]])[] = [
  ['Gateway', Object.values<ErrorKind>({ ...gatewayErrors, ...messageErrors })],
  ['Calls to other servers', Object.values<ErrorKind>(httpErrors)],
  ['Webhooks', Object.values<ErrorKind>(webhookErrors)],
  ['Queue', Object.values<ErrorKind>({ ...queueErrors, ...careErrors })],
  ['Contacts', Object.values<ErrorKind>(contactErrors)],
  ['Conversations', Object.values<ErrorKind>(conversationErrors)],
  ['Flows', Object.values<ErrorKind>(flowErrors)],
  ['Session', Object.values<ErrorKind>(sessionErrors)],
  ['Storage', Object.values<ErrorKind>(storageErrors)],
  ['Kernel', Object.values<ErrorKind>(kernelErrors)],
]

// bounded by: the tables
const kinds: ReadonlyMap<string, ErrorKind> = new Map(
  tables.flatMap(([, ofPackage]) => ofPackage.map((kind) => [kind.code, kind])),
)

export function errorKindOf(code: string): ErrorKind | undefined {
  return kinds.get(code)
}

/** The reference of all errors as Markdown: the text of docs/errors.md. */
export function renderErrorDocs(): string {
  const sections = tables.flatMap(([title, ofPackage]) => [
    `## ${title}`,
    '',
    '| code | HTTP | try again | reached WhatsApp | meaning |',
    '|---|---|---|---|---|',
    ...ofPackage
      .toSorted((a, b) => a.code.localeCompare(b.code))
      .map(
        (kind) =>
          `| \`${kind.code}\` | ${kind.status} | ${kind.retry} | ${kind.delivered} | ${kind.message} |`,
      ),
    '',
  ])
  return [
    '# Errors',
    '',
    'Made from the error tables of the packages; do not edit. HTTP answers carry them as `application/problem+json`',
    '(RFC 9457), messages as `failure`.',
    '',
    ...sections,
  ].join('\n')
}

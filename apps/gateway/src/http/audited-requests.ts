import { EclusaError, type TenantId } from '@eclusa/kernel'
import { parseConversationId, type Conversations } from '@eclusa/flows'
import { parseMessageId } from '@eclusa/kernel'
import type { Outbox } from '@eclusa/queue'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { AuditLog } from '../audit/audit-log.ts'
import type { AuditEntry } from '../audit/audit-store.ts'
import type { Instances } from '../instances/instances.ts'
import { hashOf } from '../log.ts'
import { parseWebhookId } from '../webhooks/webhook.ts'
import type { Webhooks } from '../webhooks/webhooks.ts'
import { callerOf } from './auth.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** What stands in the audit log as intended by this request; null when nothing does. */
    intended: AuditEntry | null
    /** The code of what went wrong; null while nothing has. */
    failure: string | null
  }
}

/** What was or will be done, in the words of the one who does it. */
export type Deed = Pick<AuditEntry, 'action'> &
  Partial<Pick<AuditEntry, 'tenant' | 'object' | 'before' | 'after'>>

export interface AuditedRequestsOptions {
  readonly audit: AuditLog
  readonly instances: Pick<Instances, 'all'>
  readonly outbox: Pick<Outbox, 'status'>
  readonly conversations: Pick<Conversations, 'find'>
  readonly webhooks: Pick<Webhooks, 'get'>
  /** Of the installation: what stands for numbers and addresses. */
  readonly hashKey: Uint8Array
}

/** The requests that stand in the audit log: before they are carried out, or together with what they change. */
export class AuditedRequests {
  readonly #options: AuditedRequestsOptions

  constructor(options: AuditedRequestsOptions) {
    this.#options = options
  }

  /** A hook: what the route declares to be recorded stands in the log before the handler runs. */
  async before(request: FastifyRequest): Promise<void> {
    if (request.routeOptions.config.audit !== 'before') return
    await this.intend(request, { action: `${request.method} ${request.routeOptions.url ?? ''}` })
  }

  /** A hook: what was intended and not done is taken back, by an entry more. */
  async after(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { intended, failure } = request
    if (intended === null || reply.statusCode < 400) return
    const after = { status: reply.statusCode, code: failure }
    await this.#options.audit.record({ ...intended, outcome: 'failed', before: null, after })
  }

  /** Puts a deed into the log before it is done; resolves when that is on disk. */
  async intend(request: FastifyRequest, deed: Deed): Promise<void> {
    const entry = { ...(await this.#entry(request, deed)), outcome: 'intended' } as const
    await this.#options.audit.record(entry)
    request.intended = entry
  }

  /** The entry of a deed, to be stored in the unit that does it. */
  done(request: FastifyRequest, deed: Deed & Pick<AuditEntry, 'tenant'>): AuditEntry {
    return { ...this.#words(request, deed), tenant: deed.tenant, outcome: 'done' }
  }

  async #entry(request: FastifyRequest, deed: Deed): Promise<Omit<AuditEntry, 'outcome'>> {
    return { ...this.#words(request, deed), tenant: deed.tenant ?? (await this.#tenantOf(request)) }
  }

  #words(request: FastifyRequest, deed: Deed): Omit<AuditEntry, 'tenant' | 'outcome'> {
    const { keyId, person } = callerOf(request)
    const params = (request.params ?? {}) as Readonly<Record<string, string>>
    return {
      keyId,
      person,
      addressHash: hashOf(request.ip, this.#options.hashKey),
      requestId: request.id,
      action: deed.action,
      object:
        deed.object ??
        Object.fromEntries(Object.entries(params).map(([name, value]) => [name, this.shown(name, value)])),
      before: deed.before ?? null,
      after: deed.after ?? null,
    }
  }

  /** An id as it is; what may be a number or a chat, and a person who may ask to be erased, as its hash. */
  shown(name: string, value: string): string {
    const isId = /^[A-Za-z0-9_.-]{1,64}$/.test(value) && !/\d{8}/.test(value.replace(/^[a-z]{3}_/, ''))
    const isOurs = /^(?:ins|msg|cnv|whk)_[0-9a-z]+$/.test(value)
    const isPerson = (name === 'chat' || name === 'contact') && !isOurs
    return isOurs || (isId && !isPerson) ? value : `hash:${hashOf(value, this.#options.hashKey)}`
  }

  /** Whose it is: in the address, or of what the address names; `*` when that is nobody's. */
  async #tenantOf(request: FastifyRequest): Promise<TenantId | '*'> {
    const { reach } = callerOf(request)
    if (reach !== '*') return reach
    const { tenant, id = '' } = request.params as { readonly tenant?: TenantId; readonly id?: string }
    if (tenant !== undefined) return tenant
    const { instances, outbox, conversations, webhooks } = this.#options
    const { url = '' } = request.routeOptions
    try {
      if (url.startsWith('/v1/instances/')) return instances.all().find((one) => one.id === id)?.tenant ?? '*'
      if (url.startsWith('/v1/messages/')) return (await outbox.status(parseMessageId(id).id))?.tenant ?? '*'
      if (url.startsWith('/v1/webhooks/')) return (await webhooks.get(parseWebhookId(id))).tenant
      if (url.startsWith('/v1/conversations/')) {
        return (await conversations.find(parseConversationId(id)))?.tenant ?? '*'
      }
    } catch (error) {
      // It names nothing: the handler will say so.
      if (!(error instanceof EclusaError) || error.status >= 500) throw error
    }
    return '*'
  }
}

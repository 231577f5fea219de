import { readFileSync } from 'node:fs'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'

type Json = Record<string, unknown>

interface Answer {
  readonly content?: Readonly<Record<string, { readonly schema: Json }>>
}

export interface Operation {
  readonly operationId: string
  readonly 'x-scope'?: string
  readonly responses: Readonly<Record<string, Answer & { readonly $ref?: string }>>
  readonly [field: string]: unknown
}

export interface Document {
  readonly openapi: string
  readonly tags: readonly { readonly name: string }[]
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: {
    readonly schemas: Readonly<Record<string, Json>>
    readonly responses: Readonly<Record<string, Answer>>
  }
}

/** docs/openapi.json as it stands. */
export function readDocument(): Document {
  return JSON.parse(readFileSync(new URL('../../../docs/openapi.json', import.meta.url), 'utf8')) as Document
}

/** An answer as far as it is judged. */
export interface JudgedAnswer {
  readonly status: number
  readonly contentType: string | null
  readonly text: string
}

/** Holds every answer of the API against its description. */
export class ApiJudge {
  readonly document: Document
  readonly #ajv: Ajv2020
  readonly #routes: readonly { readonly pattern: RegExp; readonly path: string }[]
  readonly #validators = new Map<string, ValidateFunction>()

  constructor(document: Document = readDocument()) {
    this.document = document
    this.#ajv = new Ajv2020({ strict: false, allErrors: true })
    addFormats.default(this.#ajv)
    this.#ajv.addSchema(document, 'api')
    this.#routes = Object.keys(document.paths)
      // What has no parameter goes before what has one.
      .toSorted((a, b) => a.split('{').length - b.split('{').length)
      .map((path) => ({
        path,
        pattern: new RegExp(
          `^${path
            .split(/\{\w+\}/)
            .map((part) => RegExp.escape(part))
            .join('[^/]*')}$`,
        ),
      }))
  }

  /** The operation that a request is for; undefined when the API has none. */
  operationOf(method: string, address: string): Operation | undefined {
    const path = address.split('?')[0] ?? ''
    const route = this.#routes.find(({ pattern }) => pattern.test(path))
    return route === undefined ? undefined : this.document.paths[route.path]?.[method.toLowerCase()]
  }

  /** What of an answer is not as the document says; null when all is. */
  faultOf(method: string, address: string, answer: JudgedAnswer): string | null {
    const operation = this.operationOf(method, address)
    if (operation === undefined) return null
    const { status } = answer
    const what = `${method} ${address}: ${status} of ${operation.operationId}`
    const stated = operation.responses[status]
    if (stated === undefined) return `${what} is not described: ${answer.text.slice(0, 300)}`
    const where =
      stated.$ref?.replace('#', 'api#') ??
      `api#/paths/${pointerOf(this.#pathOf(operation))}/${method.toLowerCase()}/responses/${status}`
    const content = (stated.$ref === undefined ? stated : this.#shared(stated.$ref)).content
    if (content === undefined) return ['', 'null'].includes(answer.text) ? null : `${what} has a body`
    const type = (answer.contentType ?? '').split(';')[0] ?? ''
    if (content[type] === undefined) return `${what} is of the type "${type}"`
    if (!type.includes('json') || type.includes('ndjson')) return null
    const validate = this.#validatorOf(`${where}/content/${pointerOf(type)}/schema`)
    if (validate(JSON.parse(answer.text))) return null
    return `${what}: ${this.#ajv.errorsText(validate.errors)}: ${answer.text.slice(0, 300)}`
  }

  /** What speaks against a value, by a schema that stands at this place of the document. */
  faultOfValue(pointer: string, value: unknown): string | null {
    const validate = this.#validatorOf(`api#${pointer}`)
    return validate(value) ? null : this.#ajv.errorsText(validate.errors)
  }

  #shared(ref: string): Answer {
    return this.document.components.responses[ref.slice('#/components/responses/'.length)] ?? {}
  }

  #pathOf(operation: Operation): string {
    const found = Object.entries(this.document.paths).find(([, methods]) =>
      Object.values(methods).includes(operation),
    )
    return found?.[0] ?? ''
  }

  #validatorOf(ref: string): ValidateFunction {
    let validate = this.#validators.get(ref)
    if (validate === undefined) {
      validate = this.#ajv.compile({ $ref: ref })
      this.#validators.set(ref, validate)
    }
    return validate
  }
}

/** A part of a JSON pointer within an address. */
function pointerOf(part: string): string {
  return encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))
}

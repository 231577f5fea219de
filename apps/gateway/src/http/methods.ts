import type { DeclaredRoute } from './route-rules.ts'

/** Which methods the routes have at an address; none when there is nothing. */
export class Methods {
  // bounded by: the routes in the code
  readonly #byPattern: readonly { readonly pattern: RegExp; readonly methods: readonly string[] }[]

  constructor(routes: readonly DeclaredRoute[]) {
    this.#byPattern = [...Map.groupBy(routes, ({ path }) => path)].map(([path, ofPath]) => ({
      pattern: patternOf(path),
      methods: ofPath.map(({ method }) => method),
    }))
  }

  /** Of an address as it was asked for, sorted: `GET, HEAD, OPTIONS`. */
  at(address: string): readonly string[] {
    const path = address.split('?', 1)[0] ?? ''
    const methods = this.#byPattern.flatMap((one) => (one.pattern.test(path) ? one.methods : []))
    return methods.length === 0 ? [] : [...new Set([...methods, 'OPTIONS'])].toSorted()
  }
}

/** `:name` is one part of an address, `*` any rest. */
function patternOf(path: string): RegExp {
  const parts = path.split(/:\w+|\*/).map((part) => RegExp.escape(part))
  const holes = [...path.matchAll(/:\w+|\*/g)].map(([hole]) => (hole === '*' ? '.*' : '[^/]+'))
  return new RegExp(`^${parts.map((part, nth) => part + (holes[nth] ?? '')).join('')}$`)
}

/**
 * A deep copy of what a cache is likely to hold: plain objects and arrays, instances with their prototype, Map, Set,
 * Date, RegExp, buffers and typed arrays; cycles stay cycles. Functions, promises, weak collections and streams are kept
 * as they are, where `structuredClone` would throw.
 */
export function clone<Value>(value: Value): Value {
  if (typeof value !== 'object' || value === null) return value
  return copy(value, new Map()) as Value
}

function part(value: unknown, copies: Map<object, object>): unknown {
  return typeof value === 'object' && value !== null ? copy(value, copies) : value
}

function copy(value: object, copies: Map<object, object>): object {
  const known = copies.get(value)
  if (known !== undefined) return known
  const made = empty(value)
  copies.set(value, made)
  if (made === value) return value
  if (value instanceof Map) {
    for (const [key, held] of value)
      (made as Map<unknown, unknown>).set(part(key, copies), part(held, copies))
  } else if (value instanceof Set) {
    for (const held of value) (made as Set<unknown>).add(part(held, copies))
  } else if (!isBytes(value) && !(value instanceof Date) && !(value instanceof RegExp)) {
    // Defined, not assigned: `__proto__` is a key like others.
    for (const key of Object.keys(value)) {
      const held = part((value as Record<string, unknown>)[key], copies)
      if (key === '__proto__') {
        Object.defineProperty(made, key, {
          value: held,
          enumerable: true,
          configurable: true,
          writable: true,
        })
      } else (made as Record<string, unknown>)[key] = held
    }
    if (value instanceof Error) Object.assign(made, { message: value.message, stack: value.stack })
  }
  return made
}

/** A copy without its parts; the value itself when it cannot be copied. */
function empty(value: object): object {
  if (Array.isArray(value)) return Array.from({ length: value.length })
  if (Buffer.isBuffer(value)) return Buffer.from(value)
  if (value instanceof ArrayBuffer) return value.slice(0)
  if (value instanceof DataView)
    return new DataView(value.buffer.slice(value.byteOffset, value.byteOffset + value.byteLength))
  if (ArrayBuffer.isView(value)) return (value as Uint8Array).slice()
  if (value instanceof Date) return new Date(value)
  if (value instanceof RegExp) return new RegExp(value)
  if (value instanceof Map) return new Map()
  if (value instanceof Set) return new Set()
  if (isUncopyable(value)) return value
  return Object.create(Object.getPrototypeOf(value) as object | null) as object
}

function isBytes(value: object): boolean {
  return ArrayBuffer.isView(value) || value instanceof ArrayBuffer
}

function isUncopyable(value: object): boolean {
  return (
    typeof (value as { then?: unknown }).then === 'function' ||
    value instanceof WeakMap ||
    value instanceof WeakSet ||
    value instanceof WeakRef ||
    value instanceof SharedArrayBuffer ||
    typeof (value as { pipe?: unknown }).pipe === 'function'
  )
}

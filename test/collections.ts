/*
 * Finds collections that outlive a call and do not say what bounds them. It reads lines, not types: enough for the
 * style of this code, in which a field or a module's constant is declared on lines of its own.
 */

/** `new Map<…>(…)`, `[]`, `[…]`, `Array.from(…)`, `new Array(…)`: the beginning of a value that holds other values. */
const MAKES_ONE =
  /^(?:new (?:Map|Set|Array)\b|\[|Array\.(?:from|of)\(|Object\.(?:create\(null|fromEntries)|\{\} as )/
/** A type that holds others: `Map<…>`, `ReadonlySet<…>`, `readonly X[]`, `(…)[]`, `Record<…>` with open keys. */
const IS_ONE = new RegExp(
  `^(?:Readonly)?(?:Map|Set|Array)<|\\[\\](?: \\| (?:null|undefined))?$|^(?:Partial<)?Record<(?:string|\\w*Id)\\b`,
)

export interface Unbounded {
  readonly line: number
  readonly name: string
}

/** Fields of classes, members of module-state objects and module constants that hold collections and state no bound. */
export function unboundedCollections(source: string): readonly Unbounded[] {
  const lines = source.split('\n')
  const found: Unbounded[] = []
  let classDepth = 0
  for (const [index, line] of lines.entries()) {
    if (/^(?:export )?(?:abstract )?class \w/.test(line)) classDepth = index + 1
    else if (line === '}') classDepth = 0
    const declared = classDepth > 0 ? fieldIn(lines, index) : moduleConstantIn(lines, index)
    if (declared === null || !holdsCollection(declared) || isConstant(declared)) continue
    if (!saysBound(lines, index)) found.push({ line: index + 1, name: declared.name })
  }
  return found
}

interface Declared {
  readonly name: string
  readonly type: string
  /** What it begins as; for a field that the constructor sets, what that sets. */
  readonly value: string
  readonly isModuleConstant: boolean
  readonly isReadonlyType: boolean
}

function fieldIn(lines: readonly string[], index: number): Declared | null {
  const [, name, type = '', value = ''] =
    /^ {2}(?:static )?(?:readonly )?(#?\w+)[!?]?(?:: (.+?))?(?: =(?: (.*))?)?$/.exec(lines[index] ?? '') ?? []
  if (name === undefined || (type === '' && value === '' && !(lines[index] ?? '').endsWith('='))) return null
  if (/[,;{(]$/.test(type) || /^(?:return|throw|await|case|default|else|if|for|while|const|let)$/.test(name))
    return null
  const begins =
    value === '' ? ((lines[index] ?? '').endsWith('=') ? (lines[index + 1] ?? '').trim() : '') : value
  const assigned = begins === '' ? assignedInConstructor(lines, index, name) : begins
  return {
    name,
    type,
    value: assigned,
    isModuleConstant: false,
    isReadonlyType: /^(?:Readonly|readonly )/.test(type),
  }
}

/** `this.#name = …` between the field and the end of its class. */
function assignedInConstructor(lines: readonly string[], from: number, name: string): string {
  for (let index = from + 1; index < lines.length && lines[index] !== '}'; index++) {
    const text = (lines[index] ?? '').trim()
    if (text.startsWith(`this.${name} = `)) return text.slice(`this.${name} = `.length)
  }
  return ''
}

function moduleConstantIn(lines: readonly string[], index: number): Declared | null {
  const [, name, type = '', value = ''] =
    /^(?:export )?(?:const|let) (\w+)(?:: (.+?))? = (.*)$/.exec(lines[index] ?? '') ?? []
  if (name === undefined) return null
  return { name, type, value, isModuleConstant: true, isReadonlyType: /^(?:Readonly|readonly )/.test(type) }
}

function holdsCollection({ type, value }: Declared): boolean {
  return MAKES_ONE.test(value) || IS_ONE.test(type)
}

/** A table in the code: filled where it stands, and of a type that cannot grow. */
function isConstant({ isModuleConstant, isReadonlyType, value, type }: Declared): boolean {
  if (!isModuleConstant) return false
  if (isReadonlyType && value === 'Object.freeze([])') return true
  const isEmpty = /^(?:new (?:Map|Set)(?:<.*>)?\(\)|\[\]|new Array\(|Array\.from)/.test(value)
  if (isReadonlyType && !isEmpty) return true
  // A list of literals, never added to, says so by `as const` or its all-capital name.
  return type === '' && value.startsWith('[') && !isEmpty
}

/** In the comment above it, or behind it. */
function saysBound(lines: readonly string[], index: number): boolean {
  if (/bounded by:/.test(lines[index] ?? '')) return true
  for (let above = index - 1; above >= 0; above--) {
    const text = (lines[above] ?? '').trim()
    if (!/^(?:\/\/|\*|\/\*)/.test(text)) return false
    if (/bounded by:/.test(text)) return true
  }
  return false
}

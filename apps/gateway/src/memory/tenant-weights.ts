/** Most tenants that may be named; the setting is a line an operator writes by hand. */
const MAX_NAMED = 1000

/** `acme:2,exatron:0.5` as tenant → weight; what is wrong with it otherwise. */
export function parseWeights(
  text: string,
): { readonly weights: ReadonlyMap<string, number> } | { readonly fault: string } {
  const weights = new Map<string, number>()
  for (const part of text.split(',').filter((one) => one.trim() !== '')) {
    const [, tenant, number] = /^([a-z0-9][a-z0-9_-]{0,39}):(\d{1,6}(?:\.\d{1,6})?)$/.exec(part.trim()) ?? []
    const weight = Number(number)
    if (tenant === undefined || !(weight > 0))
      return { fault: 'must be of the form tenant:number,… with numbers above 0, such as acme:2,exatron:0.5' }
    if (weights.has(tenant)) return { fault: `names ${tenant} twice` }
    weights.set(tenant, weight)
  }
  if (weights.size > MAX_NAMED) return { fault: `names more than ${MAX_NAMED} tenants` }
  return { weights }
}

interface TrustedTypesFactory {
  createPolicy(name: string, rules: { createHTML(text: string): string }): unknown
}

/**
 * The page's policy requires trusted types, so that no text can become markup. The one exception are the style sheets
 * that Mantine writes into <style> elements: what has no "<" in it is no markup, whoever it comes from.
 */
export function refuseMarkup(): void {
  const { trustedTypes } = globalThis as { readonly trustedTypes?: TrustedTypesFactory }
  trustedTypes?.createPolicy('default', {
    createHTML(text) {
      if (text.includes('<')) throw new TypeError('No text becomes markup here')
      return text
    },
  })
}

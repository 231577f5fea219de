import { hearOwnWish, hearWish, noOwnWords, type OwnWords } from '@eclusa/contacts'
import type { DryRunOptions } from '@eclusa/flows'

/** What a dry run understands of the words that win over every flow: as care does, for one contact who is new. */
export function dryRunCare(own: OwnWords = noOwnWords): NonNullable<DryRunOptions['hear']> {
  let wasAsked = false
  return (words, atMenu) => {
    const wish = hearWish(words) ?? hearOwnWish(words, own)
    switch (wish) {
      case 'person':
        return 'wants_person'
      case 'opt_out':
        return 'opted_out'
      case 'leave':
        if (!atMenu || wasAsked) return 'opted_out'
        wasAsked = true
        return 'asks_to_stop'
      case 'opt_in':
      case null:
        return 'nothing'
      default:
        return wish satisfies never
    }
  }
}

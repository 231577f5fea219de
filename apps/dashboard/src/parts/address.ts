/** A chat's address as people know it: the number, or what kind of id it is. */
export function addressOf(chat: string): string {
  const [user = '', server = ''] = chat.split('@')
  if (server === 's.whatsapp.net') return `+${user}`
  return server === 'g.us' ? `#${user}` : `~${user.slice(0, 12)}`
}

/** Letters that change the direction of others, or are not seen: a name may be made to look like another by them. */
const HIDDEN = /[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]/g

/** A name with what is hidden in it shown. */
export function visible(text: string): string {
  return text.replaceAll(HIDDEN, '␣')
}

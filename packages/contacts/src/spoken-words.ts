/**
 * What somebody asks for in so many words. `opt_out`: no more messages. `leave`: the same, but said inside a menu it can
 * also mean the menu. `opt_in`: messages again; only who opted out means that by it. `person`: not a machine.
 */
export type Wish = 'opt_out' | 'leave' | 'opt_in' | 'person'

/** Whoever writes more than that tells something else. */
const MAX_LENGTH = 240

/**
 * Reads opt-out, opt-in and human words in Portuguese, English and Spanish: as the whole message, whatever the case,
 * accents, punctuation and courtesies around it, or as a phrase that speaks of messages, of contact or of a list. Null
 * for everything else: what is ordered, delivered or paid is not meant. Pure.
 */
export function hearWish(text: string): Wish | null {
  if (text.length > MAX_LENGTH) return null
  const said = normalised(text)
  if (said === '') return null
  const command = commandOf(said) ?? commandAtAnEnd(text)
  if (command !== null) return command
  if (OPT_OUT_PHRASES.some((phrase) => phrase.test(said))) return 'opt_out'
  if (PERSON_PHRASES.some((phrase) => phrase.test(said))) return 'person'
  return OPT_IN_PHRASES.some((phrase) => phrase.test(said)) ? 'opt_in' : null
}

/** Words that a tenant's contacts use beside those that everybody's do. */
export interface OwnWords {
  readonly optOut: readonly string[]
  readonly person: readonly string[]
}

/**
 * Reads a tenant's own words, as the whole message and in whatever way `hearWish` takes its own. Only for what that makes
 * nothing of: own words add to the others and change none. Pure.
 */
export function hearOwnWish(text: string, own: OwnWords): 'opt_out' | 'person' | null {
  if (text.length > MAX_LENGTH) return null
  const said = keyOf(text)
  if (said === '') return null
  if (own.optOut.some((word) => keyOf(word) === said)) return 'opt_out'
  return own.person.some((word) => keyOf(word) === said) ? 'person' : null
}

/** The same for all ways of writing a word. */
export function keyOf(text: string): string {
  return meantIn(normalised(text))
}

/** Lower case, no accents, no punctuation or emoji, the usual shortcuts of thumbs written out. */
function normalised(text: string): string {
  const letters = text
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .toLowerCase()
    // Stretched for force: PARAAAR.
    .replace(/(\p{L})\1{2,}/gu, '$1')
    .replace(/['’`´]/g, '')
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim()
  // S A I R
  if (/^\p{L}( \p{L}){2,}$/u.test(letters)) return letters.replaceAll(' ', '')
  return letters.replace(/\p{L}+/gu, (word) => SHORTCUTS.get(word) ?? word)
}

// bounded by: the list
const SHORTCUTS: ReadonlyMap<string, string> = new Map(
  Object.entries({
    n: 'nao',
    naum: 'nao',
    qero: 'quero',
    qro: 'quero',
    kero: 'quero',
    kiero: 'quiero',
    qiero: 'quiero',
    msg: 'mensagem',
    msgs: 'mensagens',
    msj: 'mensaje',
    msjs: 'mensajes',
    vcs: 'voces',
    vc: 'voce',
    pra: 'para',
    plz: 'please',
    pls: 'please',
    u: 'you',
    txt: 'text',
    txting: 'texting',
    textin: 'texting',
    mesaging: 'messaging',
    remov: 'remove',
    dont: 'do not',
    didnt: 'did not',
    im: 'i am',
  }),
)

/** Said around a command without changing it. */
const COURTESIES: ReadonlySet<string> = new Set(
  (
    'oi ola opa bom boa dia tarde noite por favor pf pfv porfa porfavor gentileza obrigado obrigada obg grato grata valeu ' +
    'ja agora just already kindly i said please now thanks thank you hi hello hey ok hola buenas buenos dias tardes noches gracias ya ahora'
  ).split(' '),
)

const COMMANDS: Readonly<Record<Wish, readonly string[]>> = {
  opt_out: listOf(
    'stop, stopall, stop all, stp, unsubscribe, opt out, optout, parar, pare, parem, baja, ' +
      'darme de baja, descadastrar, descadastro, desinscrever, desuscribir, desuscribirme',
  ),
  leave: listOf(
    'sair, quero sair, salir, quiero salir, cancelar, cancel, end, quit, remover, remove, ' +
      'remove me, excluir, eliminar, borrar, revoke, alto, detener, nao quero mais, ' +
      'no quiero mas, no mas, no more',
  ),
  opt_in: listOf(
    'start, unstop, subscribe, resume, voltar, retomar, reativar, inscrever, volver, reanudar, ' +
      'reactivar, suscribir, suscribirme, alta',
  ),
  person: listOf(
    'atendente, humano, humana, pessoa real, atendimento humano, operador, operadora, agent, ' +
      'human, operator, representative, real person, live agent, human agent, agente, asesor, ' +
      'asesora, persona real, ejecutivo, agente humano',
  ),
}

function listOf(text: string): readonly string[] {
  return text.split(', ')
}

/** A letter written twice counts once, on both sides: stopp, saiir. bounded by: COMMANDS */
const commands: ReadonlyMap<string, Wish> = new Map(
  (Object.entries(COMMANDS) as [Wish, readonly string[]][]).flatMap(([wish, texts]) =>
    texts.map((text) => [singleLetters(text), wish] as const),
  ),
)

/** Words so long that one wrong letter makes no other word of them. */
const FORGIVEN = ['unsubscribe', 'descadastrar', 'desinscrever', 'desuscribir', 'cancelar']

function commandOf(said: string): Wish | null {
  const command = meantIn(said)
  const known = commands.get(command)
  if (known !== undefined || command.includes(' ')) return known ?? null
  const slipped = FORGIVEN.find((word) => isOneSlipAway(command, singleLetters(word)))
  return slipped === undefined ? null : (commands.get(singleLetters(slipped)) ?? null)
}

/** Without the courtesies around it; a letter written twice counts once. */
function meantIn(said: string): string {
  const words = said.split(' ')
  while (words.length > 0 && COURTESIES.has(words[0] ?? '')) words.shift()
  while (words.length > 0 && COURTESIES.has(words.at(-1) ?? '')) words.pop()
  // Stop, please stop!
  const meant = new Set(words.filter((word) => !COURTESIES.has(word)))
  return singleLetters(meant.size === 1 ? [...meant].join('') : words.join(' '))
}

/** STOP as a sentence of its own, before or after others: only what can mean nothing else. */
function commandAtAnEnd(text: string): Wish | null {
  const sentences = text.split(/[.!?;,\n]+/).filter((sentence) => /\p{L}/u.test(sentence))
  const isCommand = [sentences.at(0), sentences.at(-1)].some(
    (sentence) => sentence !== undefined && commandOf(normalised(sentence)) === 'opt_out',
  )
  return sentences.length > 1 && isCommand ? 'opt_out' : null
}

function singleLetters(text: string): string {
  return text.replace(/(\p{L})\1/gu, '$1')
}

/** One letter too many, missing, or another. Two neighbours exchanged count as one, too. */
function isOneSlipAway(text: string, word: string): boolean {
  let start = 0
  while (start < text.length && text[start] === word[start]) start++
  const rest = text.slice(start)
  const left = word.slice(start)
  return (
    rest.slice(1) === left ||
    rest === left.slice(1) ||
    rest.slice(1) === left.slice(1) ||
    (rest.slice(2) === left.slice(2) && rest[0] === left[1] && rest[1] === left[0])
  )
}

/** Messages, in three languages: what nobody orders in a shop. */
const MESSAGES =
  '(?:mensage(?:m|ns)|mensajes?|messages?|texts?|propagandas?|promoco?(?:es|ao)|promociones|publicidade?|spam|' +
  'notificac(?:ao|oes|iones)|notifications?|offers|ads|avisos|informativos)\\b'
/**
 * How it may go on after that: to whom and when. What has more to say speaks of something else: "cancel the text on the
 * cake".
 */
const TAIL =
  '(?: (?:de|da|dessa|desta|do|from|to|me|mim|you|voces|ustedes|para|por|favor|please|obrigad[oa]|gracias|thanks|no|em|en|' +
  'meu|my|mi|este|esse|this|these|whats\\w*|zap|phone|celular|numero|number|any|more|anymore|mais|mas|again|nunca|jamais|' +
  'empresa|company|all|ever|now|agora|ya|ja|aqui|here|stop|parem?))*(?: \\w+){0,2}$'
/** What is sent, without a word for it. */
const THESE =
  '(?:isso|isto|essas? coisas?|estas? coisas?|esto|eso|estas cosas|cosas|this|these|those|this stuff|stuff|things)\\b'
/** A list that is not one of prices or of who waits. */
const LIST =
  '(?:lista|list|cadastro|contatos|contactos|contacts|grupo de divulgacao|base de dados|base de datos|database|(?:your )?system)\\b' +
  '(?! (?:de|of) (?:espera|precos?|precios?|produtos|stops))'
/** Up to a few words in between. */
const SOME = '(?: \\w+){0,4}?'
const END =
  '(?: (?:por favor|please|obrigad[oa]|gracias|thanks|agora|now|ya|ai|immediately|de voces|de ustedes|from you))*$'
/** They say what they do not want, not what they did not get. */
const NOT_WANTED =
  '(?:nao (?:quero|desejo|receber|aceito|aguento|autorizo|autorizei|preciso|precisa|precisam|tenho interesse)|' +
  'no (?:quiero|deseo|acepto|soporto|autorizo|autorice|di mi consentimiento|necesito|me interesan?)|' +
  '(?:do not|no longer|not|never) (?:want|wish|like|need|care for|consent|agree)|did not (?:consent|agree)|cansei|cansad[oa]|tired|sick)'
const STOP =
  '(?:par(?:ar|e|em|en)|para de|para com|chega|basta|deix(?:ar|e|em) de|dej(?:ar|a|e|en|o) de|desativ(?:ar|a|e|em)|deslig(?:ar|a|ue|uem)|' +
  'desactiv(?:ar|a|e|en)|cancel(?:ar|a|e|em|en|o)?|suspend(?:er|e|am|an|a)?|interromp(?:er|am|a)|evit(?:ar|e|em|en)|' +
  'stop|quit|cease|end(?! of)|discontinue|disable|enough|turn(?: off)?|exclude)'
const SEND = '(?:mand(?:ar|e|em|en|a|es)|envi(?:ar|e|em|en|a|es|ando)|send|sending)(?:me)?'
const NOT = '(?:nao|no|nunca|never|do not)(?: mais| mas| me| ever| more| sigan| continuem| de)*'

const phrases = (...texts: readonly string[]): readonly RegExp[] =>
  texts.map((text) => new RegExp(`\\b${text}`, 'u'))

const OPT_OUT_PHRASES: readonly RegExp[] = phrases(
  // Messages are not wanted, are to stop, or not to be sent.
  `${NOT_WANTED}${SOME} ${MESSAGES}${TAIL}`,
  `${STOP}${SOME} ${MESSAGES}${TAIL}`,
  `(?:no more|no further|no mas|nunca mais|sem|sem mais|enough) ${MESSAGES}${TAIL}`,
  `${NOT} ${SEND}(?: me| us)?(?:(?: any)? (?:more|mais|mas))?${SOME} ${MESSAGES}${TAIL}`,
  `(?:nao|no) (?:me )?${SEND} (?:mais |mas )nada${END}`,
  `(?:nao|no) me ${SEND}(?: mais| mas)?(?: nada| ${THESE})(?: mais| mas)?${END}`,
  `do not send me (?:any ?thing|${THESE})${END}`,
  `nao (?:me )?(?:mand|envi)(?:e|em|a|ar) (?:mais|mas)(?: ${THESE})?${END}`,
  `no (?:me )?(?:mand|envi)(?:en|es|e) mas${END}`,
  `${STOP}(?: de)?(?: me)? ${SEND}(?: me| us)?(?: ${THESE}|${END})`,
  // Receiving, being contacted.
  `(?:${NOT_WANTED}|${STOP})${SOME} (?:receber|recebendo|recibir|recibiendo|receiv(?:e|ing)|get(?:ting)?)(?: mais| mas| any ?more)?(?:(?: mais)? nada| ${THESE}|${SOME} ${MESSAGES}${TAIL}|${END})`,
  `${NOT_WANTED}(?: mais| mas)?(?: to)? (?:be contacted|hear from|ser (?:incomodad|perturbad|contac?tad)[oa])`,
  `(?:gostaria de|prefiro) nao receber(?: mais)?${END}`,
  `nao (?:quero|desejo)(?: mais| mas)?(?: nenhum)? contato${END}`,
  `(?:nao quero|no quiero)(?: mais)? saber(?: mais| mas)? (?:de voces|de ustedes|de ${MESSAGES})`,
  `no (?:quiero|deseo) que me (?:escriban|contacten|llamen|manden)`,
  `(?:ya no|nao) me llegue nada`,
  // To contact somebody, as a command.
  `${STOP}(?: de)?(?: me)? (?:texting|messaging|contacting|spamming|bothering|writing|encher|perturbar|incomodar|importunar|escrever|escribir|molestar|contactar|fastidiar)`,
  `nao (?:me )?(?:incomod|perturb|importun|encha)(?:e|em|m)?\\b`,
  `nao (?:me )?(?:escrev(?:a|am)|procur(?:e|em)|ligu(?:e|em)|chame?m?) mais`,
  `nao entrem? mais em contato`,
  `no me (?:escrib|contact|molest|llam)(?:an|as|a|en|es|e)(?: mas)?${END}`,
  `favor (?:de )?no (?:escribir|contactar|molestar|llamar)${END}`,
  `no molest(?:en|es) mas`,
  `no (?:me )?vuelv(?:an|as|a) a (?:escribir|contactar|mandar|enviar|llamar)`,
  `(?:do not|never)(?: ever)? (?:text|message|contact|disturb|write|write to|call|email|bother) (?:me|us|this number)(?: again| any ?more|${END})`,
  `do not (?:message|text|contact)${END}`,
  // Off a list, out of a database.
  `(?:me (?:tir|remov|retir|exclu|descadastr)\\w{0,4}|tira eu|(?:tir|remov|retir|exclu)\\w{1,3}(?: o)? meu nome)${SOME} ${LIST}`,
  `(?:ser|be|sea|seja) (?:removid|retirad|excluid|eliminad|removed|deleted|taken)\\w*${SOME} ${LIST}`,
  `(?:sair|saio|saia)(?: d[ae]| dess[ae]| dest[ae])${SOME} ${LIST}`,
  `(?:tir|remov|retir|exclu|apag|descadastr)\\w{0,4} (?:o )?meu (?:numero|contato|telefone)\\b`,
  `exclusao do meu (?:numero|contato|telefone)`,
  `me descadastr\\w+`,
  `(?:remove|delete|erase) (?:me|us|(?:my|this) (?:phone )?number|my contact)(?:${END}| (?:from|off)${SOME} ${LIST})`,
  `take my number off${END}`,
  `dar de baja mi (?:numero|contacto)${END}`,
  `(?:take|get|want) (?:me|us|my (?:phone )?number|my name) (?:off|out of|from)${SOME} ${LIST}`,
  `(?:want|get) (?:off|out of) (?:this|your|the|that)${SOME} ${LIST}`,
  `(?:quit|sa(?:c|qu)|borr|elimin|remuev|retir)\\w{0,2}(?:me|nme)${SOME} ${LIST}`,
  `me (?:quit|sa(?:c|qu)|borr|elimin)(?:en|an|e|a) de${SOME} ${LIST}`,
  `(?:borr|elimin|quit)\\w{1,2} mi (?:numero|contacto|telefono)`,
  `salir de${SOME} ${LIST}`,
  // Subscriptions.
  `unsubscribe`,
  `opt (?:me )?out(?:${END}|${SOME} ${MESSAGES})`,
  `(?:did not|never) (?:sign(?:ed)? up|subscribed?|opt(?:ed)? in)(?: (?:to|for))?(?:${SOME} ${MESSAGES}| this(?:${END}| stop))`,
  `cancel(?:ar|a|e|em)(?: a| minha)? inscricao${END}`,
  `cancel(?:ar|a|e|en) (?:la )?suscripcion${END}`,
  `cancel(?:ar|a|e|em) o recebimento`,
  `(?:suspender|interromper|parar) o envio${END}`,
  `(?:darme|dame|deme|denme) de baja\\b(?! (?:el|la|mi|los|las|un|una)\\b)`,
  `me (?:\\w+ ){0,2}?(?:dar|doy|den|de) de baja\\b(?! (?:el|la|mi|los|las|un|una)\\b)`,
  `(?:quiero|solicito|pido) la baja(?:${END}|${SOME} (?:${MESSAGES}|${LIST}))`,
  // Out of patience.
  `vou (?:te |lhe )?(?:bloquear|denunciar)(?: (?:esse|este|seu|o))?(?: (?:numero|contato|voces))?${END}`,
  `(?:going to|gonna|i will|i am) block(?:ing)? (?:you|this number)`,
  `blocking (?:you|this number)`,
  `(?:los|lo|te) voy a bloquear${END}`,
  `voy a bloquear(?:los|lo|te)?(?: (?:este|su|ese))?(?: numero)?${END}`,
  `report(?:ing)? (?:this|you)(?: number)? (?:as|for) spam`,
  `deix(?:a|e|em) em paz${END}`,
  `leave me alone${END}`,
  `dej(?:en|a|e)me en paz${END}`,
  `esque[c]?(?:a|am|e) (?:o )?meu numero`,
  `lose my number${END}`,
  `olvid(?:en|a|e) mi numero${END}`,
  `make it stop`,
)

const PERSON_PHRASES: readonly RegExp[] = phrases(
  '(?:falar|conversar) com (?:um |uma |o |a |algum |alguma )?(?:atendente|humano|pessoa|alguem|operador[a]?|gente de verdade)\\b',
  '(?:quero|preciso de|chama|chame|passa para|transfere para) (?:um |uma |o |a )?(?:atendente|humano|atendimento humano|operador[a]?)\\b',
  '(?:talk|speak|chat|connect me|transfer me|put me through) (?:to|with) (?:a |an |the |some)?(?:real |live |human )?(?:human|person|agent|someone|somebody|one|representative|operator|people)\\b',
  '(?:want|need) (?:a |an )?(?:real |live |human )(?:person|agent|human)?',
  '(?:hablar|conversar|comunicarme|chatear) con (?:un |una |el |la |algun |alguna )?(?:humano|persona|alguien|asesora?|agente|operadora?|ejecutiv[oa])\\b',
  '(?:quiero|necesito|paseme con|pasame con) (?:un |una )?(?:asesora?|agente|humano|persona real|operadora?)\\b',
)

const OPT_IN_PHRASES: readonly RegExp[] = phrases(
  `^(?:sim )?quero (?:voltar a )?receber${SOME} ${MESSAGES}\\b`,
  `^(?:yes )?i (?:want|would like) to (?:receive|get)${SOME} ${MESSAGES}\\b`,
  `^(?:si )?quiero (?:volver a )?recibir${SOME} ${MESSAGES}\\b`,
  `^(?:resubscribe|opt me (?:back )?in|opt in)\\b`,
)

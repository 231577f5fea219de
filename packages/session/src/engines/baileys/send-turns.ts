/**
 * Lets the messages of an account leave in the order in which their keys for its own devices were made. The chats of an
 * account overlap, but all of them copy to its own phone, over one ratchet: a phone that meets message key 47 before 46
 * must keep the key it skipped, and Baileys alone never asks that of it.
 */
export class SendTurns {
  /** Settles when everything that has taken its place so far has left or failed. */
  #before: Promise<void> = Promise.resolve()

  /** A message that is about to be encrypted. */
  begin(): SendTurn {
    return new SendTurn((gone) => {
      const before = this.#before
      this.#before = before.then(() => gone)
      return before
    })
  }
}

/** The turn of one message. Whoever began it must end it: everybody behind waits for that. */
export class SendTurn {
  readonly #queue: (gone: Promise<void>) => Promise<void>
  readonly #gone = Promise.withResolvers<void>()
  #before: Promise<void> | undefined

  constructor(queue: (gone: Promise<void>) => Promise<void>) {
    this.#queue = queue
  }

  /** Its key is being made: everything that took its place earlier leaves earlier. The first call counts. */
  take(): void {
    this.#before ??= this.#queue(this.#gone.promise)
  }

  /** Resolves when it may leave; at once when it took no place. */
  async come(): Promise<void> {
    await this.#before
  }

  /** It has left, or never will. May be called again. */
  end(): void {
    this.#gone.resolve()
  }
}

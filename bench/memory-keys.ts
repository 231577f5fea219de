import { type AuthenticationState, initAuthCreds, type SignalDataTypeMap } from 'baileys'

/** A new account's credentials and keys in memory, gone with the process: the fastest there is, and the least safe. */
export function memoryKeys(): AuthenticationState {
  const store = new Map<string, unknown>()
  return {
    creds: initAuthCreds(),
    keys: {
      get: <T extends keyof SignalDataTypeMap>(
        type: T,
        ids: string[],
      ): { [id: string]: SignalDataTypeMap[T] } =>
        Object.fromEntries(
          ids.flatMap((id) => {
            const value = store.get(`${type}.${id}`)
            return value === undefined || value === null ? [] : [[id, value as SignalDataTypeMap[T]]]
          }),
        ),
      set: (data: Record<string, Record<string, unknown> | undefined>): void => {
        for (const [type, values] of Object.entries(data)) {
          for (const [id, value] of Object.entries(values ?? {})) store.set(`${type}.${id}`, value)
        }
      },
    },
  }
}

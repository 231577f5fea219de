import { type Clock, EclusaError, type InstanceId, type Logger, SECOND, sleep } from '@eclusa/kernel'
import { type Ownership, storageErrors } from '@eclusa/storage'

/** Longer than a lease lives: an owner that is gone for good has lost it by then. */
const PATIENCE_MS = 20 * SECOND
const RETRY_MS = SECOND / 2

/** Stands for the gateway as a whole: one process at a time serves a database. */
const GATEWAY = 'gateway' as InstanceId

/**
 * Makes this process the owner of the gateway's work and of all `instances`; waits for an owner that crashed on another
 * machine, whose lease must run out first.
 * @throws STORAGE_IN_USE when another gateway keeps them
 */
export async function ownInstances(
  ownership: Ownership,
  instances: readonly InstanceId[],
  { clock, log }: { readonly clock: Clock; readonly log: Logger },
): Promise<void> {
  const since = clock.now()
  for (const instance of [GATEWAY, ...instances]) {
    for (let first = true; !(await ownership.take(instance)); first = false) {
      if (clock.now() - since >= PATIENCE_MS) {
        throw new EclusaError(storageErrors.IN_USE, {
          message: 'Another Eclusa gateway serves this database; stop it first, or give this one its own',
        })
      }
      if (first) log.info({}, 'waiting for another gateway to let go of this database')
      await sleep(clock, RETRY_MS)
    }
  }
}

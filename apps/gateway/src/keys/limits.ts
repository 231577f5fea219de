/** Most keys there may be; all are held in memory, because every request asks. */
export const MAX_KEYS = 2000
/** Of one tenant, so that none takes all the places. */
export const MAX_KEYS_OF_TENANT = 100
/** Instances and address ranges that a key may be limited to. */
export const MAX_KEY_INSTANCES = 20
export const MAX_KEY_ADDRESSES = 16

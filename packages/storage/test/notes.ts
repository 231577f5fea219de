import type { Database, Migration, Statement } from '../src/index.ts'

/** One table, for tests that need any. */
export const migrations: readonly Migration[] = [
  {
    name: '001-test',
    sql: 'create table "Note" (id integer primary key, text text not null unique, bytes blob)',
    postgres: 'create table "Note" (id bigint primary key, text text not null unique, bytes bytea)',
  },
]

export const insert = (id: number, text = `note ${id}`): Statement => ({
  sql: 'insert into "Note" (id, text) values (?, ?)',
  params: [id, text],
})

export const ids = async (database: Database): Promise<readonly unknown[]> =>
  (await database.read('select id from "Note" order by id', [])).map((row) => row['id'])

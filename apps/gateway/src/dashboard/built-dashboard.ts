import { readFileSync } from 'node:fs'
import { z } from 'zod'

/** A file of the dashboard; its compressed forms lie beside it. */
export interface DashboardFile {
  /** On this disk. */
  readonly file: URL
  readonly type: string
  readonly etag: string
  /** Its name changes with what is in it. */
  readonly isImmutable: boolean
}

/** The dashboard as it was built, by address; null when it was not. */
export type BuiltDashboard = ReadonlyMap<string, DashboardFile>

const DIST: URL = new URL('../../../dashboard/dist/', import.meta.url)
const manifest = z.object({
  files: z.array(z.object({ path: z.string(), type: z.string(), etag: z.string() })).max(1000),
})

/** Reads the list of files that the build left; the files themselves are read when somebody asks for one. */
export function builtDashboard(folder: URL = DIST): BuiltDashboard | null {
  let text: string
  try {
    text = readFileSync(new URL('build.json', folder), 'utf8')
  } catch {
    return null
  }
  const { files } = manifest.parse(JSON.parse(text))
  return new Map(
    files.map(({ path, type, etag }) => [
      `/${path}`,
      { file: new URL(path, folder), type, etag, isImmutable: path.startsWith('assets/') },
    ]),
  )
}

import { createHash } from 'node:crypto'
import { globSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'

// Builds the dashboard into dist/ when its sources are not those of the last build. Compressed here, once, so that the
// gateway only hands files out.

const here = dirname(fileURLToPath(import.meta.url))
const dist = join(here, 'dist')
const manifestFile = join(dist, 'build.json')

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
}

const hash = sourcesHash()
if (hash !== builtHash()) await build()

function sourcesHash(): string {
  const files = globSync(['src/**/*', 'index.html', 'vite.config.ts', 'build.ts', 'package.json'], {
    cwd: here,
  })
  const sum = createHash('sha256')
  for (const file of files.toSorted()) {
    const path = join(here, file)
    if (statSync(path).isFile()) sum.update(file).update('\0').update(readFileSync(path)).update('\0')
  }
  return sum.digest('hex')
}

function builtHash(): string | null {
  try {
    return (JSON.parse(readFileSync(manifestFile, 'utf8')) as { readonly hash: string }).hash
  } catch {
    return null
  }
}

async function build(): Promise<void> {
  process.stdout.write('Building the dashboard (once, and when its sources change) … ')
  const begun = performance.now()
  const { build: bundle } = await import('vite')
  // Beside the old one, and in its place when it is whole: a gateway that starts meanwhile never sees a half.
  const folder = mkdtempSync(join(here, '.dist-'))
  try {
    await bundle({
      root: here,
      logLevel: 'warn',
      build: { outDir: folder, emptyOutDir: true },
    })
    const files = globSync('**/*', { cwd: folder })
      .filter((file) => statSync(join(folder, file)).isFile())
      .toSorted()
      .map((file) => compressed(folder, file.replaceAll('\\', '/')))
    writeFileSync(join(folder, 'build.json'), `${JSON.stringify({ hash, files }, null, 1)}\n`)
    rmSync(dist, { recursive: true, force: true })
    renameSync(folder, dist)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  process.stdout.write(`done in ${((performance.now() - begun) / 1000).toFixed(1)} s\n`)
}

/** Writes its two compressed forms beside it; returns its row of the manifest. */
function compressed(folder: string, path: string): object {
  const bytes = readFileSync(join(folder, path))
  const type = TYPES[extname(path)]
  if (type === undefined) throw new Error(`dist/${path} is of a kind that the gateway does not serve`)
  writeFileSync(join(folder, `${path}.gz`), gzipSync(bytes, { level: 9 }))
  const quality = { [constants.BROTLI_PARAM_QUALITY]: 11 }
  writeFileSync(join(folder, `${path}.br`), brotliCompressSync(bytes, { params: quality }))
  const etag = createHash('sha256').update(bytes).digest('base64url').slice(0, 22)
  return { path, type, etag }
}

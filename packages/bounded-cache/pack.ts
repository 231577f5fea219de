import { execFileSync } from 'node:child_process'
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'

/*
 * Makes what is published: `npm run build -w @eclusa/bounded-cache`, then `npm publish packages/bounded-cache/dist`. In
 * the repository the sources run as they are; Node does not do that below node_modules, so a package holds JavaScript.
 * `pack.ts FOLDER` makes it there.
 */

const here = import.meta.dirname
const folder = path.resolve(process.argv[2] ?? path.join(here, 'dist'))
rmSync(folder, { recursive: true, force: true })
const compiler = path.join(here, '../../node_modules/typescript/bin/tsc')
execFileSync(process.execPath, [compiler, '-p', path.join(here, 'tsconfig.build.json'), '--outDir', folder], {
  stdio: 'inherit',
})

const source = JSON.parse(readFileSync(path.join(here, 'package.json'), 'utf8')) as Record<string, unknown>
const { private: _private, scripts: _scripts, files: _files, exports, ...rest } = source
const published = {
  ...rest,
  exports: Object.fromEntries(
    Object.entries(exports as Record<string, string>).map(([name, file]) => {
      const base = file.replace('./src/', './').replace(/\.ts$/, '')
      return [name, { types: `${base}.d.ts`, default: `${base}.js` }]
    }),
  ),
}
writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(published, null, 2)}\n`)
copyFileSync(path.join(here, 'README.md'), path.join(folder, 'README.md'))
copyFileSync(path.join(here, '../../LICENSE'), path.join(folder, 'LICENSE'))

/** States how large each entry is in a page: bundled, minified, gzipped; peers are not counted. */

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

import { build } from 'esbuild'

const root = new URL('..', import.meta.url)

/** Bytes of each entry. */
export async function sizes() {
  const manifest = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'))
  const external = Object.keys(manifest.peerDependencies).flatMap((name) => [name, `${name}/*`])
  const found = {}
  for (const [entry, conditions] of Object.entries(manifest.exports)) {
    if (typeof conditions === 'string') continue
    const { outputFiles } = await build({
      entryPoints: [fileURLToPath(new URL(conditions['durable-source'], root))],
      bundle: true,
      minify: true,
      format: 'esm',
      target: 'es2022',
      jsx: 'automatic',
      write: false,
      external,
    })
    found[entry] = gzipSync(outputFiles[0].contents, { level: 9 }).length
  }
  return found
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const [entry, size] of Object.entries(await sizes())) {
    console.log(`${entry.padEnd(12)} ${(size / 1000).toFixed(1)} kB`)
  }
}

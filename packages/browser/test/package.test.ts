/** What is published: every entry is there, small enough, and used as the README says. */

import { existsSync, readFileSync } from 'node:fs'

import ts from 'typescript'
import { expect, test } from 'vitest'

// @ts-expect-error -- a script without types
import { sizes } from '../scripts/size.mjs'

const root = new URL('..', import.meta.url).pathname
const manifest = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
  exports: Record<string, Record<string, string> | string>
}
const readme = readFileSync(`${root}README.md`, 'utf8')

const BUDGET: Record<string, number> = {
  '.': 10_500,
  './ai-sdk': 12_500,
  './tanstack': 13_000,
  './session': 22_000,
  './react': 23_000,
}

test('each entry has a source, and what is compiled of it in its place', () => {
  for (const entry of Object.values(manifest.exports)) {
    if (typeof entry === 'string') continue
    const source = entry['durable-source'] ?? ''
    expect(existsSync(root + source)).toBe(true)
    const compiled = source.replace('/src/', '/dist/').replace(/\.tsx?$/, '')
    expect(entry).toMatchObject({ types: `${compiled}.d.ts`, default: `${compiled}.js` })
  }
})

test('entries are within their budget, and the README states their sizes', async () => {
  const found = (await sizes()) as Record<string, number>
  expect(Object.keys(found).sort()).toEqual(Object.keys(BUDGET).sort())
  for (const [entry, size] of Object.entries(found)) {
    expect(size, entry).toBeLessThan(BUDGET[entry] ?? 0)
    const stated = new RegExp(`\\| \`${entry.replace('.', 'durable-ai-browser')}\` \\| ([\\d.]+) kB`).exec(readme)
    expect(Math.abs(Number(stated?.[1]) - size / 1000), entry).toBeLessThan(1)
  }
})

test('the examples of the README are right', () => {
  const blocks = [...readme.matchAll(/^```tsx?\n([^]*?)^```$/gm)].map((found) => found[1] ?? '')
  expect(blocks.length).toBeGreaterThan(3)
  const names = blocks.map((_, index) => `${root}test/readme-${index}.tsx`)
  const { config } = ts.readConfigFile(`${root}tsconfig.json`, ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent(config, ts.sys, root)
  const host = ts.createCompilerHost(options)
  const { fileExists, readFile } = host
  const text = (name: string) => blocks[names.indexOf(name)]
  host.fileExists = (name) => text(name) !== undefined || fileExists(name)
  host.readFile = (name) => text(name) ?? readFile(name)
  const program = ts.createProgram(names, { ...options, noUnusedLocals: false }, host)
  const problems = ts.getPreEmitDiagnostics(program)
  expect(ts.formatDiagnostics(problems, host)).toBe('')
})

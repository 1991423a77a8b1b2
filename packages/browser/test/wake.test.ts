import './page.js'

import { expect, test } from 'vitest'

import { Broke, Connection } from '../src/connection.js'
import { sleep } from '../src/wake.js'

const HOUR = 3_600_000

test.each(['online', 'pageshow'])('%s ends a wait early', async (event) => {
  const waiting = sleep(HOUR, new AbortController().signal)
  window.dispatchEvent(new window.Event(event))
  expect(await waiting).toBe(true)
})

test('so does looking at the page again; time and an abort end it, too', async () => {
  const waiting = sleep(HOUR, new AbortController().signal)
  document.dispatchEvent(new window.Event('visibilitychange'))
  expect(await waiting).toBe(true)
  expect(await sleep(1, new AbortController().signal)).toBe(false)
  const controller = new AbortController()
  const aborted = sleep(HOUR, controller.signal)
  controller.abort()
  await expect(aborted).rejects.toMatchObject({ name: 'AbortError' })
})

test.each([
  ['online', 'from before the network changed is not trusted'],
  ['pagehide', 'is given back when the page is left'],
])('%s: a connection %s', async (event) => {
  const never: typeof fetch = (_, init) =>
    new Promise((_, reject) => {
      init?.signal?.addEventListener('abort', () => reject(init.signal?.reason as Error))
    })
  const connection = new Connection(never, new AbortController().signal)
  const opening = connection.open('http://any/', {}, HOUR)
  window.dispatchEvent(new window.Event(event))
  expect(await opening).toBeInstanceOf(Broke)
})

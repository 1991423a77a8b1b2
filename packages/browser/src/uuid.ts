/** Names and ids: the same text is the same UUID as in Python's `to_uuid`. */

const NIL = '00000000-0000-0000-0000-000000000000'
const CANONICAL = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/**
 * The UUID v5 of a name: the same text gives the same id on every machine.
 *
 * @param text Any text.
 * @param namespace A UUID; the nil UUID when absent, as in Python's `to_uuid`.
 * @throws TypeError when `namespace` is not a UUID.
 */
export function toUUID(text: string, namespace: string = NIL): string {
  if (!CANONICAL.test(namespace)) {
    throw new TypeError(`${JSON.stringify(namespace)} is not a UUID`)
  }
  const prefix = Uint8Array.from(namespace.replaceAll('-', '').match(/../g) ?? [], (pair) =>
    parseInt(pair, 16),
  )
  const name = new TextEncoder().encode(text)
  const whole = new Uint8Array(prefix.length + name.length)
  whole.set(prefix)
  whole.set(name, prefix.length)
  const hash = sha1(whole)
  hash[6] = (hash[6]! & 0x0f) | 0x50
  hash[8] = (hash[8]! & 0x3f) | 0x80
  return format(hash)
}

/** A UUID as it is (in lower case); any other text as the UUID v5 that stands for it. */
export function wireId(text: string): string {
  return CANONICAL.test(text) ? text.toLowerCase() : toUUID(text)
}

/** A random UUID v4, also on pages without TLS, where `crypto.randomUUID` is missing. */
export function randomUUID(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[6] = (bytes[6]! & 0x0f) | 0x40
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  return format(bytes)
}

function format(bytes: Uint8Array): string {
  const hex = Array.from(bytes.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('')
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

// FIPS 180-4. The one in `crypto.subtle` is asynchronous, and missing on pages without TLS.
function sha1(message: Uint8Array): Uint8Array {
  const length = (((message.length + 8) >> 6) + 1) << 6
  const padded = new Uint8Array(length)
  padded.set(message)
  padded[message.length] = 0x80
  const view = new DataView(padded.buffer)
  view.setUint32(length - 8, Math.floor(message.length / 0x2000_0000))
  view.setUint32(length - 4, (message.length << 3) >>> 0)
  const state = [0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0]
  const w = new Int32Array(80)
  for (let block = 0; block < length; block += 64) {
    for (let i = 0; i < 16; i++) w[i] = view.getInt32(block + 4 * i)
    for (let i = 16; i < 80; i++) w[i] = rotate(w[i - 3]! ^ w[i - 8]! ^ w[i - 14]! ^ w[i - 16]!, 1)
    let [a, b, c, d, e] = state as [number, number, number, number, number]
    for (let i = 0; i < 80; i++) {
      const [f, k] =
        i < 20
          ? [(b & c) | (~b & d), 0x5a827999]
          : i < 40
            ? [b ^ c ^ d, 0x6ed9eba1]
            : i < 60
              ? [(b & c) | (b & d) | (c & d), 0x8f1bbcdc]
              : [b ^ c ^ d, 0xca62c1d6]
      const next = (rotate(a, 5) + f + e + k + w[i]!) | 0
      ;[a, b, c, d, e] = [next, a, rotate(b, 30), c, d]
    }
    for (const [i, value] of [a, b, c, d, e].entries()) state[i] = (state[i]! + value) | 0
  }
  const digest = new DataView(new ArrayBuffer(20))
  for (const [i, value] of state.entries()) digest.setInt32(4 * i, value)
  return new Uint8Array(digest.buffer)
}

function rotate(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits))
}

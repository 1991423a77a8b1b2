/** A page for React, with the fetch, the streams and the clock of Node. Import it before `react-dom`. */

import { Window } from 'happy-dom'

const page = new Window({ url: 'http://localhost/' })
const given = { window: page, document: page.document, navigator: page.navigator, IS_REACT_ACT_ENVIRONMENT: false }
for (const [name, value] of Object.entries(given)) {
  Object.defineProperty(globalThis, name, { value, configurable: true, writable: true })
}

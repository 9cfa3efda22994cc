// What a server renders, and that a page goes on from there.
// @vitest-environment happy-dom

import { act } from '@testing-library/react';
import { hydrateRoot } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { useConnection, useDraft, useDrafts, usePresence, useTopic } from '../../src/react/index.js';
import { drafts } from '../../src/drafts/index.js';
import { client, Network } from '../support/client.js';
import { Node } from '../support/node.js';
import { complaints, inStrictMode, shown } from './app.js';

let node: Node;
beforeAll(async () => {
  node = await Node.start();
});
afterAll(() => node.remove());

function Page() {
  const { state, pendingCount } = useConnection();
  const { drafts: orders, loaded } = useDrafts<{ title: string }>('order');
  const { draft } = useDraft<{ title: string }>('order', 'a');
  const topic = useTopic('match:1', { presence: true });
  const users = usePresence('match:1')?.users ?? '-';
  const facts = [state.status, pendingCount, loaded, orders.length, draft?.content.title ?? '-', topic.state.status, users];
  return <p>{facts.join(' ')}</p>;
}

test('a server renders what is known before anything is, connects to nothing, and the page goes on from there', async () => {
  const network = new Network();
  const dw = client(node, 'alice', { network });
  await dw.ready();
  await drafts(dw, 'order').create({ title: 'Chairs' }, { id: 'a' }).settled();
  const rendering = client(node, 'alice', { connect: false, network });
  const html = renderToString(inStrictMode(rendering, <Page />));
  expect(html).toBe('<p>offline 0 false 0 - waiting -</p>');
  expect(network.size).toBe(1);
  rendering.close();

  document.body.innerHTML = `<div>${html}</div>`;
  const container = document.body.firstElementChild!;
  // A page that knows more already, as one does whose store was read in time, says it after it is hydrated.
  const root = await act(async () => hydrateRoot(container, inStrictMode(dw, <Page />), { onRecoverableError: (error) => complaints.push([error]) }));
  await shown(() => container.textContent === 'live 0 true 1 Chairs live 1');
  act(() => root.unmount());
  dw.close();
  expect(complaints).toEqual([]);
});

test('a hook without a provider says what is missing', () => {
  expect(() => renderToString(<Page />)).toThrow('DraftwireProvider');
});

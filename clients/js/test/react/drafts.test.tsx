// @vitest-environment happy-dom
// Drafts and the connection as hooks, over a real node.

import { act } from '@testing-library/react';
import { memo } from 'react';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { drafts, type DraftSnapshot } from '../../src/drafts/index.js';
import { useConnection, useDraft, useDrafts, type Connection, type UsedDraft, type UsedDrafts } from '../../src/react/index.js';
import { client } from '../support/client.js';
import { Node } from '../support/node.js';
import { complaints, kept, mount, shown, unmountAll } from './app.js';

interface Order {
  title: string;
  quantity: number;
}

let node: Node;
beforeAll(async () => {
  node = await Node.start();
});
afterAll(() => node.remove());
afterEach(() => {
  unmountAll();
  expect(complaints.splice(0)).toEqual([]);
});

const device = (user: string, name: string) => kept(client(node, user, { device: name }));

test('a list shows what is made here and what comes from another device', async () => {
  let used!: UsedDrafts<Order>;
  function Orders() {
    used = useDrafts<Order>('order');
    return <ul>{used.drafts.map(({ id, content }) => <li key={id}>{content.quantity} {content.title}</li>)}</ul>;
  }
  mount(device('alice', 'phone'), <Orders />);
  const rows = () => [...document.querySelectorAll('li')].map(({ textContent }) => textContent);
  act(() => void used.create({ title: 'Chairs', quantity: 4 }, { id: 'a' }));
  expect(rows()).toEqual(['4 Chairs']);
  const other = drafts<Order>(device('alice', 'laptop'), 'order');
  const theirs = await shown(() => other.get('a'));
  theirs.update({ quantity: 6 });
  other.create({ title: 'Tables', quantity: 1 }, { id: 'b' });
  await shown(() => rows().join() === '6 Chairs,1 Tables');
  act(() => void used.delete('a'));
  expect(rows()).toEqual(['1 Tables']);
  expect(() => used.update('a', { quantity: 7 })).toThrow(expect.objectContaining({ code: 'not_found' }));
  await shown(() => other.list.length === 1);
});

test('only what has changed is rendered again', async () => {
  const dw = device('bob', 'phone');
  const renders: Record<string, number> = {};
  const rendered = (name: string) => (renders[name] = (renders[name] ?? 0) + 1);
  let connection!: Connection;
  const Row = memo(({ draft }: { draft: DraftSnapshot<Order> }) => <li>{rendered(draft.id)}</li>);
  function List() {
    rendered('list');
    return useDrafts<Order>('order').drafts.map((draft) => <Row key={draft.id} draft={draft} />);
  }
  function One() {
    rendered('one');
    useDraft<Order>('order', 'b');
    return null;
  }
  function Status() {
    connection = useConnection();
    return null;
  }
  mount(dw, [<List key="list" />, <One key="one" />, <Status key="status" />]);
  const [orders, notes] = [drafts<Order>(dw, 'order'), drafts(dw, 'note')];
  await act(async () => {
    const made = ['a', 'b'].map((id) => orders.create({ title: id, quantity: 1 }, { id }));
    await Promise.all(made.map((draft) => draft.settled()));
  });
  expect(connection).toMatchObject({ state: { status: 'live' }, storage: { kind: 'memory' }, pendingCount: 0 });
  let before = { ...renders };
  await act(async () => {
    orders.get('a')!.update({ quantity: 2 });
    await orders.get('a')!.settled();
  });
  expect(renders).toMatchObject({ b: before.b, one: before.one });
  expect(renders.a).toBeGreaterThan(before.a!);
  before = { ...renders };
  // An event of another kind moves the position of the user's stream, which is nothing to show here.
  await act(() => notes.create({ text: 'none of the list' }).settled());
  expect(renders).toEqual(before);
});

test('one draft is shown before it is there, edited, conflicting, and gone', async () => {
  const dw = device('carol', 'phone');
  let used!: UsedDraft<Order>;
  function One({ id }: { id: string | null }) {
    used = useDraft<Order>('order', id);
    return null;
  }
  const { show } = mount(dw, <One id={null} />);
  await shown(() => used.loaded);
  expect(used.draft).toBeUndefined();
  expect(() => used.delete()).toThrow(expect.objectContaining({ code: 'not_found' }));
  show(<One id="a" />);
  const other = drafts<Order>(device('carol', 'laptop'), 'order');
  const theirs = other.create({ title: 'Chairs', quantity: 4 }, { id: 'a' });
  await shown(() => used.draft?.content.quantity === 4);
  dw.disconnect();
  act(() => void used.update({ quantity: 5 }));
  expect(used.draft).toMatchObject({ content: { title: 'Chairs', quantity: 5 } });
  await theirs.update({ quantity: 6 }).acknowledged();
  dw.connect();
  const [conflict] = (await shown(() => used.draft?.status === 'conflict' && used.draft)).conflicts;
  expect(conflict).toMatchObject({ mine: { quantity: 5 }, theirs: { quantity: 6 } });
  act(() => conflict!.keepTheirs());
  expect(used.draft).toMatchObject({ status: 'synced', content: { quantity: 6 } });
  act(() => void used.delete());
  expect(used.draft).toBeUndefined();
  show(<One id="a" />, device('somebody else', 'phone'));
  await shown(() => used.loaded);
  expect(used.draft).toBeUndefined();
});

test('the types are those of the application', () => {
  // Checked by `tsc`, never called.
  void function Types() {
    const { draft, update } = useDraft<Order>('order', 'a');
    const { drafts: list, create } = useDrafts<Order>('order');
    // @ts-expect-error: there may be no draft
    draft.content;
    // @ts-expect-error: no such field
    list[0]?.content.colour;
    // @ts-expect-error: of another type
    update({ quantity: 'six' });
    // @ts-expect-error: not the whole content
    create({ title: 'Chairs' });
    return update({ quantity: 6, title: draft?.content.title ?? '' });
  };
});

// What becomes of published events over restarts, and of clients that live shortly.

import 'fake-indexeddb/auto';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { drafts } from '../src/drafts/index.js';
import { memory, type Unpublished } from '../src/index.js';
import { indexedDb } from '../src/indexeddb/index.js';
import { client, eventually, Network, states } from './support/client.js';
import { Node } from './support/node.js';

let node: Node;
beforeAll(async () => {
  node = await Node.start();
});
afterAll(() => node.remove());

const history = async (topic: string) => (await node.api('GET', `v1/topics/${topic}/events`, node.token('reader'))).events;

test('events that were published offline are sent after a restart, in their order, once', async () => {
  const first = client(node, 'alice', { store: indexedDb('alice'), connect: false });
  for (let n = 1; n <= 20; n += 1) void first.publish('offline', 'GOAL', n);
  await eventually(() => first.pendingCount === 20);
  first.close();
  const second = client(node, 'alice', { store: indexedDb('alice') });
  await eventually(() => second.state.status === 'live' && second.pendingCount === 0);
  expect((await history('offline')).map(({ payload }: { payload: number }) => payload)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  second.close();
});

test('a refusal whose page is gone is told to the next one', async () => {
  const store = memory();
  const first = client(node, 'bob', { store, connect: false });
  void first.publish('secret', 'GOAL', 1);
  first.close();
  const second = client(node, 'bob', { store, getToken: () => node.token('bob', { scope: '' }) });
  const told: Unpublished[] = [];
  await eventually(() => second.pendingCount === 0);
  second.onUnpublished((unpublished) => told.push(unpublished));
  await eventually(() => told.length === 1);
  expect(told[0]).toMatchObject({ topic: 'secret', type: 'GOAL', data: 1, error: { code: 'forbidden' } });
  second.onUnpublished(() => expect.unreachable());
  second.close();
});

test('an event whose answer is missing for a day is not sent again', async () => {
  const [store, network] = [memory(), new Network()];
  const first = client(node, 'carol', { store, network });
  await first.publish('day', 'GOAL', 0);
  // It is on its way when the connection is lost.
  const published = first.publish('day', 'GOAL', 1);
  await Promise.resolve();
  network.cut();
  first.close();
  await expect(published).rejects.toMatchObject({ code: 'closed' });
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 86_400_000 });
  const second = client(node, 'carol', { store });
  const told: Unpublished[] = [];
  second.onUnpublished((unpublished) => told.push(unpublished));
  await eventually(() => told.length === 1);
  vi.useRealTimers();
  expect(told[0]).toMatchObject({ error: { code: 'unknown_outcome' } });
  second.close();
});

test('a client that is closed at once leaves nothing behind', async () => {
  const errors: unknown[] = [];
  for (let i = 0; i < 20; i += 1) {
    const dw = client(node, 'dave', { store: indexedDb('dave'), onError: (error) => errors.push(error) });
    void dw.ready();
    drafts(dw, 'order').create({ n: i });
    void dw.topic('room').publish('GOAL', 1);
    dw.close();
    expect(dw.state.status).toBe('offline');
    dw.connect();
    expect(dw.state.status).toBe('offline');
  }
  const dw = client(node, 'dave', { store: indexedDb('dave'), onError: (error) => errors.push(error) });
  const orders = drafts(dw, 'order');
  await eventually(() => dw.pendingCount === 0 && orders.list.length === 20);
  expect(errors).toEqual([]);
  dw.close();
});

test('drafts that are asked for late are there, and what was missed before is in them', async () => {
  const [store, token] = [memory(), node.token('erin')];
  const first = client(node, 'erin', { store });
  await drafts(first, 'order').create({ n: 1 }, { id: 'one' }).settled();
  first.close();
  await node.api('POST', 'v1/drafts', token, { draftId: 'two', kind: 'order', content: { n: 2 } });
  const second = client(node, 'erin', { store });
  await second.ready();
  await node.api('POST', 'v1/drafts', token, { draftId: 'three', kind: 'order', content: { n: 3 } });
  const orders = drafts<{ n: number }>(second, 'order');
  await eventually(() => orders.list.length === 3);
  expect(orders.list.map(({ id, content }) => [id, content.n])).toEqual([['one', 1], ['three', 3], ['two', 2]]);
  expect(orders.loaded).toBe(true);
  second.close();
});

test('too many changes that wait are refused, and nothing that was taken is lost', async () => {
  const dw = client(node, 'frank', { connect: false });
  for (let n = 0; n < 10_000; n += 1) void dw.publish('many', 'GOAL', n);
  expect(dw.pendingCount).toBe(10_000);
  await expect(dw.publish('many', 'GOAL', -1)).rejects.toMatchObject({ code: 'queue_full' });
  expect(() => drafts(dw, 'order').create({})).toThrow(expect.objectContaining({ code: 'queue_full' }));
  dw.connect();
  await eventually(() => dw.pendingCount === 0);
  dw.close();
});

test('an event waits for the code that sends it, where that does not load at first', async () => {
  let loads = 0;
  vi.doMock('../src/session/command_queue.js', async (original) => {
    loads += 1;
    if (loads === 1) throw new Error('the network is gone');
    return original();
  });
  vi.resetModules();
  const { Draftwire } = await import('../src/index.js');
  const errors: unknown[] = [];
  const dw = new Draftwire(node.url, {
    getToken: () => node.token('erin'), environment: { WebSocket: new Network().WebSocket }, onError: (error) => errors.push(error),
  });
  expect(await dw.publish('late', 'GOAL', 1)).toEqual({ seq: 1 });
  expect(loads).toBe(2);
  expect(errors).toMatchObject([{ code: 'unreachable' }]);
  dw.close();
  vi.doUnmock('../src/session/command_queue.js');
});

test('the code that sends events is loaded with a connection, and a client that is closed does not wait for it', async () => {
  let loads = 0;
  let fail!: () => void;
  vi.doMock('../src/session/command_queue.js', async () => {
    loads += 1;
    await new Promise<void>((resolve) => {
      fail = resolve;
    });
    throw new Error('the network is gone');
  });
  vi.resetModules();
  const { Draftwire } = await import('../src/index.js');
  const errors: unknown[] = [];
  const network = new Network();
  network.cut();
  let wake = () => {};
  const onWake = (listener: () => void) => {
    wake = listener;
    return () => {};
  };
  const dw = new Draftwire(node.url, {
    getToken: () => node.token('erin'),
    transport: 'websocket',
    environment: { WebSocket: network.WebSocket, onWake },
    onError: (error) => errors.push(error),
  });
  await eventually(() => dw.state.status === 'waiting');
  const seen = states(dw);
  void dw.publish('late', 'GOAL', 2);
  wake();
  await eventually(() => seen.some(({ status }) => status === 'connecting') && dw.state.status === 'waiting');
  expect(loads).toBe(0);
  network.mend();
  wake();
  await eventually(() => loads === 1);
  dw.close();
  fail();
  // Everything that follows from it has happened by then.
  await new Promise((resolve) => setImmediate(resolve));
  expect(loads).toBe(1);
  expect(errors).toEqual([]);
  vi.doUnmock('../src/session/command_queue.js');
});

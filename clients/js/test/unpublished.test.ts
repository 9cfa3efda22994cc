// Whom a refused event is told to where tabs come and go: who has published it, or else whoever handles such events.

import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Draftwire } from '../src/index.js';
import { FakeServer } from '../src/testing/index.js';
import { Origin, type Tab } from './support/tabs.js';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Time passes, and messages between tabs arrive. */
async function pass(ms: number): Promise<void> {
  for (let step = 0; step < 20; step += 1) {
    await vi.advanceTimersByTimeAsync(ms / 20);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

interface Page {
  readonly tab: Tab;
  readonly dw: Draftwire;
  readonly told: unknown[];
}

function open(origin: Origin, server: FakeServer): Page {
  const tab = origin.open();
  const told: unknown[] = [];
  // In the background none takes the connection from another one that says nothing.
  const environment = { ...server.environment, isVisible: () => false };
  const dw = new Draftwire('https://sync.example.com', { getToken: () => 'alice', environment, transport: 'websocket', store: tab.store });
  dw.onUnpublished(({ data, error }) => told.push([data, error.code]));
  return { tab, dw, told };
}

/** Two tabs, of which the first has the connection, and an event of the other that the server is about to refuse. */
async function published() {
  const [origin, server] = [new Origin(), new FakeServer()];
  const pages = [open(origin, server), open(origin, server)];
  await pass(1_000);
  const leading = pages.find(({ tab }) => tab === origin.leader)!;
  const publishing = pages.find(({ tab }) => tab !== origin.leader)!;
  server.goDown();
  await pass(100);
  const answer = publishing.dw.publish('room', 'GOAL', 1);
  await pass(100);
  expect(leading.dw.pendingCount).toBe(1);
  server.refuseNext('forbidden');
  return { origin, server, leading, publishing, answer };
}

test('who has published it, and nobody else', async () => {
  const { origin, server, leading, publishing, answer } = await published();
  server.comeUp();
  await pass(40_000);
  await expect(answer).rejects.toMatchObject({ code: 'forbidden' });
  await pass(200_000);
  expect([leading.told, publishing.told]).toEqual([[], []]);
  expect([...(await origin.store.load()).records.keys()].filter((key) => key.startsWith('unpublished/'))).toEqual([]);
  for (const { dw } of [leading, publishing]) dw.close();
});

test('the tabs that are left, once the one that has published it is known to be gone', async () => {
  const { server, leading, publishing } = await published();
  publishing.tab.kill();
  server.comeUp();
  await pass(40_000);
  expect(leading.dw.pendingCount).toBe(0);
  expect(leading.told).toEqual([]);
  await pass(150_000);
  expect(leading.told).toEqual([[1, 'forbidden']]);
  leading.dw.close();
});

test('the tab that is opened next, where all were gone before', async () => {
  const { origin, server, leading, publishing } = await published();
  publishing.tab.kill();
  server.comeUp();
  await pass(40_000);
  leading.tab.kill();
  leading.dw.close();
  const next = open(origin, server);
  await pass(15_000);
  expect([leading.told, next.told]).toEqual([[], [[1, 'forbidden']]]);
  next.dw.close();
});

test('a tab that says that it goes is gone', async () => {
  const { server, leading, publishing, answer } = await published();
  // The refusal comes before it hears of it.
  publishing.tab.freeze();
  server.comeUp();
  await pass(40_000);
  expect(leading.told).toEqual([]);
  publishing.dw.close();
  await expect(answer).rejects.toMatchObject({ code: 'closed' });
  await pass(100);
  expect(leading.told).toEqual([[1, 'forbidden']]);
  leading.dw.close();
});

test('who has published it, also where it was frozen meanwhile and has lost messages', async () => {
  const { server, leading, publishing, answer } = await published();
  publishing.tab.freeze();
  server.comeUp();
  await pass(40_000);
  publishing.tab.thaw({ lost: true });
  // What it stores next brings what was stored meanwhile.
  void publishing.dw.publish('room', 'GOAL', 2);
  await expect(answer).rejects.toMatchObject({ code: 'forbidden' });
  await pass(200_000);
  expect(leading.told).toEqual([]);
  for (const { dw } of [leading, publishing]) dw.close();
});

// Records that several clients share, and stores that fail.

import 'fake-indexeddb/auto';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { drafts } from '../src/drafts/index.js';
import { DraftwireError, type StorageState } from '../src/index.js';
import { IndexedDbBackend } from '../src/indexeddb/backend.js';
import { persistent, type Backend } from '../src/store/index.js';
import type { Records } from '../src/store/records.js';
import { client, eventually } from './support/client.js';
import { Node } from './support/node.js';
import { Origin } from './support/tabs.js';

let node: Node;
beforeAll(async () => {
  node = await Node.start();
});
afterAll(() => node.remove());

const nobody = { changed: () => {}, failed: (error: unknown) => expect(error).toBeUndefined(), cleared: () => {} };

/** Adds one to a number, and notes who did. */
function add(records: Records, key: string, name: string): Promise<void> {
  return records.run((edit) => {
    edit.put(key, (edit.get<number>(key) ?? 0) + 1);
    edit.put(`log/${String((edit.get<number>('meta/log') ?? 0) + 1).padStart(6, '0')}`, name);
    edit.put('meta/log', (edit.get<number>('meta/log') ?? 0) + 1);
  });
}

test('steps of several clients are all done, once, and all clients see the same', async () => {
  const plan = fc.array(fc.record({ by: fc.nat(2), key: fc.constantFrom('a/1', 'a/2'), turns: fc.nat(3) }), { maxLength: 40 });
  await fc.assert(fc.asyncProperty(plan, async (steps) => {
    const origin = new Origin();
    const clients = [origin.open(), origin.open(), origin.open()].map(({ store }) => store.open(nobody));
    await Promise.all(clients.map(({ loaded }) => loaded));
    const done: Promise<void>[] = [];
    for (const [i, { by, key, turns }] of steps.entries()) {
      done.push(add(clients[by]!, key, `${i}`));
      for (let turn = 0; turn < turns; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(done);
    const { records } = await origin.store.load();
    const log = [...records].filter(([key]) => key.startsWith('log/')).map(([, value]) => Number(value));
    expect([...log].sort((a, b) => a - b)).toEqual(steps.map((_, i) => i));
    // Those of one client stay in their order.
    for (const by of [0, 1, 2]) {
      const own = log.filter((i) => steps[i]!.by === by);
      expect(own).toEqual([...own].sort((a, b) => a - b));
    }
    await eventually(() => clients.every((each) => each.count('log') === steps.length));
    for (const each of clients) {
      for (const key of ['a/1', 'a/2']) expect(each.get(key)).toBe(steps.filter((step) => step.key === key).length || undefined);
      expect([...each.list('log')]).toEqual(log.map(String));
    }
  }), { numRuns: 60 });
});

test('IndexedDB makes a commit whole, and only for who has seen the one before', async () => {
  const [one, two] = [new IndexedDbBackend('commits'), new IndexedDbBackend('commits')];
  expect(await one.load()).toEqual({ revision: 0, records: new Map() });
  expect(await one.commit(0, new Map([['a/1', 1], ['a/2', 2]]))).toBe(true);
  expect(await two.commit(0, new Map([['a/1', 9]]))).toBe(false);
  expect(await two.load()).toEqual({ revision: 1, records: new Map([['a/1', 1], ['a/2', 2]]) });
  expect(await two.commit(1, new Map<string, unknown>([['a/1', undefined], ['b/1', { x: 1 }]]))).toBe(true);
  // What cannot be stored leaves everything as it was.
  await expect(one.commit(2, new Map<string, unknown>([['c/1', 1], ['c/2', () => {}]]))).rejects.toMatchObject({ code: 'storage' });
  expect(await one.load()).toEqual({ revision: 2, records: new Map<string, unknown>([['a/2', 2], ['b/1', { x: 1 }]]) });
  await one.clear();
  expect((await two.load()).records.size).toBe(0);
  one.close();
  two.close();
});

const refusing = (commits: number): Backend => {
  let revision = 0;
  return {
    load: async () => {
      if (commits < 0) throw new DOMException('not in a private window', 'SecurityError');
      return { revision, records: new Map() };
    },
    commit: async () => {
      if (revision >= commits) throw new DOMException('the disk is full', 'QuotaExceededError');
      revision += 1;
      return true;
    },
    clear: async () => {},
    close: () => {},
  };
};

test.each([['forbidden', -1], ['full at once', 0], ['full later', 5]])('a store that is %s is replaced by memory, which is said', async (name, commits) => {
  const user = name.replaceAll(' ', '-');
  const errors: unknown[] = [];
  const dw = client(node, user, { store: persistent(refusing(commits)), onError: (error) => errors.push(error) });
  const storage: StorageState[] = [];
  dw.subscribe(() => storage.push(dw.storage));
  const orders = drafts<{ n: number }>(dw, 'order');
  const order = orders.create({ n: 0 });
  for (let n = 1; n <= 10; n += 1) {
    await order.update({ n }).stored;
    await order.settled();
  }
  expect(dw.storage).toMatchObject({ kind: 'memory', error: { code: 'storage' } });
  expect(storage.at(-1)).toBe(dw.storage);
  expect(errors).toEqual([expect.any(DraftwireError)]);
  await eventually(() => order.status === 'synced');
  expect((await node.api('GET', 'v1/drafts', node.token(user))).drafts).toMatchObject([{ content: { n: 10 } }]);
  await dw.publish('room', 'GOAL');
  dw.close();
});

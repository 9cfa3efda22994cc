// Histories, against real nodes: whole ones, ones that retention has cut, ones that were replaced.

import { afterAll, expect } from 'vitest';
import { ForbiddenError, type HistoryItem } from '../../src/server/index.js';
import { brief, minter, range, removeShared, test, ticks, until } from './fixture.js';

afterAll(removeShared);

async function take(items: AsyncIterator<HistoryItem>, count: number): Promise<unknown[]> {
  const taken: unknown[] = [];
  for (let n = 0; n < count; n += 1) {
    const { value } = await items.next();
    taken.push(value.kind === 'event' ? value.data : value);
  }
  return taken;
}

test('it is read page by page to its head', async ({ dw, topic }) => {
  await dw.publishStream(topic, ticks(25));
  for (const pageSize of [1, 10, 25, 1000]) {
    expect(await brief(dw.history(topic, null, { pageSize }))).toEqual(range(25));
  }
  expect(await brief(dw.history(`${topic}-empty`))).toEqual([]);
});

test('the cursor is behind what was given', async ({ dw, topic }) => {
  await dw.publishStream(topic, ticks(10));
  const history = dw.history(topic, null, { pageSize: 4 });
  expect(history.cursor).toBeNull();
  await take(history, 6);
  expect(history.cursor).toMatch(/^[0-9a-f]+:6$/);
  expect(history.head).toMatch(/^[0-9a-f]+:10$/);
  const rest = dw.history(topic, history.cursor, { pageSize: 4 });
  expect(await brief(rest)).toEqual([6, 7, 8, 9]);
  const epoch = history.cursor?.split(':')[0];
  expect(rest.cursor).toBe(`${epoch}:10`);

  // At the head, also of an empty topic, there is a cursor to come back with.
  const later = dw.history(topic, rest.cursor);
  expect(await brief(later)).toEqual([]);
  await dw.publish(topic, 'TICK', 10);
  expect(await later.next()).toEqual({ done: true, value: undefined });
  expect(await brief(dw.history(topic, later.cursor))).toEqual([10]);
  const empty = dw.history(`${topic}-empty`);
  expect(empty.head).toBeNull();
  expect(await brief(empty)).toEqual([]);
  expect(empty.head).toBe(`${epoch}:0`);
  expect(empty.cursor).toBe(`${epoch}:0`);
});

test('events that retention has removed are reported', async ({ start, connect }) => {
  const node = await start({ RETENTION_TOPIC_EVENTS: '10', RETENTION_INTERVAL: '50ms' });
  const dw = connect(node.url);
  const isCut = async () => (await brief(dw.history('ticker'))).length === 10;
  await dw.publish('ticker', 'TICK', 0);
  const first = dw.history('ticker', null, { pageSize: 1 });
  expect(await take(first, 1)).toEqual([0]);
  await dw.publishStream('ticker', ticks(99, 1));
  await until('the log is cut', isCut);

  // Who begins has missed nothing; who comes back has.
  expect(await brief(dw.history('ticker'))).toEqual(range(10, 90));
  expect(await brief(dw.history('ticker', first.cursor))).toEqual([{ kind: 'missed', before: 91 }, ...range(10, 90)]);
  const again = dw.history('ticker', first.cursor, { pageSize: 3 });
  expect(await take(again, 1)).toEqual([{ kind: 'missed', before: 91 }]);
  expect(again.cursor).toMatch(/:90$/);
  // Also when all that was missed is gone while it is read.
  await dw.publishStream('ticker', ticks(100, 100));
  await until('the log is cut', isCut);
  expect(await brief(again)).toEqual([90, 91, 92, { kind: 'missed', before: 191 }, ...range(10, 190)]);
});

test('a log of which nothing is left says so', async ({ start, connect }) => {
  const node = await start({ RETENTION_TOPIC_AGE: '1ms', RETENTION_INTERVAL: '50ms' });
  const dw = connect(node.url);
  const before = dw.history('ticker');
  expect(await brief(before)).toEqual([]);
  await dw.publishStream('ticker', ticks(3));
  await until('the log is empty', async () => (await brief(dw.history('ticker'))).length === 0);
  const history = dw.history('ticker', before.cursor);
  expect(await brief(history)).toEqual([{ kind: 'missed', before: 4 }]);
  expect(history.cursor).toMatch(/:3$/);
});

test('another history is reported and read from its beginning', async ({ start, connect }) => {
  const node = await start();
  const dw = connect(node.url);
  await dw.publishStream('ticker', ticks(10));
  const history = dw.history('ticker', null, { pageSize: 3 });
  expect(await take(history, 2)).toEqual([0, 1]);
  const [old] = history.cursor?.split(':') ?? [];
  await node.terminate();
  await node.start('restored');
  await dw.publishStream('ticker', ticks(3, 100));

  // What the page held, then the new history.
  const [last, changed, ...rest] = (await brief(history)) as [number, { epoch: string }, ...number[]];
  expect(last).toBe(2);
  expect(changed).toEqual({ kind: 'history_changed', epoch: expect.any(String), head: 3, floor: 0 });
  expect(changed.epoch).not.toBe(old);
  expect(rest).toEqual([100, 101, 102]);
  expect(history.cursor).toBe(`${changed.epoch}:3`);

  // A cursor beyond the head is no position, either.
  expect(await take(dw.history('ticker', `${changed.epoch}:7`), 2)).toEqual([changed, 100]);
});

test('bad input is refused', async ({ dw, topic }) => {
  const publisher = dw.withOptions({ token: await minter.mint('desk', ['service']) });
  await expect(publisher.history(topic).next()).rejects.toBeInstanceOf(ForbiddenError);
  for (const pageSize of [0, 1001]) {
    await expect(dw.history(topic, null, { pageSize }).next()).rejects.toThrow('limit must be 1 to 1000');
  }
  await expect(dw.history('two words').next()).rejects.toThrow('topic must be');
  for (const text of ['', '7f3a', '7f3a:', ':7', '7f3a:-1', '7f3a:x', '7f3a:1\n', 'a:b:1']) {
    expect(() => dw.history(topic, text)).toThrow('is no cursor');
  }
  await expect(dw.history(topic, 'two words:7').next()).rejects.toThrow('cursor');
});

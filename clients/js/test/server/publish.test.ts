// Publishing, against a real node.

import { afterAll, expect } from 'vitest';
import {
  ALL,
  BadRequestError,
  DraftwireError,
  ForbiddenError,
  InvalidRequestError,
  type Line,
  RequestError,
  TooLargeError,
  UnauthorizedError,
  UnexpectedAnswerError,
  user,
} from '../../src/server/index.js';
import { brief, failure, minter, range, removeShared, test, ticks } from './fixture.js';

afterAll(removeShared);

test('an event is in the history as it was published', async ({ shared, connect, topic }) => {
  const dw = connect(shared.url, { device: 'desk' });
  const data = { text: '1:0 ⚽ é', none: null, list: [1.5, true], __proto__x: 1 };
  expect(await dw.publish(topic, 'GOAL', data, { priority: 'high' })).toEqual({ first: 1, seq: 1 });
  const { value: event } = await dw.history(topic).next();
  const rest = { type: 'GOAL', seq: 1, priority: 'high', origin: 'desk', data };
  expect(event).toEqual({ kind: 'event', timestamp: expect.any(Number), ...rest });
  expect(event.timestamp).toBeGreaterThan(1_700_000_000_000);
});

test('a key publishes once', async ({ dw, topic }) => {
  const first = await dw.publish(topic, 'GOAL', 1, { key: 'goal-1' });
  expect(await dw.publish(topic, 'GOAL', 1, { key: 'goal-1' })).toEqual(first);
  const refused = await failure(dw.publish(topic, 'GOAL', 2, { key: 'goal-1' }));
  expect(refused).toBeInstanceOf(BadRequestError);
  expect(refused).toMatchObject({ message: expect.stringContaining('already used for another command') });
  // Without a key of its own each call is another event.
  await dw.publish(topic, 'GOAL', 1);
  expect(await brief(dw.history(topic))).toEqual([1, 1]);
});

test('many are published together or not at all', async ({ dw, topic }) => {
  const events = [{ event: 'A', data: 1 }, '{"event": "B", "data": 2}', '{"event":"C","data":3}\n', '  '];
  expect(await dw.publishMany(topic, events)).toEqual({ first: 1, seq: 3 });
  await expect(dw.publishMany(topic, [{ event: 'A' }, { event: 'no type' }])).rejects.toThrow('event 2');
  await expect(dw.publishMany(topic, [])).rejects.toThrow('there is no event');
  const tooMany = await failure(dw.publishMany(topic, ticks(1001)));
  expect(tooMany).toBeInstanceOf(TooLargeError);
  expect(await brief(dw.history(topic))).toEqual([1, 2, 3]);
});

test('a stream goes in requests of a bounded size', async ({ dw, topic }) => {
  async function* events(): AsyncGenerator<Line> {
    yield '\n';
    yield* ticks(25);
    // Larger than a request is meant to be: alone in one.
    yield { event: 'TICK', data: 'x'.repeat(2000) };
    yield JSON.stringify({ event: 'TICK', data: 'last' });
  }
  const done = await dw.publishStream(topic, events(), { eventsMax: 10, bytesMax: 1000 });
  expect(done).toEqual({ events: 27, requests: 5, first: 1, seq: 27 });
  expect(await brief(dw.history(topic))).toEqual([...range(25), 'x'.repeat(2000), 'last']);
  expect(await dw.publishStream(topic, [])).toEqual({ events: 0, requests: 0, first: null, seq: null });
});

test('a stream that failed half-way goes on under the same key', async ({ dw, topic }) => {
  const good = ticks(10);
  const bad = good.map((event) => (event.data === 7 ? { ...event, data: 'x'.repeat(100_000) } : event));
  const refused = await failure(dw.publishStream(topic, bad, { key: 'import', eventsMax: 2 }));
  expect(refused).toBeInstanceOf(TooLargeError);
  expect(refused).toMatchObject({ committed: { events: 6, requests: 3, first: 1, seq: 6 } });
  const done = await dw.publishStream(topic, good, { key: 'import', eventsMax: 2 });
  expect(done).toEqual({ events: 10, requests: 5, first: 1, seq: 10 });
  expect(await brief(dw.history(topic))).toEqual(range(10));
  // Cut otherwise, they are others.
  expect(await failure(dw.publishStream(topic, good, { key: 'import', eventsMax: 5 }))).toBeInstanceOf(BadRequestError);
});

test('a key that is too long is refused before anything is published', async ({ dw, topic }) => {
  const long = dw.publishStream(topic, ticks(3), { key: 'k'.repeat(58), eventsMax: 1 });
  await expect(long).rejects.toThrow('Idempotency-Key');
  expect(await brief(dw.history(topic))).toEqual([]);
  expect((await dw.publishStream(topic, ticks(3), { key: 'k'.repeat(57), eventsMax: 1 })).events).toBe(3);
});

test('users and all are published to', async ({ dw, topic }) => {
  expect((await dw.publish(user(topic), 'INVITED', { n: 1 })).seq).toBe(1);
  expect((await dw.publishUser(topic, 'INVITED')).seq).toBe(2);
  expect(await dw.publishMany(user(topic), [{ event: 'A' }, { event: 'B' }])).toEqual({ first: 3, seq: 4 });
  const before = await dw.broadcast('CACHE_INVALIDATED', { keys: ['prices'] }, { priority: 'critical' });
  expect((await dw.publishStream(ALL, [{ event: 'CACHE_INVALIDATED' }])).first).toBe(before.seq + 1);
  expect((await dw.publishUser('a/b c?d#é%2f', 'INVITED')).seq).toBeGreaterThanOrEqual(1);
  // A topic may have this name.
  expect((await dw.publish('all', 'INVITED')).seq).toBeGreaterThanOrEqual(1);
});

test('signals are sent and not kept', async ({ dw, topic }) => {
  await dw.signal(topic, 'TYPING', { in: 'title' });
  await dw.signal(user('alice'), 'TYPING');
  await dw.signal(ALL, 'TYPING');
  expect(await brief(dw.history(topic))).toEqual([]);
  const signals = dw.publishMany(topic, ['{"event": "TYPING", "signal": true}']);
  expect(await failure(signals)).toBeInstanceOf(UnexpectedAnswerError);
});

test('refusals are in the words of the protocol', async ({ dw, topic }) => {
  for (const name of ['', 'two words', 'ü', 'a/b', 'x'.repeat(129)]) {
    await expect(dw.publish(name, 'GOAL')).rejects.toThrow('topic must be 1 to 128 characters');
  }
  for (const name of ['.', '..']) await expect(dw.publish(name, 'GOAL')).rejects.toThrow('is no name');
  await expect(dw.publish('\ud83d', 'GOAL')).rejects.toBeInstanceOf(InvalidRequestError);
  await expect(dw.publish(topic, 'goal')).rejects.toThrow('event');
  await expect(dw.publish(topic, 'GOAL', 'half of an emoji \ud83d')).rejects.toThrow('surrogate');
  await expect(dw.publish(topic, 'GOAL', null, { key: 'clé' })).rejects.toThrow('Idempotency-Key');
  await expect(dw.publish(topic, 'GOAL', 'x'.repeat(70_000))).rejects.toThrow('the data of an event is');
  for (const data of [7n, Number.NaN, { n: [Number.POSITIVE_INFINITY] }]) {
    await expect(dw.publish(topic, 'GOAL', data)).rejects.toBeInstanceOf(TypeError);
  }
  await expect(dw.publishStream(topic, [7 as unknown as Line])).rejects.toThrow('neither an event nor a text');

  for (const broken of [dw.withOptions({ token: 'secret\ntoken' }), dw]) {
    const unsent = await failure(broken.publish(topic, 'GOAL', null, { key: 'two\nlines' }));
    expect(unsent).toBeInstanceOf(InvalidRequestError);
    expect((unsent as Error).cause).toBeUndefined();
    expect(String((unsent as Error).stack)).not.toContain('secret');
  }

  const viewer = dw.withOptions({ token: await minter.mint('bob', ['subscribe:*', 'publish:other']) });
  const refused = await failure(viewer.publish(topic, 'GOAL'));
  expect(refused).toBeInstanceOf(ForbiddenError);
  expect(refused).toBeInstanceOf(RequestError);
  expect(refused).toBeInstanceOf(DraftwireError);
  const detail = `the token does not allow to publish to ${topic}`;
  expect(refused).toMatchObject({ code: 'forbidden', status: 403, message: detail, detail, retryAfterMs: null });
  await expect(viewer.broadcast('GOAL')).rejects.toThrow('service');
  await expect(dw.withOptions({ token: null }).publish(topic, 'GOAL')).rejects.toBeInstanceOf(UnauthorizedError);
  expect(await brief(dw.history(topic))).toEqual([]);
});

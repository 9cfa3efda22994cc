// Topics, publishing and broadcasts over a real node.

import { afterAll, beforeAll, expect, test } from 'vitest';
import type { StreamEvent } from '../src/index.js';
import { client, eventually, Network } from './support/client.js';
import { Node } from './support/node.js';

let node: Node;
beforeAll(async () => {
  node = await Node.start();
});
afterAll(() => node.remove());

interface Match {
  GOAL: { minute: number };
  TYPING: { in: string };
}

test('what is published comes to followers once and in order, also over lost connections', async () => {
  const network = new Network();
  const [desk, viewer] = [client(node, 'desk'), client(node, 'viewer', { network })];
  const match = viewer.topic<Match>('match:1');
  const minutes: number[] = [];
  match.on('GOAL', ({ data }) => minutes.push(data.minute));
  await eventually(() => match.state.status === 'live');

  expect(await desk.publish('match:1', 'GOAL', { minute: 1 })).toEqual({ seq: 1 });
  network.cut();
  for (let minute = 2; minute <= 20; minute += 1) await desk.publish('match:1', 'GOAL', { minute });
  network.mend();
  viewer.connect();
  await eventually(() => minutes.length === 20);
  expect(minutes).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  expect(match.state.status).toBe('live');
  desk.close();
  viewer.close();
});

test('topics that are closed and opened at once, also in handlers, end as asked for last and lose nothing', async () => {
  const [desk, viewer] = [client(node, 'desk'), client(node, 'viewer')];
  const seen: number[] = [];
  const later: StreamEvent[] = [];
  const first = viewer.topic<Match>('match:2');
  first.on('GOAL', ({ data, seq }) => {
    seen.push(data.minute);
    if (data.minute !== 2) return;
    // A handler that goes on with another handle, from where this one stands.
    const { cursor } = first;
    first.close();
    const second = viewer.topic('match:2', { from: cursor! });
    second.on('*', (event) => later.push(event));
    expect(cursor!.endsWith(`:${seq}`)).toBe(true);
  });
  await eventually(() => first.state.status === 'live');
  for (let minute = 1; minute <= 5; minute += 1) await desk.publish('match:2', 'GOAL', { minute });
  await eventually(() => later.length === 3);
  expect(seen).toEqual([1, 2]);
  expect(later.map(({ seq }) => seq)).toEqual([3, 4, 5]);

  for (let i = 0; i < 20; i += 1) viewer.topic('match:3').close();
  const last = viewer.topic<Match>('match:3');
  for (let i = 0; i < 20; i += 1) viewer.topic('match:3').close();
  await eventually(() => last.state.status === 'live');
  const goal = new Promise((resolve) => last.on('GOAL', resolve));
  await desk.publish('match:3', 'GOAL', { minute: 9 });
  expect(await goal).toMatchObject({ type: 'GOAL', seq: 1, data: { minute: 9 }, priority: 'normal' });
  desk.close();
  viewer.close();
});

test('a handle that begins at an older cursor gets what others have had, and they do not get it again', async () => {
  const dw = client(node, 'alice');
  const early = dw.topic<Match>('match:4');
  const events: [string, number][] = [];
  early.on('*', ({ seq }) => events.push(['early', seq]));
  await eventually(() => early.state.status === 'live');
  const begin = early.cursor!;
  for (let minute = 1; minute <= 3; minute += 1) await dw.publish('match:4', 'GOAL', { minute });
  await eventually(() => events.length === 3);

  const late = dw.topic<Match>('match:4', { from: begin });
  late.on('*', ({ seq }) => events.push(['late', seq]));
  await eventually(() => events.length === 6 && late.state.status === 'live');
  await dw.publish('match:4', 'GOAL', { minute: 4 });
  await eventually(() => events.length === 8);
  const of = (name: string) => events.filter(([by]) => by === name).map(([, seq]) => seq);
  expect(of('early')).toEqual([1, 2, 3, 4]);
  expect(of('late')).toEqual([1, 2, 3, 4]);
  dw.close();
});

test('presence and signals', async () => {
  const [alice, bob] = [client(node, 'alice', { device: 'phone' }), client(node, 'bob', { device: 'laptop' })];
  const rooms = [alice, bob].map((dw) => dw.topic<Match>('room:1', { presence: true }));
  await eventually(() => rooms.every(({ members }) => members.length === 2));
  expect(rooms[0]!.members).toContainEqual({ userId: 'bob', device: 'laptop' });
  const signal = new Promise((resolve) => rooms[1]!.onSignal('TYPING', resolve));
  rooms[0]!.signal('TYPING', { in: 'title' });
  expect(await signal).toEqual({ type: 'TYPING', origin: 'phone', data: { in: 'title' } });
  alice.close();
  await eventually(() => rooms[1]!.members.length === 1);
  bob.close();
});

test('a topic that is not allowed ends with the reason, and the others go on', async () => {
  const dw = client(node, 'carol', { getToken: () => node.token('carol', { scope: 'subscribe:open:*' }) });
  const [secret, open] = [dw.topic('secret'), dw.topic('open:1')];
  await eventually(() => open.state.status === 'live' && secret.state.status === 'ended');
  expect(secret.state).toMatchObject({ error: { code: 'forbidden' } });
  await expect(dw.publish('open:1', 'GOAL', {})).rejects.toMatchObject({ code: 'forbidden' });
  dw.close();
});

test('broadcasts and events of the user, and a handler that throws', async () => {
  const errors: unknown[] = [];
  const dw = client(node, 'dave', { onError: (error) => errors.push(error) });
  const seen: unknown[] = [];
  dw.onBroadcast('CACHE_INVALIDATED', () => {
    throw new Error('of the application');
  });
  dw.onBroadcast('*', ({ data }) => seen.push(data));
  dw.onUserEvent('NOTICE', ({ data }) => seen.push(data));
  await dw.ready();
  const service = node.token('backend', { scope: 'service' });
  await node.api('POST', 'v1/broadcast', service, { event: 'CACHE_INVALIDATED', data: { keys: ['prices'] } });
  await node.api('POST', 'v1/users/dave/events', service, { event: 'NOTICE', data: 'hello' });
  await eventually(() => seen.length === 2);
  expect(seen).toContainEqual({ keys: ['prices'] });
  expect(errors).toEqual([new Error('of the application')]);
  dw.close();
});

test('what was missed is there before a client is live, and broadcasts that are gone are told of', async () => {
  const small = await Node.start({ RETENTION_ALL_EVENTS: '3', RETENTION_INTERVAL: '10ms' });
  const dw = client(small, 'frank');
  const seen: unknown[] = [];
  dw.onBroadcast('*', ({ seq }) => seen.push(seq));
  dw.onMissedBroadcasts(({ before }) => seen.push(`gone before ${before}`));
  dw.subscribe(() => {
    if (dw.state.status === 'live') seen.push('live');
  });
  const broadcast = () => small.api('POST', 'v1/broadcast', small.token('backend', { scope: 'service' }), { event: 'PRICES' });
  await dw.ready();
  dw.disconnect();
  await broadcast();
  dw.connect();
  await dw.ready();
  expect(seen).toEqual(['live', 1, 'live']);

  // Retention has its own time; until then nothing is gone.
  let head = 1;
  await eventually(async () => {
    dw.disconnect();
    for (let i = 0; i < 5; i += 1) await broadcast();
    head += 5;
    // A node has the newest events in memory, longer than they are kept.
    await small.kill();
    await small.start();
    seen.length = 0;
    dw.connect();
    await dw.ready();
    return seen.some((each) => String(each).startsWith('gone'));
  });
  const [gone, ...left] = seen;
  const before = Number(/^gone before (\d+)$/.exec(String(gone))![1]);
  expect(before).toBeGreaterThan(head - 4);
  expect(left).toEqual([...Array.from({ length: head + 1 - before }, (_, i) => before + i), 'live']);
  dw.close();
  await small.remove();
});

test('`last` goes on where this device stopped', async () => {
  const { memory } = await import('../src/index.js');
  const store = memory();
  const desk = client(node, 'desk');
  const seqs: number[] = [];
  const follow = async () => {
    const dw = client(node, 'erin', { store });
    const topic = dw.topic('match:5', { from: 'last' });
    topic.on('*', ({ seq }) => seqs.push(seq));
    await eventually(() => topic.state.status === 'live');
    return dw;
  };
  const first = await follow();
  await desk.publish('match:5', 'GOAL', {});
  await eventually(() => seqs.length === 1);
  first.close();
  await desk.publish('match:5', 'GOAL', {});
  await desk.publish('match:5', 'GOAL', {});
  const second = await follow();
  expect(seqs).toEqual([1, 2, 3]);
  second.close();
  desk.close();
});

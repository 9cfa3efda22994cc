// The life of a connection: tokens, close codes, silence, and networks that let no WebSocket through.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { drafts } from '../src/drafts/index.js';
import { Draftwire, DraftwireError, type TokenRequest } from '../src/index.js';
import { FakeServer } from '../src/testing/index.js';
import { client, eventually, Network, states } from './support/client.js';
import { Node } from './support/node.js';

/** Ends the connections of a user, as an operator does. */
async function disconnect(node: Node, user: string, body: { code?: number; reason?: string }): Promise<void> {
  const headers = { authorization: `Bearer ${node.token('operator', { scope: 'admin' })}` };
  const url = `${node.url}/v1/admin/users/${user}/disconnect`;
  const answer = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
  expect(answer.status).toBe(202);
}

describe('with a real node', () => {
  let node: Node | undefined;
  afterEach(() => node?.remove());

  test('a refused token is replaced by another one, and two refused ones stop the client', async () => {
    node = await Node.start();
    const requests: (string | undefined)[] = [];
    const tokens = ['bad', node.token('alice'), 'bad', 'worse'];
    const getToken = ({ stale }: TokenRequest) => {
      requests.push(stale);
      return tokens.shift()!;
    };
    const dw = client(node, 'alice', { getToken });
    await dw.ready();
    expect(requests).toEqual([undefined, 'bad']);
    dw.disconnect();
    dw.connect();
    await expect(dw.ready()).rejects.toMatchObject({ code: 'unauthorized' });
    expect(dw.state).toMatchObject({ status: 'stopped', error: { code: 'unauthorized' } });
    tokens.push(node.token('alice'));
    dw.connect();
    await dw.ready();
    dw.close();
  });

  test('whom an operator disconnects comes back with another token, or stays away', async () => {
    node = await Node.start();
    const [old, fresh, last] = [10, 20, 30].map((minutes) => node!.token('alice', { ttlSeconds: 60 * minutes }));
    const asked: (string | undefined)[] = [];
    const tokens = [old, old, fresh, last];
    const getToken = ({ stale }: TokenRequest) => {
      asked.push(stale);
      return tokens.shift()!;
    };
    const dw = client(node, 'alice', { getToken });
    await dw.ready();
    for (const reason of ['rights have changed', 'and again']) {
      const seen = states(dw);
      await disconnect(node, 'alice', { reason });
      await eventually(() => seen.length > 1 && dw.state.status === 'live');
      expect(seen).toContainEqual(expect.objectContaining({ error: new DraftwireError('disconnected', reason) }));
    }
    // The old token was of no use any more, although it is still valid.
    expect(asked).toEqual([undefined, old, old, fresh]);
    await disconnect(node, 'alice', { code: 4403, reason: 'no longer a member' });
    await eventually(() => dw.state.status === 'stopped');
    expect(dw.state).toMatchObject({ error: { code: 'forbidden', message: 'no longer a member' } });
    dw.close();
  });

  test('a token that is about to end is replaced on the connection', async () => {
    node = await Node.start({ JWT_LEEWAY: '0ms', TOKEN_WARNING: '2s' });
    let asked = 0;
    const network = new Network();
    const dw = client(node, 'bob', { network, getToken: () => node!.token(`bob`, { ttlSeconds: 2 + (asked += 1) }) });
    await dw.ready();
    const seen = states(dw);
    await eventually(() => asked >= 3);
    await dw.publish('room', 'STILL_HERE');
    expect(seen.map(({ status }) => status)).toEqual(['live']);
    dw.close();
  });

  test('too many connections: another device waits, the same one takes the place', async () => {
    node = await Node.start({ CONNECTIONS_PER_USER: '1' });
    const first = client(node, 'carol', { device: 'phone' });
    await first.ready();
    const other = client(node, 'carol', { device: 'laptop' });
    await eventually(() => other.state.status === 'waiting' && other.state.error.code === 'rate_limited');
    other.close();
    const again = client(node, 'carol', { device: 'phone' });
    await again.ready();
    await eventually(() => first.state.status === 'stopped');
    expect(first.state).toMatchObject({ error: { code: 'replaced' } });
    first.close();
    again.close();
  });

  test('a node that stops moves its clients, and they come back', async () => {
    node = await Node.start({ DRAIN_WINDOW: '100ms' });
    const dw = client(node, 'dave');
    await dw.ready();
    const seen = states(dw);
    await node.terminate();
    await eventually(() => seen.some(({ status }) => status === 'waiting'));
    expect(seen.some(({ status }) => status === 'stopped')).toBe(false);
    dw.close();
  });

  test('where WebSockets are blocked, event streams and requests do the same', async () => {
    node = await Node.start();
    const network = new Network();
    network.cut();
    const dw = client(node, 'erin', { network, transport: 'auto' });
    const seen: number[] = [];
    const room = dw.topic('room');
    room.on('*', ({ seq }) => seen.push(seq));
    await dw.ready();
    expect(dw.state).toMatchObject({ status: 'live', transport: 'event-stream' });
    const orders = drafts<{ title: string; n?: number }>(dw, 'order');
    const order = orders.create({ title: 'Chairs' });
    await order.settled();
    await order.update({ n: 1 }).acknowledged();
    await eventually(() => room.state.status === 'live');
    for (let i = 1; i <= 5; i += 1) await room.publish('GOAL', i);
    await eventually(() => seen.length === 5);
    expect(seen).toEqual([1, 2, 3, 4, 5]);
    const late = dw.topic('room', { from: `${room.cursor!.split(':')[0]}:0` });
    const again: number[] = [];
    late.on('*', ({ seq }) => again.push(seq));
    await eventually(() => again.length === 5);
    expect(seen).toEqual([1, 2, 3, 4, 5]);
    await node.api('PATCH', `v1/drafts/${order.id}?baseVersion=1`, node.token('erin'), { title: 'Oak' });
    await eventually(() => order.content.title === 'Oak');
    await expect(dw.publish('room', 'not a type')).rejects.toMatchObject({ code: 'bad_request' });
    dw.close();
  });

  test('what a newer server says is ignored, and what is no JSON ends the connection, which comes back', async () => {
    node = await Node.start();
    const network = new Network();
    let socket: { onmessage: ((event: { data: string }) => void) | null } = { onmessage: null };
    const WebSocket = class extends network.WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        socket = this;
      }
    };
    const errors: unknown[] = [];
    const dw = client(node, 'frank', { environment: { WebSocket }, onError: (error) => errors.push(error) });
    await dw.ready();
    const room = dw.topic('room');
    await eventually(() => room.state.status === 'live');
    const seen = states(dw);
    for (const stream of [undefined, 'user', 'all', 'topic:room', 'group:room']) {
      socket.onmessage!({ data: JSON.stringify({ type: 'NEWS', stream, payload: {} }) });
    }
    await dw.publish('room', 'STILL_HERE');
    expect(seen.map(({ status }) => status)).toEqual(['live']);
    socket.onmessage!({ data: '<html>' });
    expect(dw.state).toMatchObject({ status: 'waiting', error: { code: 'unreachable' } });
    await dw.ready();
    expect(errors).toEqual([]);
    dw.close();
  });

  test('an address that is none, and one where nobody is', async () => {
    expect(() => new Draftwire('nonsense', { getToken: () => null })).toThrow(TypeError);
    expect(() => new Draftwire('ftp://example.com', { getToken: () => null })).toThrow(TypeError);
    const dw = new Draftwire('http://127.0.0.1:1', { getToken: () => 't', transport: 'websocket', environment: { WebSocket: new Network().WebSocket } });
    await eventually(() => dw.state.status === 'waiting');
    expect(dw.state).toMatchObject({ error: { code: 'unreachable' } });
    dw.close();
    const malformed = new Draftwire('http://127.0.0.1:1', { getToken: () => 'two words', transport: 'websocket', environment: { WebSocket: new Network().WebSocket } });
    await expect(malformed.ready()).rejects.toMatchObject({ code: 'bad_request' });
    malformed.close();
  });
});

describe('in simulated time', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  function open(server: FakeServer, getToken: (request: TokenRequest) => Promise<string> | string = () => 'alice') {
    let wake = () => {};
    const environment = {
      ...server.environment,
      onWake: (listener: () => void) => {
        wake = listener;
        return () => {};
      },
    };
    const dw = new Draftwire('https://sync.example.com', { getToken, environment, transport: 'websocket' });
    return { dw, wake: () => wake() };
  }
  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

  test('a token that never comes is asked for again, one question at a time, and a late answer is not used', async () => {
    const server = new FakeServer();
    const asked: { signal: AbortSignal; answer: (token: string) => void }[] = [];
    const { dw } = open(server, ({ signal }) => new Promise((answer) => asked.push({ signal, answer })));
    await pass(9_000);
    expect(asked.length).toBe(1);
    await pass(60_000);
    expect(asked.length).toBeGreaterThan(2);
    expect(asked.slice(0, -1).every(({ signal }) => signal.aborted)).toBe(true);
    await eventuallyAsked(asked);
    asked[0]!.answer('mallory');
    await pass(0);
    expect(server.connectionCount).toBe(0);
    asked.at(-1)!.answer('alice');
    await pass(0);
    expect(dw.state.status).toBe('live');
    dw.close();
  });

  /** Until a question is open. */
  async function eventuallyAsked(asked: { signal: AbortSignal }[]): Promise<void> {
    while (asked.at(-1)!.signal.aborted) await pass(500);
  }

  test('nobody being signed in stops the client, every other failure does not', async () => {
    const server = new FakeServer();
    let failure: Error = new Error('the network is gone');
    const { dw } = open(server, () => Promise.reject(failure));
    await pass(300_000);
    expect(dw.state).toMatchObject({ status: 'waiting', error: { code: 'unavailable' } });
    failure = new DraftwireError('unauthorized', 'signed out');
    await pass(60_000);
    expect(dw.state).toMatchObject({ status: 'stopped', error: { code: 'unauthorized' } });
    dw.close();
  });

  test('a connection that says nothing is given up within 20 s, and within 5 s of a wake event', async () => {
    const server = new FakeServer();
    const { dw, wake } = open(server);
    await pass(0);
    expect(dw.state.status).toBe('live');
    await pass(60_000);
    expect(dw.state.status).toBe('live');
    server.hold();
    await pass(20_000);
    expect(dw.state.status).not.toBe('live');
    server.release();
    await pass(60_000);
    expect(dw.state.status).toBe('live');
    server.hold();
    wake();
    await pass(5_000);
    expect(dw.state.status).not.toBe('live');
    dw.close();
  });

  test('an attempt that a wake event brings forward is announced', async () => {
    const server = new FakeServer();
    const { dw, wake } = open(server);
    await pass(0);
    server.goDown();
    const remaining = () => (dw.state.status === 'waiting' ? dw.state.retryAt - Date.now() : -1);
    while (remaining() < 5_000) await pass(100);
    const { error } = dw.state as { error?: DraftwireError };
    wake();
    expect(remaining()).toBeLessThanOrEqual(250);
    expect(dw.state).toMatchObject({ status: 'waiting', error });
    server.comeUp();
    await pass(remaining() + 1);
    expect(dw.state.status).toBe('live');
    dw.close();
  });

  test('a clock that is put right costs no connection', async () => {
    const server = new FakeServer();
    const { dw } = open(server);
    await pass(0);
    const seen = states(dw);
    for (const hours of [5, -20, 24]) {
      vi.setSystemTime(Date.now() + hours * 3_600_000);
      await pass(60_000);
    }
    expect(seen.map(({ status }) => status)).toEqual(['live']);
    await dw.publish('room', 'GOAL');
    dw.close();
  });

  test.each([
    [4400, 'protocol'], [4403, 'forbidden'], [4409, 'replaced'],
  ])('the close code %i stops it with %s', async (code, error) => {
    const server = new FakeServer();
    const { dw } = open(server);
    await pass(0);
    server.drop(code);
    expect(dw.state).toMatchObject({ status: 'stopped', error: { code: error } });
    await pass(600_000);
    expect(server.connectionCount).toBe(0);
    dw.close();
  });

  test.each([1000, 1001, 1006, 1009, 1011, 1012, 1013, 4408, 4429, 4999])('after the close code %i it comes back', async (code) => {
    const server = new FakeServer();
    const { dw } = open(server);
    await pass(0);
    server.drop(code);
    expect(dw.state.status).toBe('waiting');
    await pass(31_000);
    expect(dw.state.status).toBe('live');
    dw.close();
  });

  test('pauses grow, at random, and clients do not come back at once', async () => {
    const server = new FakeServer();
    const clients = Array.from({ length: 50 }, () => open(server));
    await pass(0);
    server.goDown();
    const delays = clients.map(({ dw }) => (dw.state.status === 'waiting' ? dw.state.retryAt - Date.now() : NaN));
    expect(new Set(delays.map((delay) => Math.floor(delay / 100))).size).toBeGreaterThan(5);
    await pass(120_000);
    const later = clients.map(({ dw }) => (dw.state.status === 'waiting' ? dw.state.retryAt - Date.now() : 0));
    expect(Math.max(...later)).toBeGreaterThan(10_000);
    expect(Math.max(...later)).toBeLessThanOrEqual(30_000);
    for (const { dw } of clients) dw.close();
  });
});

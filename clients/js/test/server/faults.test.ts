// Everything once, whatever fails: killed nodes, lost answers, a store that does not answer.

import { once } from 'node:events';
import { createServer } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net';
import { afterAll, expect } from 'vitest';
import {
  AbortedError,
  ClosedError,
  ConnectionFailedError,
  type Line,
  UnavailableError,
  UnexpectedAnswerError,
} from '../../src/server/index.js';
import { freePort } from '../support/port.js';
import { brief, DEADLINE_MS, failure, minter, range, removeShared, test, ticks, until } from './fixture.js';
import { Proxy } from './proxy.js';

afterAll(removeShared);

test('a node that is killed in the middle of publishes', async ({ start, connect }) => {
  const node = await start();
  const dw = connect(node.url, { timeoutMs: 5000, deadlineMs: DEADLINE_MS });
  let [next, done] = [0, 0];
  const publisher = async () => {
    while (next < 300) {
      const n = next;
      next += 1;
      await dw.publish('ticker', 'TICK', n);
      done += 1;
    }
  };
  const publishers = range(4).map(publisher);
  for (const reached of [50, 150]) {
    await until('events are published', () => done >= reached);
    await node.kill();
    await node.start();
  }
  await Promise.all(publishers);
  const published = (await brief(dw.history('ticker'))) as number[];
  expect(published.sort((a, b) => a - b)).toEqual(range(300));
});

test('a node that is killed in the middle of a stream', async ({ start, connect }) => {
  const node = await start();
  const dw = connect(node.url, { timeoutMs: 5000, deadlineMs: DEADLINE_MS });
  let started = Promise.resolve();
  async function* events(): AsyncGenerator<Line> {
    for (const event of ticks(500)) {
      // In the middle of a request, and between two.
      if (event.data === 333 || event.data === 100) {
        await started;
        await node.kill();
        started = node.start();
      }
      yield event;
    }
  }
  const done = await dw.publishStream('ticker', events(), { eventsMax: 10 });
  await started;
  expect(done).toEqual({ events: 500, requests: 50, first: 1, seq: 500 });
  expect(await brief(dw.history('ticker'))).toEqual(range(500));
});

test('a lost answer publishes nothing twice', async ({ shared, connect, topic }) => {
  const proxy = await Proxy.start(shared.port);
  const dw = connect(proxy.url);
  proxy.lose(3);
  expect((await dw.publish(topic, 'TICK', 0)).seq).toBe(1);
  proxy.lose(1);
  expect((await dw.publishMany(topic, ticks(2, 1))).first).toBe(2);
  proxy.lose(1);
  await dw.publishStream(topic, ticks(6, 3), { eventsMax: 3 });
  proxy.lose(1);
  const { draftId } = await dw.drafts.create({ n: 1 });
  proxy.lose(1);
  expect((await dw.drafts.update(draftId, { n: 2 }, { ifMatch: 1 })).version).toBe(2);
  proxy.lose(1);
  expect((await dw.drafts.delete(draftId, { baseVersion: 2 })).version).toBe(3);
  expect(proxy.lost).toBe(8);
  expect(await brief(dw.history(topic))).toEqual(range(9));
  expect((await dw.drafts.list()).cursor).toMatch(/:3$/);

  // A signal must not come twice.
  proxy.lose(1);
  expect(await failure(dw.signal(topic, 'TYPING'))).toBeInstanceOf(ConnectionFailedError);
  expect(proxy.lost).toBe(9);
  await proxy.stop();
});

test('keys that cannot be fetched are waited for', async ({ start, connect }) => {
  // The node cannot verify any token until its issuer answers: 503 with Retry-After.
  const issuer = createServer((_, answer) => answer.end(JSON.stringify({ keys: [jwk] })));
  const pair = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const jwk = { ...(await crypto.subtle.exportKey('jwk', pair.publicKey)), kid: 'k1', use: 'sig' };
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', pair.privateKey)).toString('base64');
  const { TokenMinter } = await import('../../src/server/index.js');
  const privateKey = `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----`;
  const port = await freePort();
  const node = await start({ JWT_SECRET: '', JWT_JWKS_URL: `http://127.0.0.1:${port}/jwks` });
  const token = new TokenMinter({ privateKey, keyId: 'k1' }).source('desk', ['service', 'subscribe:*']);
  const dw = connect(node.url, { token, deadlineMs: DEADLINE_MS });

  const refused = await failure(dw.withOptions({ deadlineMs: 900 }).publish('ticker', 'TICK', 'given up'));
  expect(refused).toBeInstanceOf(UnavailableError);
  expect(refused).toMatchObject({ code: 'unavailable', status: 503, retryAfterMs: 1000 });

  const refusals = () => node.metric('draftwire_errors_total{code="unavailable"}');
  const before = await refusals();
  const published = dw.publish('ticker', 'TICK', 'in the end');
  await until('the node has answered 503', async () => (await refusals()) > before);
  issuer.listen(port, '127.0.0.1');
  expect((await published).seq).toBe(1);
  issuer.close();
  issuer.closeAllConnections();
});

test('a server that is not there', async ({ connect }) => {
  const dw = connect(`http://127.0.0.1:${await freePort()}`, { deadlineMs: 500 });
  const failed = await failure(dw.publish('ticker', 'TICK'));
  expect(failed).toBeInstanceOf(ConnectionFailedError);
  expect(failed).toMatchObject({ code: 'unreachable', cause: expect.any(Error) });
  expect((failed as Error).message).toContain('ECONNREFUSED');
});

test('a server that comes late', async ({ start, connect }) => {
  const node = await start();
  await node.kill();
  const source = minter.source('desk', ['service', 'subscribe:*']);
  let attempts = 0;
  const token = () => {
    attempts += 1;
    return source();
  };
  const dw = connect(node.url, { token, deadlineMs: DEADLINE_MS });
  // Signals as well: they were certainly not sent.
  const calls = Promise.all([dw.signal('ticker', 'TYPING'), dw.publish('ticker', 'TICK', 1)]);
  await Promise.race([calls, until('both were repeated', () => attempts >= 4)]);
  await node.start();
  await calls;
  expect(await brief(dw.history('ticker'))).toEqual([1]);
});

/** Longer than any test: a call that waits for so long has to be ended. */
const LONG = { timeoutMs: 10 * DEADLINE_MS, deadlineMs: 10 * DEADLINE_MS };

/** A server that asks to be tried again after a long time, as none of ours does; and how often it was asked. */
async function busy(): Promise<{ url: string; asked: () => number; stop: () => void }> {
  let asked = 0;
  const server = createServer((_, answer) => {
    asked += 1;
    answer.writeHead(503, { 'retry-after': '400' }).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return { url, asked: () => asked, stop: () => server.close().closeAllConnections() };
}

test('closing ends calls that wait', async ({ connect }) => {
  const server = await busy();
  const dw = connect(server.url, LONG);
  const view = dw.withOptions({ device: 'view', token: () => new Promise(() => {}) });
  const calls = [dw, view].map((client) => failure(client.publish('ticker', 'TICK')));
  await until('one of them waits for its next attempt', () => server.asked() === 1);
  dw.close();
  for (const error of await Promise.all(calls)) expect(error).toBeInstanceOf(ClosedError);
  await expect(view.publish('ticker', 'TICK')).rejects.toMatchObject({ code: 'closed' });
  dw.close();
  server.stop();
});

test('a call ends when its signal is aborted', async ({ connect }) => {
  const server = await busy();
  const dw = connect(server.url, LONG);
  const caller = new AbortController();
  const options = { signal: caller.signal };
  const calls = [
    dw.publish('ticker', 'TICK', 1, options),
    dw.publishStream('ticker', ticks(3), options),
    dw.signal('ticker', 'TYPING', null, options),
    dw.history('ticker', null, options).next(),
    dw.drafts.list(options),
    dw.drafts.create({}, options),
  ].map(failure);
  await until('they wait for their next attempts', () => server.asked() === calls.length);
  caller.abort(new Error('the request is over'));
  for (const error of await Promise.all(calls)) {
    expect(error).toBeInstanceOf(AbortedError);
    expect(error).toMatchObject({ code: 'aborted', cause: { message: 'the request is over' } });
  }
  expect(await failure(dw.drafts.list(options))).toBeInstanceOf(AbortedError);
  server.stop();
});

// A peer that accepts and says nothing, or half of an answer and no more: no node does that, a broken proxy may.
test.for(['', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{'])('a peer that never ends is given up: %j', async (said, { connect }) => {
  const sockets: Socket[] = [];
  const server = createTcpServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => socket.destroy());
    socket.write(said);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const dw = connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, { timeoutMs: 200, deadlineMs: 1000 });
  expect(await failure(dw.publish('ticker', 'TICK'))).toBeInstanceOf(ConnectionFailedError);
  for (const socket of sockets) socket.destroy();
  server.close();
});

test('a token that never comes is given up, and one that throws is heard', async ({ shared, connect, topic }) => {
  const never = connect(shared.url, { token: () => new Promise(() => {}), timeoutMs: 50 });
  await expect(never.publish(topic, 'GOAL')).rejects.toThrow('no token came within 50 ms');
  const broken = connect(shared.url, {
    token: () => {
      throw new TypeError('the vault is closed');
    },
  });
  await expect(broken.publish(topic, 'GOAL')).rejects.toThrow(new TypeError('the vault is closed'));
});

test('a refused token is replaced once', async ({ shared, connect, topic }) => {
  const [bad, good] = [await minter.mint('desk', ['service'], { claims: { exp: 1 } }), await minter.mint('desk', ['service'])];
  let asked = 0;
  const token = () => {
    asked += 1;
    return asked <= 3 ? bad : good;
  };
  const dw = connect(shared.url, { token });
  await expect(dw.publish(topic, 'GOAL')).rejects.toMatchObject({ code: 'unauthorized' });
  expect(asked).toBe(2);
  // The third answer is the old one again, the next one is new.
  expect((await dw.publish(topic, 'GOAL')).seq).toBe(1);

  // However many there are.
  let made = 0;
  const always = connect(shared.url, { token: () => minter.mint('desk', [], { claims: { exp: 1, made: (made += 1) } }) });
  await expect(always.publish(topic, 'GOAL')).rejects.toMatchObject({ code: 'unauthorized' });
  expect(made).toBe(3);
});

test('an address that is none is refused, one with a path is taken', async ({ shared, connect, topic }) => {
  const urls = ['', '127.0.0.1:8080', 'ws://127.0.0.1:8080', 'https://host/?token=x', 'https://host/#x', 'http://user:password@host'];
  for (const url of urls) expect(() => connect(url)).toThrow(RangeError);
  expect(() => connect('http://user:password@host')).not.toThrow('word');
  for (const timeoutMs of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31]) {
    expect(() => connect(shared.url, { timeoutMs })).toThrow('a time limit must be');
  }
  await expect(connect(`${shared.url}/below/`).publish(topic, 'GOAL')).rejects.toThrow('nothing at this path');
  expect((await connect(`${shared.url}/`).publish(topic, 'GOAL')).seq).toBe(1);
});

test('an answer that is larger than any is not read to its end', async ({ connect, topic }) => {
  // What no node sends: more than 128 MiB.
  const fetch = async () => new Response(new ReadableStream({ pull: (body) => body.enqueue(new Uint8Array(16 * 1024 * 1024)) }));
  const dw = connect('http://127.0.0.1:1', { fetch });
  expect(await failure(dw.publish(topic, 'GOAL'))).toBeInstanceOf(UnexpectedAnswerError);
});

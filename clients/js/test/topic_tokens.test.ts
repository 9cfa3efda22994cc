// Tokens of one topic: a right that the connection's token does not give, over a real node.

import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { Draftwire, DraftwireError, type DraftwireOptions, type TopicTokenRequest } from '../src/index.js';
import { FakeServer } from '../src/testing/index.js';
import { client, eventually, Network, states } from './support/client.js';
import { Node } from './support/node.js';
import { Origin } from './support/tabs.js';

let node: Node;
beforeAll(async () => {
  // Tokens are announced to end at half of their time, and end on time.
  node = await Node.start({ JWT_LEEWAY: '0ms', TOKEN_WARNING: '60s' });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});
afterAll(() => node.remove());

/** A client whose own token allows no topic. */
function guest(user: string, options: Partial<DraftwireOptions> & { network?: Network } = {}) {
  return client(node, user, { getToken: () => node.token(user, { scope: '' }), ...options });
}

/** Publishes with the right to everything. */
async function publish(topic: string, data: unknown): Promise<void> {
  await node.api('POST', `v1/topics/${topic}/events`, node.token('desk'), { event: 'GOAL', data });
}

test('a token of the topic allows to follow it, and to publish there', async () => {
  const dw = guest('alice');
  const requests: TopicTokenRequest[] = [];
  const room = dw.topic('room:1', {
    getToken: (request) => {
      requests.push(request);
      return node.topicToken('room:1', { user: 'alice', scope: 'publish:room:1' });
    },
  });
  const barred = dw.topic('room:2');
  const events: unknown[] = [];
  room.on('*', ({ data }) => events.push(data));
  await eventually(() => room.state.status === 'live' && barred.state.status === 'ended');
  expect(barred.state.error).toMatchObject({ code: 'forbidden' });
  expect(await room.publish('GOAL', 1)).toEqual({ seq: 1 });
  await eventually(() => events.length === 1);
  expect(requests).toMatchObject([{ topic: 'room:1', stale: undefined }]);
  dw.close();
});

test('each subscription asks for a token, and never sends one a second time', async () => {
  const network = new Network();
  const dw = guest('bob', { network });
  const stale: (string | undefined)[] = [];
  const brought: string[] = [];
  const room = dw.topic('room:3', {
    getToken: (request) => {
      stale.push(request.stale);
      brought.push(node.topicToken('room:3', { ttlSeconds: 1_000 + brought.length }));
      return brought.at(-1)!;
    },
  });
  const events: unknown[] = [];
  room.on('*', ({ data }) => events.push(data));
  for (let connections = 1; connections <= 3; connections += 1) {
    await eventually(() => room.state.status === 'live');
    expect(brought).toHaveLength(connections);
    network.cut();
    await eventually(() => room.state.status === 'waiting');
    await publish('room:3', connections);
    network.mend();
    dw.connect();
  }
  await eventually(() => events.length === 3);
  expect(events).toEqual([1, 2, 3]);
  expect(stale).toEqual([undefined, ...brought.slice(0, 3)]);
  dw.close();
});

test('a token that is about to end is replaced, and the topic goes on', async () => {
  const dw = guest('carol');
  let asked = 0;
  const room = dw.topic('room:4', { getToken: () => node.topicToken('room:4', { ttlSeconds: 2 + (asked += 1) }) });
  await eventually(() => room.state.status === 'live');
  const seen = states(room);
  const events: unknown[] = [];
  room.on('*', ({ data }) => events.push(data));
  await eventually(() => asked >= 3);
  await publish('room:4', 'still here');
  await eventually(() => events.length === 1);
  expect(seen.map(({ status }) => status)).toEqual(['live']);
  dw.close();
});

test('a token that ended because nobody brought another one is asked for until one comes', async () => {
  const dw = guest('dave');
  let asked = 0;
  const events: unknown[] = [];
  const room = dw.topic('room:5', {
    getToken: () => {
      asked += 1;
      if (asked === 1) return node.topicToken('room:5', { ttlSeconds: 2 });
      if (asked < 4) throw new Error('the backend is down');
      return node.topicToken('room:5');
    },
  });
  const seen = states(room);
  room.on('*', ({ data }) => events.push(data));
  await eventually(() => asked >= 4 && room.state.status === 'live');
  await publish('room:5', 1);
  await eventually(() => events.length === 1);
  expect(seen.every(({ status }) => status !== 'ended')).toBe(true);
  dw.close();
});

test('a failure to bring a token is a state of that topic, and of no other', async () => {
  const dw = guest('erin');
  const tokens: (() => string)[] = [
    () => {
      throw new Error('the backend is down');
    },
    () => node.topicToken('room:6'),
  ];
  const room = dw.topic('room:6', { getToken: () => tokens.shift()!() });
  const other = dw.topic('room:7', { getToken: () => node.topicToken('room:7') });
  const seen = states(room);
  await eventually(() => room.state.status === 'live' && other.state.status === 'live');
  expect(seen).toMatchObject([
    { status: 'waiting' },
    { status: 'waiting', error: { code: 'unavailable', message: 'no token: the backend is down' } },
    { status: 'live' },
  ]);
  expect(seen[1]!.error).toBeInstanceOf(DraftwireError);
  expect(dw.state.status).toBe('live');
  dw.close();
});

test('a topic ends where nobody may bring a token, and where two were refused', async () => {
  const dw = guest('frank');
  const refused: (string | undefined)[] = [];
  const ended = [
    dw.topic('room:8', {
      getToken: () => {
        throw new DraftwireError('unauthorized', 'signed out');
      },
    }),
    dw.topic('room:9', {
      getToken: ({ stale }) => {
        refused.push(stale);
        return `bad ${refused.length}`.replace(' ', '.');
      },
    }),
    dw.topic('room:10', { getToken: () => node.topicToken('room:10', { user: 'grace' }) }),
    dw.topic('room:11', { getToken: () => null }),
  ];
  await eventually(() => ended.every(({ state }) => state.status === 'ended'));
  expect(ended.map(({ state }) => state.error?.code)).toEqual(['unauthorized', 'unauthorized', 'forbidden', 'forbidden']);
  expect(refused).toEqual([undefined, 'bad.1']);
  await dw.ready();
  dw.close();
});

test('tabs share a connection, and each brings the tokens of its own topics', async () => {
  const origin = new Origin();
  const open = () => {
    const tab = origin.open();
    return { tab, dw: guest('heidi', { store: tab.store }) };
  };
  const pages = [open(), open()];
  await Promise.all(pages.map(({ dw }) => dw.ready()));
  const follower = pages.find(({ tab }) => tab !== origin.leader)!;
  let asked = 0;
  const room = follower.dw.topic('room:12', { getToken: () => node.topicToken('room:12', { ttlSeconds: 500 + (asked += 1) }) });
  const events: unknown[] = [];
  room.on('*', ({ data }) => events.push(data));
  await eventually(() => room.state.status === 'live');
  await publish('room:12', 1);
  await eventually(() => events.length === 1);
  // The one that has the connection goes; the other takes over with a token that is new.
  pages.find(({ dw }) => dw !== follower.dw)!.dw.close();
  await eventually(() => origin.leader === follower.tab && room.state.status === 'live');
  await publish('room:12', 2);
  await eventually(() => events.length === 2);
  expect([events, asked]).toEqual([[1, 2], 2]);
  follower.dw.close();
});

test('a topic ends where nobody may bring a token any more after a lost connection', async () => {
  const network = new Network();
  const dw = guest('ivan', { network });
  let isSignedIn = true;
  const room = dw.topic('room:13', {
    getToken: () => {
      if (!isSignedIn) throw new DraftwireError('unauthorized', 'signed out');
      return node.topicToken('room:13');
    },
  });
  await eventually(() => room.state.status === 'live');
  isSignedIn = false;
  network.cut();
  network.mend();
  await eventually(() => room.state.status === 'ended');
  expect(room.state.error).toMatchObject({ code: 'unauthorized', message: 'signed out' });
  dw.close();
});

test('of several handles of a topic, one that brings a token is enough, and each ends for itself', async () => {
  const dw = guest('judy');
  let failures = 0;
  let bring = () => {};
  const failing = dw.topic('room:14', {
    getToken: () => {
      failures += 1;
      // The other one is slower, so this is known first.
      setImmediate(() => bring());
      throw new Error('the backend is down');
    },
  });
  const givingUp = dw.topic('room:14', {
    getToken: () => {
      throw new DraftwireError('unauthorized', 'signed out');
    },
  });
  const bringing = dw.topic('room:14', {
    getToken: () => new Promise((resolve) => {
      bring = () => resolve(node.topicToken('room:14'));
    }),
  });
  await eventually(() => [failing, bringing].every(({ state }) => state.status === 'live'));
  expect(givingUp.state).toMatchObject({ status: 'ended', error: { code: 'unauthorized' } });
  expect(failures).toBe(1);
  const events: unknown[] = [];
  for (const topic of [failing, givingUp, bringing]) topic.on('*', ({ data }) => events.push(data));
  await publish('room:14', 1);
  await eventually(() => events.length === 2);
  dw.close();
});

test('a token is not sent again by a client that was offline meanwhile', async () => {
  const dw = guest('kate');
  const stale: (string | undefined)[] = [];
  let kept: string | undefined;
  const room = dw.topic('room:15', {
    // It keeps what it has, as long as nobody says that it is of no use any more.
    getToken: (request) => {
      stale.push(request.stale);
      if (kept === request.stale) kept = node.topicToken('room:15', { ttlSeconds: 500 + stale.length });
      return kept!;
    },
  });
  await eventually(() => room.state.status === 'live');
  const first = kept;
  dw.disconnect();
  dw.connect();
  await eventually(() => room.state.status === 'live');
  expect(stale).toEqual([undefined, first]);
  expect(kept).not.toBe(first);
  dw.close();
});

test('pauses grow with the attempts, and not with the topics', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date', 'performance'] });
  vi.spyOn(Math, 'random').mockReturnValue(0.999);
  const server = new FakeServer();
  const dw = new Draftwire('https://sync.example.com', { getToken: () => 'alice', environment: server.environment, transport: 'websocket' });
  const asked = new Map<string, number>();
  for (let n = 0; n < 30; n += 1) {
    dw.topic(`room:${n}`, {
      getToken: ({ topic }) => {
        asked.set(topic, (asked.get(topic) ?? 0) + 1);
        throw new Error('the backend is down');
      },
    });
  }
  for (const [attempts, ms] of [[1, 0], [2, 1_000], [3, 2_000], [4, 4_000]] as const) {
    await vi.advanceTimersByTimeAsync(ms);
    expect([...asked.values()]).toEqual(Array.from({ length: 30 }, () => attempts));
  }
  dw.close();
});

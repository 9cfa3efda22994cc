// A client that is closed does nothing any more, and says so; whenever it was closed, and by whom.

import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { drafts } from '../src/drafts/index.js';
import { Draftwire, memory, type DraftwireOptions } from '../src/index.js';
import { persistent, type Backend } from '../src/store/index.js';
import { FakeServer } from '../src/testing/index.js';
import { eventually } from './support/client.js';
import { Origin } from './support/tabs.js';

function open(server: FakeServer, options: Partial<DraftwireOptions> = {}): Draftwire {
  return new Draftwire('https://sync.example.com', { getToken: () => 'alice', environment: server.environment, transport: 'websocket', ...options });
}

/** Something that is waited for until `open` is called. */
function gate(): { readonly opened: Promise<void>; open(): void } {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

test('every call on a closed client is rejected, and changes nothing', async () => {
  const store = memory();
  const dw = open(new FakeServer(), { store });
  const orders = drafts<{ n: number }>(dw, 'order');
  const order = orders.create({ n: 0 });
  const room = dw.topic('room');
  await order.settled();
  dw.close();
  const closed = { name: 'DraftwireError', code: 'closed' };
  const change = order.update({ n: 1 });
  for (const rejected of [
    dw.publish('room', 'GOAL', 1), room.publish('GOAL', 1), dw.ready(), order.settled(),
    change.stored, change.acknowledged(), change.acknowledged({ timeoutMs: 60_000 }), order.delete().acknowledged(),
  ]) await expect(rejected).rejects.toMatchObject(closed);
  expect(() => orders.create({ n: 2 })).toThrow(expect.objectContaining(closed));
  expect(order.content).toEqual({ n: 0 });
  expect(dw.pendingCount).toBe(0);
});

test('drafts that are asked for after the end are closed, too', async () => {
  const dw = open(new FakeServer());
  dw.close();
  const orders = drafts(dw, 'order');
  expect(() => orders.create({})).toThrow(expect.objectContaining({ code: 'closed' }));
});

describe('logging out', () => {
  /** A store that is loaded when it is told to, and says that it is cleared when it is told to. */
  function held() {
    const { store: backend } = new Origin();
    const [loading, clearing, cleared] = [gate(), gate(), gate()];
    const slow: Backend = {
      ...backend,
      load: async () => {
        await loading.opened;
        return backend.load();
      },
      clear: async () => {
        await backend.clear();
        cleared.open();
        await clearing.opened;
      },
    };
    return { backend, store: persistent(slow), load: loading.open, cleared: cleared.opened, goOn: clearing.open };
  }

  test('takes no change of the user who has left', async () => {
    const { backend, store, load, cleared, goOn } = held();
    load();
    const server = new FakeServer();
    const dw = open(server, { store });
    const order = drafts<{ n: number }>(dw, 'order').create({ n: 0 });
    await order.settled();
    const loggedOut = dw.logout();
    await cleared;
    const late = [dw.publish('room', 'GOAL', 1), order.update({ n: 1 }).stored];
    dw.connect();
    for (const change of late) await expect(change).rejects.toMatchObject({ code: 'closed' });
    expect(dw.state.status).toBe('offline');
    expect(server.connectionCount).toBe(0);
    goOn();
    await loggedOut;
    await dw.logout();
    expect((await backend.load()).records.size).toBe(0);
  });

  test('ends a client whose store is still being read', async () => {
    const { backend, store, load, cleared, goOn } = held();
    const server = new FakeServer();
    let asked = 0;
    const getToken = () => {
      asked += 1;
      return 'alice';
    };
    const dw = open(server, { store, getToken });
    const loggedOut = dw.logout();
    load();
    await cleared;
    expect(dw.state.status).toBe('offline');
    goOn();
    await loggedOut;
    expect(asked).toBe(0);
    expect((await backend.load()).records.size).toBe(0);
  });

  test('ends a tab that was not told of it, before it stores anything', async () => {
    const [origin, server] = [new Origin(), new FakeServer()];
    const tabs = [origin.open(), origin.open()];
    const [leaving, late] = tabs.map(({ store }) => open(server, { store }));
    await Promise.all([leaving!.ready(), late!.ready()]);
    tabs[1]!.freeze();
    await leaving!.logout();
    await expect(late!.publish('room', 'GOAL', 1)).rejects.toMatchObject({ code: 'closed' });
    expect(late!.state.status).toBe('offline');
    expect((await origin.store.load()).records.size).toBe(0);
  });

  test('is refused by a persistent store that was closed', async () => {
    const { backend, store } = held();
    const dw = open(new FakeServer(), { store, connect: false });
    dw.close();
    await expect(dw.logout()).rejects.toMatchObject({ code: 'closed' });
    expect((await backend.load()).records.size).toBe(0);
  });
});

test('what a handler has closed the client in front of comes when it is opened again', async () => {
  const server = new FakeServer();
  let socket!: { onmessage: ((event: { data: string }) => void) | null };
  const { WebSocket } = server.environment;
  const environment = {
    ...server.environment,
    WebSocket: class extends WebSocket! {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        socket = this;
      }
    },
  };
  const store = memory();
  const told: unknown[] = [];
  const first = open(server, { store, environment });
  first.onBroadcast('*', ({ data }) => {
    told.push(data);
    if (data === 2) first.close();
  });
  await first.ready();
  const { onmessage } = socket;
  const frame: string[] = [];
  socket.onmessage = ({ data }) => frame.push(data);
  for (const n of [1, 2, 3, 4]) server.broadcast('NEWS', n);
  await eventually(() => frame.length === 4);
  onmessage!({ data: `[${frame.join(',')}]` });
  expect(told).toEqual([1, 2]);
  const second = open(server, { store });
  second.onBroadcast('*', ({ data }) => told.push(data));
  await eventually(() => told.length === 4);
  await second.ready();
  expect(told).toEqual([1, 2, 3, 4]);
  second.close();
});

describe('in simulated time', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date', 'performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });
  const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

  /** Does something once, in the listener that is told of a state. */
  function once(dw: Draftwire, status: string, act: () => void): void {
    const unsubscribe = dw.subscribe(() => {
      if (dw.state.status !== status) return;
      unsubscribe();
      act();
    });
  }

  test.each(['connecting', 'catching-up', 'live', 'waiting'])('a listener closes the client when it is %s', async (status) => {
    const server = new FakeServer();
    let asked = 0;
    const getToken = () => {
      asked += 1;
      return 'alice';
    };
    const dw = open(server, { connect: false, getToken });
    await pass(0);
    once(dw, status, () => dw.close());
    dw.connect();
    await pass(0);
    if (status === 'waiting') server.drop();
    expect(dw.state.status).toBe('offline');
    await pass(600_000);
    expect(server.connectionCount).toBe(0);
    expect(asked).toBe(status === 'connecting' ? 0 : 1);
  });

  test('a listener disconnects the client on its way, and connects it again', async () => {
    const server = new FakeServer();
    const dw = open(server, { connect: false });
    await pass(0);
    once(dw, 'connecting', () => {
      dw.disconnect();
      dw.connect();
    });
    dw.connect();
    await pass(0);
    expect(server.connectionCount).toBe(1);
    dw.close();
    expect(server.connectionCount).toBe(0);
  });

  test('a listener closes the client when its store fails', async () => {
    const server = new FakeServer();
    const { store: backend } = new Origin();
    let fails = false;
    const store = persistent({
      ...backend,
      commit: async (...commit) => {
        if (fails) throw new Error('the disk is full');
        return backend.commit(...commit);
      },
    });
    const dw = open(server, { store, onError: () => {} });
    const room = dw.topic('room');
    await pass(0);
    expect(room.state.status).toBe('live');
    room.subscribe(() => dw.close());
    fails = true;
    void dw.publish('room', 'GOAL', 1);
    await pass(600_000);
    expect(dw.storage.error).toMatchObject({ code: 'storage' });
    expect(dw.state.status).toBe('offline');
    expect(server.connectionCount).toBe(0);
  });
});

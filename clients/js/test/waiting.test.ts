// Every call that waits ends its waiting by a timeout or a signal, and what it waits for goes on.

import { expect, test } from 'vitest';
import { drafts } from '../src/drafts/index.js';
import { Draftwire, DraftwireError, memory, type WaitOptions } from '../src/index.js';
import type { Store } from '../src/store/index.js';
import { FakeServer } from '../src/testing/index.js';
import { eventually } from './support/client.js';

/** A store that never gets to forgetting. */
function unforgetting(): Store {
  const store = memory();
  return { kind: store.kind, open: (events) => ({ ...store.open(events), clear: () => new Promise<void>(() => {}) }) };
}

function waiting(): { server: FakeServer; dw: Draftwire; calls: Record<string, (options: WaitOptions) => Promise<unknown>> } {
  const server = new FakeServer();
  server.goDown();
  const dw = new Draftwire('https://sync.example.com', { getToken: () => 'alice', environment: server.environment, store: unforgetting() });
  const draft = drafts(dw, 'order').create({ n: 0 });
  const calls = {
    ready: (options: WaitOptions) => dw.ready(options),
    publish: (options: WaitOptions) => dw.publish('room', 'GOAL', 1, options),
    'publish of a topic': (options: WaitOptions) => dw.topic('room').publish('GOAL', 1, options),
    settled: (options: WaitOptions) => draft.settled(options),
    acknowledged: (options: WaitOptions) => draft.update({ n: 1 }).acknowledged(options),
    logout: (options: WaitOptions) => dw.logout(options),
  };
  return { server, dw, calls };
}

test.each(['ready', 'publish', 'publish of a topic', 'settled', 'acknowledged', 'logout'])('%s takes a timeout and a signal', async (name) => {
  const { dw, calls } = waiting();
  const call = calls[name]!;
  await expect(call({ timeoutMs: 1 })).rejects.toMatchObject({ code: 'timeout' });
  const reason = new Error('the user has gone on');
  await expect(call({ signal: AbortSignal.abort(reason) })).rejects.toMatchObject({ code: 'aborted', cause: reason });
  const later = new AbortController();
  const aborted = call({ signal: later.signal, timeoutMs: 60_000 });
  later.abort(reason);
  await expect(aborted).rejects.toSatisfy((error) => error instanceof DraftwireError && error.code === 'aborted');
  dw.close();
});

test('what is not waited for any more is done all the same', async () => {
  const { server, dw, calls } = waiting();
  await expect(calls['acknowledged']!({ timeoutMs: 1 })).rejects.toMatchObject({ code: 'timeout' });
  await expect(calls['publish']!({ timeoutMs: 1 })).rejects.toMatchObject({ code: 'timeout' });
  server.comeUp();
  await eventually(() => dw.pendingCount === 0);
  expect(server.drafts('alice')).toMatchObject([{ content: { n: 1 } }]);
  dw.close();
});

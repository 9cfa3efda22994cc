// What the tests of `draftwire/server` share: nodes, clients and topics of their own.

import { test as base } from 'vitest';
import { Draftwire, type HistoryItem, type Options, TokenMinter } from '../../src/server/index.js';
import { Node, SECRET } from '../support/node.js';

export const minter = new TokenMinter({ secret: SECRET });

interface Fixture {
  /** Starts a node of the test's own. */
  start: (settings?: Record<string, string>) => Promise<Node>;
  /** Makes a client with all rights of a backend. */
  connect: (url: string, options?: Options) => Draftwire;
  /** A node that no test of the file stops. */
  shared: Node;
  /** A client of the shared node. */
  dw: Draftwire;
  /** A topic of the test's own on the shared node; a user's name as well. */
  topic: string;
}

let shared: Promise<Node> | undefined;

/** Ends the shared node of a file; for `afterAll`. */
export async function removeShared(): Promise<void> {
  await (await shared)?.remove();
  shared = undefined;
}

export const test = base.extend<Fixture>({
  start: async ({}, use) => {
    const nodes: Node[] = [];
    await use(async (settings) => {
      const node = await Node.start(settings);
      nodes.push(node);
      return node;
    });
    for (const node of nodes) await node.remove();
  },
  connect: async ({}, use) => {
    const clients: Draftwire[] = [];
    await use((url, options) => {
      // Keys are remembered by user: each client has its own.
      const token = minter.source(`backend-${crypto.randomUUID()}`, ['service', 'subscribe:*']);
      const client = new Draftwire(url, { token, deadlineMs: 30_000, ...options });
      clients.push(client);
      return client;
    });
    for (const client of clients) client.close();
  },
  shared: async ({}, use) => {
    shared ??= Node.start();
    await use(await shared);
  },
  dw: async ({ shared, connect }, use) => use(connect(shared.url)),
  topic: async ({}, use) => use(`test-${crypto.randomUUID()}`),
});

/** How long the tests wait for anything, in milliseconds. */
export const DEADLINE_MS = 50_000;

/** Waits for a condition that something outside of the test brings about. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + DEADLINE_MS;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${DEADLINE_MS} ms`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** The error that a call ends with; nothing where it does not. */
export function failure(call: Promise<unknown>): Promise<unknown> {
  return call.then(() => undefined, (error: unknown) => error);
}

/** All that a history gives: the data of events, and whatever else comes. */
export async function brief(items: AsyncIterable<HistoryItem>): Promise<unknown[]> {
  const all: unknown[] = [];
  for await (const item of items) all.push(item.kind === 'event' ? item.data : item);
  return all;
}

/** Returns a list of numbers, from `start` on. */
export function range(count: number, start = 0): number[] {
  return Array.from({ length: count }, (_, n) => start + n);
}

/** Returns events that count, from `start` on. */
export function ticks(count: number, start = 0): { event: string; data: number }[] {
  return range(count, start).map((data) => ({ event: 'TICK', data }));
}

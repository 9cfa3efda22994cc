// One run of the model test: what a seed makes two devices do, of which one has two tabs.

import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { IndexedDbBackend } from '../../src/indexeddb/backend.js';
import { persistent, type Backend } from '../../src/store/index.js';
import { eventually } from '../support/client.js';
import type { Node } from '../support/node.js';
import { Observer } from '../support/observer.js';
import { Random } from '../support/random.js';
import { Origin } from '../support/tabs.js';
import { judge } from './judge.js';
import { Ledger } from './ledger.js';
import { Page, type Surroundings } from './page.js';

const STEPS = 60;
/** A run takes less than a second; one that never ends says how it stands. */
const RUN_MS_MAX = 60_000;

/** Each has a user of its own, also where a seed is repeated. */
let runs = 0;

interface StoredDraft {
  readonly draftId: string;
  readonly version: number;
  readonly content: Record<string, unknown>;
}

/** Runs a seed. Rejects with what was broken; the cause tells all that has happened. */
export async function run(node: Node, seed: number): Promise<void> {
  const random = new Random(seed);
  const ledger = new Ledger();
  runs += 1;
  const user = `user-${seed}-${runs}`;
  const observer = await Observer.watch(node, user);
  const origin = new Origin();
  const page = (name: string, device: string, open: () => Surroundings) => new Page({ node, name, device, user, random, ledger, open });
  const inTab = () => {
    const tab = origin.open();
    return { store: tab.store, kill: () => tab.kill(), freeze: () => tab.freeze(), thaw: () => tab.thaw() };
  };
  const pages = [page('a1', 'a', inTab), page('a2', 'a', inTab), page('b', 'b', () => killable(new IndexedDbBackend(user)))];
  try {
    for (let i = 0; i < STEPS; i += 1) {
      step(random, random.pick(pages));
      await turns(random.below(40));
    }
    await settle(node, user, pages, observer);
    await compare(node, user, pages, observer);
    judge(ledger, observer.events, pages);
  } catch (cause) {
    const events = observer.events.map(({ type, seq, origin, payload }) => `event ${seq} ${type} of ${origin}: ${ledger.number(payload.draftId)} v${payload.version} ${JSON.stringify(payload.content ?? payload.patch ?? null)}`);
    const story = join(await mkdtemp(join(tmpdir(), 'draftwire-model-')), `${seed}.txt`);
    await writeFile(story, `${(cause as Error).message}\n${[...ledger.story, ...events].join('\n')}\n`);
    throw new Error(`DRAFTWIRE_SEED=${seed}: ${(cause as Error).message}; all that happened is in ${story}`, { cause });
  } finally {
    for (const { dw } of pages) dw.close();
    observer.close();
    indexedDB.deleteDatabase(`draftwire:${user}`);
  }
}

function step(random: Random, page: Page): void {
  const dice = random.below(100);
  if (dice < 15) page.create();
  else if (dice < 55) page.edit();
  else if (dice < 60) page.remove();
  else if (dice < 68) page.decide();
  else if (dice < 78) page.cut();
  else if (dice < 88) page.mend();
  else if (dice < 92) page.freeze();
  else if (dice < 96) page.thaw();
  else {
    page.kill();
    page.start();
  }
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

/** Everything is sent, and everything decided, until nothing is left, and all have the same. */
async function settle(node: Node, user: string, pages: readonly Page[], observer: Observer): Promise<void> {
  for (const page of pages) {
    page.thaw();
    page.mend();
  }
  const begun = Date.now();
  const isSettled = () => pages.every((page) => page.isSettled);
  await eventually(async () => {
    if (Date.now() - begun > RUN_MS_MAX) throw new Error(`it never ends: ${JSON.stringify([...pages.map(standing), observer.events.length])}`);
    while (pages.some((page) => page.decide()));
    if (!isSettled()) {
      for (const page of pages) if (page.dw.state.status === 'waiting') page.mend();
      return false;
    }
    const { drafts, seq } = await stored(node, user);
    const inDatabase = versions(drafts.map(({ draftId, version }) => ({ id: draftId, version })));
    return (observer.events.at(-1)?.seq ?? 0) === seq && isSettled()
      && pages.every(({ notes }) => versions(notes.list.map(({ snapshot }) => snapshot)) === inDatabase);
  });
}

/** All pages show what the database has, and what a replay of all events gives. */
async function compare(node: Node, user: string, pages: readonly Page[], observer: Observer): Promise<void> {
  const { drafts } = await stored(node, user);
  const database = new Map(drafts.map(({ draftId, version, content }) => [draftId, { version, content }]));
  expect(observer.replay()).toEqual(database);
  for (const { notes } of pages) {
    expect(new Map(notes.list.map(({ id, snapshot: { version, content } }) => [id, { version, content }]))).toEqual(database);
  }
}

function stored(node: Node, user: string): Promise<{ drafts: StoredDraft[]; seq: number }> {
  return node.api('GET', 'v1/drafts', node.token(user));
}

function versions(drafts: readonly { id: string; version: number }[]): string {
  return JSON.stringify(drafts.map(({ id, version }) => `${id}=${version}`).sort());
}

function standing({ dw, name, notes }: Page): unknown {
  const open = notes.list.map(({ snapshot }) => snapshot).filter(({ status }) => status !== 'synced');
  return { name, state: dw.state, pending: dw.pendingCount, all: versions(notes.list.map(({ snapshot }) => snapshot)), open };
}

/** A store whose process can be killed: what it had not done then is never done. */
function killable(backend: Backend): Surroundings {
  let alive = true;
  const whileAlive = async <T>(work: () => Promise<T>): Promise<T> => {
    const result = alive ? await work() : undefined;
    return alive ? (result as T) : new Promise<T>(() => {});
  };
  const store = persistent({
    load: () => whileAlive(() => backend.load()),
    commit: (...commit) => whileAlive(() => backend.commit(...commit)),
    clear: () => whileAlive(() => backend.clear()),
    close: () => backend.close(),
  });
  const kill = () => {
    alive = false;
    backend.close();
  };
  return { store, kill };
}

// Two devices of one user, of which one has two tabs, change drafts at random, lose their connections, and are killed
// and started again on what they had stored. Against a real node; afterwards:
// - all pages show what the database has, and what a replay of all events gives;
// - no change was made twice, and those of a device to a field came in its order;
// - no change replaced a value that its device had not shown before, other than by the user's decision;
// - every change that was stored was made, or was replaced by a later one of the same device before it was sent, or
//   was shown as a conflict or a refusal.
//
// DRAFTWIRE_SEEDS is how many seeds are run (200), DRAFTWIRE_SEED the one that is run alone.

import 'fake-indexeddb/auto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { drafts, type Draft, type DraftCollection } from '../src/drafts/index.js';
import type { Draftwire } from '../src/index.js';
import { IndexedDbBackend } from '../src/indexeddb/backend.js';
import { persistent, type Backend, type Store } from '../src/store/index.js';
import { client, eventually, Network } from './support/client.js';
import { Node } from './support/node.js';
import { Observer } from './support/observer.js';
import { Random } from './support/random.js';
import { Origin } from './support/tabs.js';

const SEEDS = Number(process.env.DRAFTWIRE_SEEDS ?? 200);
const ONLY = process.env.DRAFTWIRE_SEED;
const AT_ONCE = 16;
const STEPS = 60;
/** A seed takes less than a second; one that never ends says how it stands. */
const SEED_MS_MAX = 60_000;
const FIELDS = ['title', 'quantity', 'note'];

let node: Node;
beforeAll(async () => {
  node = await Node.start({ CONNECTIONS_PER_USER: '1000' });
});
afterAll(() => node.remove());

type Note = Record<string, string | null>;

/** A store whose process can be killed: what it had not done then is never done. */
function killable(backend: Backend): { store: Store; kill: () => void } {
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

interface Edit {
  readonly page: Page;
  readonly draftId: string;
  readonly field: string;
  /** No other edit has it. */
  readonly value: string;
  /** When and where it was made, or decided anew. */
  at: number;
  by: Page;
  stored: boolean;
}

/** Counts everything that is shown and made. */
let clock = 0;

/** A page of a device; the pages of one share its store and its connection. */
class Page {
  readonly device: string;
  readonly #user: string;
  readonly #random: Random;
  readonly #edits: Edit[];
  readonly #open: () => { store: Store; kill: () => void };
  /** Values that were shown as not taken. */
  readonly shown = new Set<string>();
  /** When each value was first shown here. */
  readonly knownSince = new Map<string, number>();
  /** Drafts that were deleted here, with all that was changed in them. */
  readonly removed = new Set<string>();
  /** Refusals that must not be. */
  readonly refusals: unknown[] = [];
  #network!: Network;
  #kill!: () => void;
  #wake!: () => void;
  dw!: Draftwire;
  notes!: DraftCollection<Note>;

  constructor(device: string, user: string, random: Random, edits: Edit[], open: () => { store: Store; kill: () => void }) {
    this.device = device;
    this.#user = user;
    this.#random = random;
    this.#edits = edits;
    this.#open = open;
    this.start();
  }

  start(): void {
    const { store, kill } = this.#open();
    this.#kill = kill;
    this.#network = new Network();
    this.dw = client(node, this.#user, {
      device: this.device,
      store,
      network: this.#network,
      environment: {
        onWake: (wake) => {
          this.#wake = wake;
          return () => {};
        },
      },
    });
    this.notes = drafts<Note>(this.dw, 'note');
    this.notes.subscribe(() => this.#look());
  }

  kill(): void {
    this.#network.cut();
    this.#kill();
    this.dw.disconnect();
  }

  cut(): void {
    this.#network.cut();
  }

  mend(): void {
    this.#network.mend();
    this.#wake();
  }

  create(): void {
    const content: Note = {};
    const field = this.#random.pick(FIELDS);
    content[field] = this.#value();
    const draft = this.notes.create(content);
    this.#note(draft, field, content[field], draft.update({}).stored);
  }

  edit(): void {
    const draft = this.#any();
    if (!draft) return;
    const patch: Note = {};
    for (const field of FIELDS) if (this.#random.chance(40)) patch[field] = this.#value();
    const { stored } = draft.update(patch);
    for (const [field, value] of Object.entries(patch)) this.#note(draft, field, value!, stored);
  }

  remove(): void {
    const draft = this.#any();
    draft?.delete();
    if (draft) this.removed.add(draft.id);
  }

  /** Decides one conflict or refusal, if there is any. */
  decide(): boolean {
    for (const { snapshot } of this.notes.list) {
      const [conflict] = snapshot.conflicts;
      if (conflict) {
        if (this.#random.chance(50)) {
          clock += 1;
          for (const value of Object.values(conflict.mine ?? {})) for (const edit of this.#edits) if (edit.value === value) [edit.at, edit.by] = [clock, this];
          conflict.keepMine();
        } else {
          conflict.keepTheirs();
        }
        return true;
      }
      const [refusal] = snapshot.refusals;
      if (refusal) {
        refusal.dismiss();
        return true;
      }
    }
    return false;
  }

  #any(): Draft<Note> | undefined {
    return this.notes.list.length > 0 ? this.#random.pick(this.notes.list) : undefined;
  }

  #value(): string {
    return `${this.device}${this.#edits.length}-${this.#random.below(1e9)}`;
  }

  #note(draft: Draft<Note>, field: string, value: string, stored: Promise<void>): void {
    const edit: Edit = { page: this, draftId: draft.id, field, value, at: (clock += 1), by: this, stored: false };
    this.#edits.push(edit);
    void stored.then(() => {
      edit.stored = true;
    });
  }

  #look(): void {
    for (const { snapshot } of this.notes.list) {
      for (const shown of [snapshot.content, ...snapshot.conflicts.map(({ theirs }) => theirs)]) {
        for (const value of Object.values(shown)) if (value && !this.knownSince.has(value)) this.knownSince.set(value, (clock += 1));
      }
      // Only a draft that is gone has a right to refuse anything here.
      for (const { error } of snapshot.refusals) if (error.code !== 'not_found') this.refusals.push(error);
      for (const { mine } of [...snapshot.conflicts, ...snapshot.refusals]) {
        for (const value of Object.values(mine ?? {})) if (typeof value === 'string') this.shown.add(value);
      }
    }
  }
}

function stateOf({ dw, notes }: Page): unknown {
  return { state: dw.state, all: notes.list.map(({ id, snapshot }) => `${id}${snapshot.version}`), pending: dw.pendingCount, drafts: notes.list.map(({ snapshot }) => snapshot).filter(({ status }) => status !== 'synced') };
}

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

async function run(seed: number): Promise<void> {
  const random = new Random(seed);
  const user = `user-${seed}`;
  const observer = await Observer.watch(node, user);
  const edits: Edit[] = [];
  const origin = new Origin();
  const inTab = () => {
    const tab = origin.open();
    return { store: tab.store, kill: () => tab.kill() };
  };
  const alone = () => killable(new IndexedDbBackend(user));
  const pages = [['a', inTab], ['a', inTab], ['b', alone]].map(([device, open]) => new Page(device as string, user, random, edits, open as typeof alone));
  const shown = new Set<string>();
  for (let i = 0; i < STEPS; i += 1) {
    const page = random.pick(pages);
    const dice = random.below(100);
    if (dice < 15) page.create();
    else if (dice < 60) page.edit();
    else if (dice < 65) page.remove();
    else if (dice < 72) page.decide();
    else if (dice < 82) page.cut();
    else if (dice < 94) page.mend();
    else {
      page.kill();
      page.start();
    }
    await turns(random.below(40));
  }
  for (const page of pages) page.mend();

  // Everything is sent, and everything decided, until nothing is left.
  const open = () => pages.filter(({ dw, notes }) => dw.state.status !== 'live' || dw.pendingCount > 0 || notes.list.some(({ status }) => status !== 'synced'));
  const list = () => node.api('GET', 'v1/drafts', node.token(user));
  const begun = Date.now();
  await eventually(async () => {
    if (Date.now() - begun > SEED_MS_MAX) throw new Error(`it never ends: ${JSON.stringify([...pages.map(stateOf), [...observer.replay()].map(([id, { version }]) => id + version), observer.events.length, (await list()).seq, (await list()).drafts.length])}`);
    while (pages.some((page) => page.decide()));
    if (open().length > 0) {
      for (const { dw } of open()) if (dw.state.status === 'waiting') pages.find((each) => each.dw === dw)!.mend();
      return false;
    }
    const { drafts: stored, seq } = await list();
    const versions = (of: { id: string; version: number }[]) => JSON.stringify(of.map(({ id, version }) => `${id}=${version}`).sort());
    const inDatabase = versions(stored.map(({ draftId, version }: { draftId: string; version: number }) => ({ id: draftId, version })));
    return (observer.events.at(-1)?.seq ?? 0) === seq && open().length === 0
      && pages.every(({ notes }) => versions(notes.list.map(({ snapshot }) => snapshot)) === inDatabase);
  });

  const database = new Map((await list()).drafts.map(({ draftId, version, content }: any) => [draftId, { version, content }]));
  expect(observer.replay()).toEqual(database);
  for (const { notes } of pages) {
    expect(new Map(notes.list.map(({ id, snapshot: { version, content } }) => [id, { version, content }]))).toEqual(database);
  }

  const made = new Map<string, number>();
  const current = new Map<string, string>();
  for (const { payload, seq, origin } of observer.events) {
    for (const [field, value] of Object.entries((payload.content ?? payload.patch ?? {}) as Record<string, string>)) {
      expect(made.has(value), `${value} was made twice`).toBe(false);
      made.set(value, seq);
      const before = current.get(`${payload.draftId}/${field}`);
      current.set(`${payload.draftId}/${field}`, value);
      const { at, by } = edits.find((edit) => edit.value === value)!;
      const own = edits.find((edit) => edit.value === before)?.page.device === origin;
      const known = Math.min(...pages.filter(({ device }) => device === by.device).map(({ knownSince }) => knownSince.get(before ?? '') ?? Infinity));
      expect(before === undefined || own || known < at, `${value} replaced ${before} silently`).toBe(true);
    }
  }
  expect(pages.flatMap(({ refusals }) => refusals)).toEqual([]);
  for (const page of pages) for (const value of page.shown) shown.add(value);
  for (const [i, { page, draftId, field, value, stored }] of edits.entries()) {
    const others = edits.filter((other) => other.page.device === page.device && other.draftId === draftId && other.field === field);
    const before = made.get(value);
    for (const later of edits.slice(i + 1)) {
      if (before !== undefined && later.page === page && others.includes(later) && made.has(later.value)) expect(made.get(later.value)).toBeGreaterThan(before);
    }
    const accounted = others.some((other) => made.has(other.value) || shown.has(other.value));
    const removed = pages.some(({ device, removed: here }) => device === page.device && here.has(draftId));
    expect(!stored || before !== undefined || shown.has(value) || accounted || removed, `${value} of ${draftId}/${field} was lost`).toBe(true);
  }
  for (const { dw } of pages) dw.close();
  observer.close();
}

test(`two devices and a simple model, ${ONLY ? `seed ${ONLY}` : `${SEEDS} seeds`}`, { timeout: SEEDS * 10_000 }, async () => {
  const seeds = ONLY ? [Number(ONLY)] : Array.from({ length: SEEDS }, (_, i) => i + 1);
  const worker = async () => {
    for (let seed = seeds.shift(); seed !== undefined; seed = seeds.shift()) {
      try {
        await run(seed);
      } catch (error) {
        throw new Error(`DRAFTWIRE_SEED=${seed} repeats it`, { cause: error });
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
});

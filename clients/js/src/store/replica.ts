// The records of the store in memory, changed by steps. A step shows at once, is committed together with those that
// came meanwhile, and runs again on what another tab has committed first. So whoever reads sees every step so far,
// and the store never has half of one.

import { DraftwireError } from '../errors.js';
import type { Link, LinkOptions } from '../session/link.js';
import { Tabs, type TabMessage } from '../session/tabs.js';
import type { Backend } from './backend.js';
import type { Records, RecordsEvents, Step } from './records.js';

/** What other clients of the store are told of a commit. */
interface CommitNotice {
  readonly revision: number;
  readonly changes: readonly (readonly [string, unknown])[];
}

/** What the clients of a store tell each other: what their links do, and this. */
type Message =
  | { readonly type: 'commit'; readonly notice: CommitNotice }
  /** A client has read the store. One that was killed may have changed it without a word. */
  | { readonly type: 'loaded'; readonly revision: number }
  | { readonly type: 'clear' }
  | TabMessage;

interface Staged {
  readonly step: Step;
  readonly committed: () => void;
}

/** Attempts at one commit that other clients may overtake. Past it something is wrong with the store. */
const OVERTAKEN_MAX = 100;

/** A record that every store has. */
const ALWAYS = 'meta/device';

export class Replica implements Records {
  /** Null once it has failed: then everything is in memory. */
  #backend: Backend | null;
  readonly #events: RecordsEvents;
  readonly loaded: Promise<void>;
  #revision = 0;
  readonly #tables = new Map<string, Map<string, unknown>>();
  /** The greatest key that each table ever had. */
  readonly #lastKeys = new Map<string, string>();
  /** Steps that wait for their commit, and what the keys that they have changed were before. */
  #staged: Staged[] = [];
  #original = new Map<string, unknown>();
  /** The same of the commit that is under way. */
  #committing: { readonly staged: Staged[]; readonly original: ReadonlyMap<string, unknown> } | null = null;
  /** Commits of others that were not taken in yet. */
  #notices: CommitNotice[] = [];
  /** How this client shares a connection, once it does. */
  #link: Tabs | null = null;
  #isLoaded = false;
  #isClosed = false;
  #working = false;

  constructor(backend: Backend, events: RecordsEvents) {
    this.#backend = backend;
    this.#events = events;
    backend.watch?.((error) => this.#fail(error));
    backend.peers?.listen((message) => this.#hear(message as Message));
    this.loaded = this.#open();
  }

  get link(): ((options: LinkOptions) => Link) | undefined {
    const peers = this.#backend?.peers;
    return peers && ((options) => (this.#link = new Tabs(peers, options)));
  }

  get<T>(key: string): T | undefined {
    return this.#tables.get(tableOf(key))?.get(key) as T | undefined;
  }

  list<T>(table: string): Iterable<T> {
    return (this.#tables.get(table)?.values() ?? []) as Iterable<T>;
  }

  keys(table: string): string[] {
    return [...(this.#tables.get(table)?.keys() ?? [])];
  }

  count(table: string): number {
    return this.#tables.get(table)?.size ?? 0;
  }

  isCommitted(key: string): boolean {
    return !this.#original.has(key) && !this.#committing?.original.has(key);
  }

  run(step: Step): Promise<void> {
    return new Promise((resolve) => {
      const keys = this.#apply(step);
      this.#staged.push({ step, committed: resolve });
      if (keys.size > 0) this.#events.changed(keys);
      void this.#work();
    });
  }

  async clear(): Promise<void> {
    if (this.#isClosed) throw new DraftwireError('closed');
    await this.run(() => {});
    this.#backend?.peers?.post({ type: 'clear' } satisfies Message);
    await this.#backend?.clear();
    const keys = new Set(this.#allKeys());
    this.#tables.clear();
    this.#events.changed(keys);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const backend = this.#backend;
    void this.run(() => {}).then(() => backend?.close());
  }

  /** Loads all records, below what has been run meanwhile. */
  async #open(): Promise<void> {
    try {
      await this.#reload();
      this.#backend?.peers?.post({ type: 'loaded', revision: this.#revision } satisfies Message);
    } catch (error) {
      this.#fail(error);
      if ((error as DraftwireError).code === 'newer_version') throw error;
    }
    this.#isLoaded = true;
    void this.#work();
  }

  #hear(message: Message): void {
    if (!this.#backend) return;
    switch (message.type) {
      case 'commit':
        this.#notices.push(message.notice);
        return void this.#work();
      case 'loaded':
        // No commit has a number like this, so everything is read again.
        if (message.revision > this.#revision) this.#notices.push({ revision: Infinity, changes: [] });
        return void this.#work();
      case 'clear':
        return this.#forgotten();
      default:
        this.#link?.hear(message);
    }
  }

  // --- commits ----------------------------------------------------------------------------------------------------

  /** One thing at a time: takes in what others have committed, then commits what is staged. */
  async #work(): Promise<void> {
    if (this.#working || !this.#isLoaded) return;
    this.#working = true;
    // What is run in one go is committed in one go.
    await null;
    try {
      for (let overtaken = 0; this.#notices.length + this.#staged.length > 0; ) {
        if (this.#notices.length > 0) await this.#takeIn();
        else if (await this.#commit()) overtaken = 0;
        else if ((overtaken += 1) > OVERTAKEN_MAX) throw new DraftwireError('storage', `other clients of the store were faster ${OVERTAKEN_MAX} times in a row`);
        else if (this.#notices.length === 0) await this.#reload();
      }
    } catch (error) {
      this.#fail(error);
    }
    this.#working = false;
    if (this.#notices.length + this.#staged.length > 0) void this.#work();
  }

  async #commit(): Promise<boolean> {
    const changes = new Map([...this.#original.keys()].map((key) => [key, this.get(key)]));
    this.#committing = { staged: this.#staged, original: this.#original };
    this.#staged = [];
    this.#original = new Map();
    const backend = this.#backend;
    const done = changes.size === 0 || !backend || await backend.commit(this.#revision, changes);
    // It was lost meanwhile, and what was to be committed waits again.
    if (backend !== this.#backend || !this.#committing) return true;
    if (!done) {
      this.#putBack();
      return false;
    }
    const { staged } = this.#committing;
    this.#committing = null;
    if (changes.size > 0) {
      this.#revision += 1;
      const notice = { revision: this.#revision, changes: [...changes] };
      this.#backend?.peers?.post({ type: 'commit', notice } satisfies Message);
      this.#events.changed(new Set(changes.keys()));
    }
    for (const { committed } of staged) committed();
    return true;
  }

  /** What was to be committed waits again. Steps that came meanwhile have kept values of it as originals. */
  #putBack(): void {
    if (!this.#committing) return;
    this.#staged = [...this.#committing.staged, ...this.#staged];
    this.#original = new Map([...this.#original, ...this.#committing.original]);
    this.#committing = null;
  }

  /** Goes on from the commits of others, and runs what is staged again on top of them. */
  async #takeIn(): Promise<void> {
    const notices = this.#notices.filter(({ revision }) => revision > this.#revision);
    this.#notices = [];
    if (notices.length === 0) return;
    if (notices.some(({ revision }, i) => revision !== this.#revision + 1 + i)) return this.#reload();
    this.#rebase(() => {
      for (const { revision, changes } of notices) {
        for (const [key, value] of changes) this.#set(key, value);
        this.#revision = revision;
      }
      return notices.flatMap(({ changes }) => changes.map(([key]) => key));
    });
  }

  async #reload(): Promise<void> {
    if (!this.#backend) return;
    const { revision, records } = await this.#backend.load();
    // Another client has forgotten everything, and what it said has not come here yet.
    if (this.get(ALWAYS) !== undefined && this.isCommitted(ALWAYS) && !records.has(ALWAYS)) return this.#forgotten();
    this.#rebase(() => {
      const before = this.#allKeys();
      this.#tables.clear();
      for (const [key, value] of records) this.#set(key, value);
      this.#revision = revision;
      return [...before, ...records.keys()];
    });
  }

  #rebase(move: () => readonly string[]): void {
    const keys = new Set(this.#original.keys());
    for (const [key, value] of this.#original) this.#set(key, value);
    this.#original = new Map();
    for (const key of move()) keys.add(key);
    for (const { step } of this.#staged) for (const key of this.#apply(step)) keys.add(key);
    if (keys.size > 0) this.#events.changed(keys);
  }

  /** What is here, and what is staged, is of a user who has logged out. */
  #forgotten(): void {
    this.#backend?.close();
    this.#backend = null;
    this.#events.cleared();
  }

  /** Everything stays in memory from now on, what was loaded included. */
  #fail(cause: unknown): void {
    const error = cause instanceof DraftwireError ? cause : new DraftwireError('storage', `the store has failed: ${(cause as Error | null)?.message ?? cause}`, undefined, { cause });
    if (!this.#backend) return;
    this.#putBack();
    this.#backend = null;
    this.#notices = [];
    this.#events.failed(error);
  }

  // --- records ----------------------------------------------------------------------------------------------------

  /** Runs a step on what is here, and returns what it has changed. */
  #apply(step: Step): Set<string> {
    const keys = new Set<string>();
    const change = (key: string, value: unknown) => {
      if (!this.#original.has(key)) this.#original.set(key, this.get(key));
      this.#set(key, value);
      keys.add(key);
    };
    step({
      get: (key) => this.get(key),
      list: (table) => this.list(table),
      put: change,
      remove: (key) => change(key, undefined),
    });
    return keys;
  }

  #set(key: string, value: unknown): void {
    const name = tableOf(key);
    let table = this.#tables.get(name);
    if (!table) this.#tables.set(name, table = new Map<string, unknown>());
    if (value === undefined) {
      table.delete(key);
      return;
    }
    const last = this.#lastKeys.get(name) ?? '';
    const disordered = key < last && !table.has(key);
    table.set(key, value);
    if (key > last) this.#lastKeys.set(name, key);
    // Numbered keys come in their order; only one that is put back does not.
    if (disordered) this.#tables.set(name, new Map([...table].sort(([a], [b]) => (a < b ? -1 : 1))));
  }

  #allKeys(): string[] {
    return [...this.#tables.values()].flatMap((table) => [...table.keys()]);
  }
}

function tableOf(key: string): string {
  return key.slice(0, key.indexOf('/'));
}

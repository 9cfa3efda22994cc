// The records of the store in memory, changed by steps. A step shows at once, is committed together with those that
// came meanwhile, and runs again on what another tab has committed first. So whoever reads sees every step so far,
// and the store never has half of one.

import { DraftwireError } from '../errors.js';
import { memory } from './memory.js';
import type { Store } from './store.js';

/** What a step sees. A key is `<table>/<rest>`; the records of a table come in the order of their keys. */
export interface RecordsView {
  get<T>(key: string): T | undefined;
  /** The values of a table. */
  list<T>(table: string): Iterable<T>;
}

export interface RecordsEdit extends RecordsView {
  put(key: string, value: unknown): void;
  remove(key: string): void;
}

/** A change. It may run several times, and does nothing but to read and change records. */
export type Step = (records: RecordsEdit) => void;

/** What other clients of the store are told of a commit. */
export interface CommitNotice {
  readonly revision: number;
  readonly changes: readonly (readonly [string, unknown])[];
}

export interface ReplicaEvents {
  /** These records have changed, or are committed now. */
  changed(keys: ReadonlySet<string>): void;
  committed(notice: CommitNotice): void;
  /** The store has failed: from now on everything is in memory. */
  failed(error: DraftwireError): void;
}

interface Staged {
  readonly step: Step;
  readonly committed: () => void;
}

/** Attempts at one commit that other clients may overtake. Past it something is wrong with the store. */
const OVERTAKEN_MAX = 100;

export class Replica implements RecordsView {
  #store: Store;
  readonly #events: ReplicaEvents;
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
  #loaded = false;
  #working = false;

  constructor(store: Store, events: ReplicaEvents) {
    this.#store = store;
    this.#events = events;
    store.watch?.((error) => {
      if (this.#store === store) this.#fail(error);
    });
  }

  /**
   * Loads all records, below what has been run meanwhile. A store that fails is replaced by memory; only one of a
   * newer version rejects.
   */
  async open(): Promise<void> {
    try {
      await this.#reload();
    } catch (error) {
      if (error instanceof DraftwireError && error.code === 'newer_version') throw error;
      this.#fail(error);
    }
    this.#loaded = true;
    void this.#work();
  }

  /** Whether what the store has is here. */
  get isLoaded(): boolean {
    return this.#loaded;
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

  /** How many records a table has. */
  count(table: string): number {
    return this.#tables.get(table)?.size ?? 0;
  }

  /** Whether the store has the record as it is here. */
  isCommitted(key: string): boolean {
    return !this.#original.has(key) && !this.#committing?.original.has(key);
  }

  /** Runs a step. The promise resolves once the store has it, and never rejects. */
  run(step: Step): Promise<void> {
    return new Promise((resolve) => {
      const keys = this.#apply(step);
      this.#staged.push({ step, committed: resolve });
      if (keys.size > 0) this.#events.changed(keys);
      void this.#work();
    });
  }

  /** Another client has committed. */
  heard(notice: CommitNotice): void {
    this.#notices.push(notice);
    void this.#work();
  }

  /** Resolves once everything that was run is in the store. */
  flush(): Promise<void> {
    return this.run(() => {});
  }

  /** Forgets everything, in the store as well. */
  async clear(): Promise<void> {
    await this.flush();
    await this.#store.clear();
    const keys = new Set(this.#allKeys());
    this.#tables.clear();
    this.#events.changed(keys);
  }

  // --- commits ----------------------------------------------------------------------------------------------------

  /** One thing at a time: takes in what others have committed, then commits what is staged. */
  async #work(): Promise<void> {
    if (this.#working || !this.#loaded) return;
    this.#working = true;
    // What is run in one go is committed in one go.
    await null;
    try {
      for (let overtaken = 0; this.#notices.length + this.#staged.length > 0; ) {
        if (this.#notices.length > 0) await this.#takeIn();
        else if (await this.#commit()) overtaken = 0;
        else if ((overtaken += 1) > OVERTAKEN_MAX) throw new DraftwireError('storage', 'the store does not keep what is committed');
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
    const store = this.#store;
    const done = changes.size === 0 || await store.commit(this.#revision, changes);
    // The store was lost meanwhile, and what was to be committed waits again.
    if (store !== this.#store) return true;
    if (!done) {
      this.#putBack();
      return false;
    }
    const { staged } = this.#committing;
    this.#committing = null;
    if (changes.size > 0) {
      this.#revision += 1;
      this.#events.committed({ revision: this.#revision, changes: [...changes] });
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
    const { revision, records } = await this.#store.load();
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

  /** Everything stays in memory from now on, what was loaded included. */
  #fail(cause: unknown): void {
    const error = cause instanceof DraftwireError ? cause : new DraftwireError('storage', 'the store has failed', undefined, { cause });
    this.#putBack();
    this.#store = memory();
    this.#revision = 0;
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

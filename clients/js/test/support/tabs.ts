// Stores that tabs share, in one process: what IndexedDB, Web Locks and BroadcastChannel promise. A tab can be killed,
// which ends its lock and everything that it still does to others, or frozen, which keeps its lock.

import { persistent, type Backend, type Peers, type Store } from '../../src/store/index.js';

interface Waiting {
  readonly tab: Tab;
  readonly lead: (signal: AbortSignal) => Promise<void>;
}

export class Origin {
  readonly store = inMemory();
  readonly tabs = new Set<Tab>();
  #holder: { tab: Tab; stolen: AbortController } | null = null;
  readonly #waiting: Waiting[] = [];

  open(): Tab {
    const tab = new Tab(this);
    this.tabs.add(tab);
    return tab;
  }

  get leader(): Tab | undefined {
    return this.#holder?.tab;
  }

  elect(waiting: Waiting, steal: boolean, stop: AbortSignal): void {
    if (steal) {
      this.#holder?.stolen.abort();
      this.#grant(waiting);
      return;
    }
    this.#waiting.push(waiting);
    stop.addEventListener('abort', () => {
      const at = this.#waiting.indexOf(waiting);
      if (at >= 0) this.#waiting.splice(at, 1);
    });
    this.#next();
  }

  release(tab: Tab): void {
    if (this.#holder?.tab !== tab) return;
    this.#holder = null;
    this.#next();
  }

  #next(): void {
    if (this.#holder) return;
    const waiting = this.#waiting.shift();
    if (waiting && this.tabs.has(waiting.tab)) this.#grant(waiting);
    else if (waiting) this.#next();
  }

  #grant({ tab, lead }: Waiting): void {
    const holder = { tab, stolen: new AbortController() };
    this.#holder = holder;
    void Promise.resolve().then(() => lead(holder.stolen.signal)).then(() => {
      if (this.#holder === holder) this.release(tab);
    });
  }
}

export class Tab {
  readonly store: Store;
  readonly #origin: Origin;
  #listener: (message: unknown) => void = () => {};
  /** What has come while it is frozen. */
  #frozen: unknown[] | null = null;
  #isMute = false;

  constructor(origin: Origin) {
    this.#origin = origin;
    const peers: Peers = {
      post: (message) => {
        const copy = structuredClone(message);
        if (origin.tabs.has(this) && !this.#isMute) for (const tab of origin.tabs) if (tab !== this) setImmediate(() => tab.hear(copy));
      },
      listen: (listener) => {
        this.#listener = listener;
      },
      elect: (lead, { steal, stop }) => origin.elect({ tab: this, lead }, steal, stop),
      close: () => this.kill(),
    };
    const alive = async <T>(work: () => Promise<T>): Promise<T> => (origin.tabs.has(this) ? work() : new Promise<T>(() => {}));
    this.store = persistent({
      load: () => alive(() => origin.store.load()),
      commit: (...commit) => alive(() => origin.store.commit(...commit)),
      clear: () => alive(() => origin.store.clear()),
      close: () => this.kill(),
      peers,
    });
  }

  hear(message: unknown): void {
    if (!this.#origin.tabs.has(this)) return;
    if (this.#frozen) this.#frozen.push(message);
    else this.#listener(message);
  }

  /** It hears nothing, and keeps what it has. */
  freeze(): void {
    this.#frozen ??= [];
  }

  /** It stores, and tells nobody: it is killed in between. */
  mute(): void {
    this.#isMute = true;
  }

  /** @param lost whether what has come meanwhile is lost */
  thaw({ lost = false } = {}): void {
    const missed = lost ? [] : (this.#frozen ?? []);
    this.#frozen = null;
    for (const message of missed) this.hear(message);
  }

  kill(): void {
    this.#origin.tabs.delete(this);
    this.#origin.release(this);
  }
}

/** What several tabs may have in common. */
function inMemory(): Backend {
  let revision = 0;
  const records = new Map<string, unknown>();
  return {
    load: async () => ({ revision, records: new Map([...records].sort(([a], [b]) => (a < b ? -1 : 1))) }),
    commit: async (expected, changes) => {
      if (expected !== revision) return false;
      for (const [key, value] of changes) {
        if (value === undefined) records.delete(key);
        else records.set(key, value);
      }
      revision += 1;
      return true;
    },
    clear: async () => {
      revision += 1;
      records.clear();
    },
    close: () => {},
  };
}

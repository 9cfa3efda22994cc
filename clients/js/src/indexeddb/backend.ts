// Records in IndexedDB.

import { openDB, type DBSchema, type IDBPDatabase } from 'idb';
import { DraftwireError } from '../errors.js';
import type { Backend, Changes, Stored } from '../store/backend.js';
import { quiet } from '../wait.js';
import { browserPeers } from './peers.js';

/** The layout below, and what the records in it mean. Tabs with different ones do not work together. */
const FORMAT = 1;
/** Another tab that does not let go of an older layout holds this one up; then changes stay in memory. */
const OPEN_MS_MAX = 10_000;

interface Schema extends DBSchema {
  /** Records by their keys, and how many commits have made them. */
  records: { key: string; value: unknown };
  revision: { key: 'revision'; value: number };
}

/** Keeps records in a database of this name. */
export class IndexedDbBackend implements Backend {
  readonly peers;
  readonly #name: string;
  #database: Promise<IDBPDatabase<Schema>> | null = null;
  #closed = false;
  /** Why it cannot be used any more. */
  #lost: DraftwireError | null = null;
  #tellLost: (error: DraftwireError) => void = () => {};

  constructor(name: string) {
    this.#name = name;
    this.peers = browserPeers(name);
  }

  watch(lost: (error: DraftwireError) => void): void {
    this.#tellLost = lost;
  }

  load(): Promise<Stored> {
    return this.#use(async (database) => {
      const transaction = database.transaction(['records', 'revision']);
      const records = transaction.objectStore('records');
      const [keys, values, revision] = await Promise.all([
        records.getAllKeys(),
        records.getAll(),
        transaction.objectStore('revision').get('revision'),
        transaction.done,
      ]);
      return { revision: revision ?? 0, records: new Map(keys.map((key, i) => [key, values[i]])) };
    });
  }

  commit(revision: number, changes: Changes): Promise<boolean> {
    return this.#use(async (database) => {
      const transaction = database.transaction(['records', 'revision'], 'readwrite');
      const [records, revisions] = [transaction.objectStore('records'), transaction.objectStore('revision')];
      if (((await revisions.get('revision')) ?? 0) !== revision) {
        await transaction.done;
        return false;
      }
      try {
        const writes = [...changes].map(([key, value]) => quiet<unknown>(value === undefined ? records.delete(key) : records.put(value, key)));
        await Promise.all([...writes, revisions.put(revision + 1, 'revision'), transaction.done]);
        return true;
      } catch (error) {
        // A value that cannot be cloned ends nothing by itself, and what was written before it would stay.
        void quiet(transaction.done);
        abort(transaction);
        throw error;
      }
    });
  }

  clear(): Promise<void> {
    return this.#use(async (database) => {
      const transaction = database.transaction(['records', 'revision'], 'readwrite');
      const revision = (await transaction.objectStore('revision').get('revision')) ?? 0;
      // The revision goes on, so that no tab takes what comes for what it knows.
      await Promise.all([
        transaction.objectStore('records').clear(),
        transaction.objectStore('revision').put(revision + 1, 'revision'),
        transaction.done,
      ]);
    });
  }

  close(): void {
    this.#closed = true;
    this.peers?.close();
    this.#database?.then((database) => database.close(), () => {});
  }

  async #use<T>(work: (database: IDBPDatabase<Schema>) => Promise<T>): Promise<T> {
    if (this.#lost) throw this.#lost;
    try {
      this.#database ??= this.#open();
      return await work(await this.#database);
    } catch (error) {
      throw this.#lost ?? errorOf(error);
    }
  }

  async #open(): Promise<IDBPDatabase<Schema>> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => reject(new DraftwireError('storage', `the database did not open within ${OPEN_MS_MAX} ms`)), OPEN_MS_MAX);
    });
    const opening = openDB<Schema>(this.#name, FORMAT, {
      upgrade: (database) => {
        database.createObjectStore('records');
        database.createObjectStore('revision');
      },
      // Another tab has a newer layout, or deletes the database: whoever does not close keeps it waiting.
      blocking: (_current, wanted) => this.#lose(wanted),
      // The browser has closed it; the next use opens it again.
      terminated: () => {
        this.#database = null;
      },
    });
    try {
      return await Promise.race([opening, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  #lose(wanted: number | null): void {
    this.#database?.then((database) => database.close(), () => {});
    if (this.#closed || this.#lost) return;
    this.#lost = wanted === null
      ? new DraftwireError('storage', 'another tab or the browser is deleting the database')
      : newerVersion();
    this.#tellLost(this.#lost);
  }
}

function abort(transaction: { abort(): void }): void {
  try {
    transaction.abort();
  } catch {
    // It has ended already.
  }
}

function errorOf(cause: unknown): DraftwireError {
  if (cause instanceof DraftwireError) return cause;
  const { name, message } = cause as DOMException;
  if (name === 'VersionError') return newerVersion();
  return new DraftwireError('storage', `IndexedDB: ${message || name}`, undefined, { cause });
}

function newerVersion(): DraftwireError {
  return new DraftwireError('newer_version', 'a newer version of this package uses the database: reload the page');
}

// The records of a client: whatever it has to remember, changed by steps.

import type { DraftwireError } from '../errors.js';
import type { NewLink } from '../session/link.js';

/** What a step sees. A key is `<table>/<rest>`; the records of a table come in the order of their keys. */
export interface RecordsView {
  get<T>(key: string): T | undefined;
  /** The values of a table. */
  list<T>(table: string): Iterable<T>;
}

export interface RecordsEdit extends RecordsView {
  /** A new key comes after all others of its table, or the table is not read in order. */
  put(key: string, value: unknown): void;
  remove(key: string): void;
}

/** A change. It may run several times, and does nothing but to read and change records. */
export type Step = (records: RecordsEdit) => void;

/** The records as one client has them in memory, in which every step so far shows. */
export interface Records extends RecordsView {
  keys(table: string): string[];
  /** How many records a table has. */
  count(table: string): number;
  /** Whether the record is stored as it is here. */
  isCommitted(key: string): boolean;
  /** Runs a step. The promise resolves once it is stored, and never rejects. */
  run(step: Step): Promise<void>;
  /** Resolves once what was stored before is here; rejects with `newer_version`. */
  readonly loaded: Promise<void>;
  /** Forgets everything, in all clients of the store. Rejects where that is not possible, with `closed` after `close()`. */
  clear(): Promise<void>;
  /** Gives the store back once everything that was run is stored. */
  close(): void;
  /** Makes the clients of the store share a connection. Absent where there is one client. */
  readonly link?: NewLink | undefined;
}

export interface RecordsEvents {
  /** These records have changed, or are stored now. */
  changed(keys: ReadonlySet<string>): void;
  /** The store has failed: from now on everything is in memory. With `newer_version`, nothing must go on. */
  failed(error: DraftwireError): void;
  /** Another client of the store has forgotten everything. */
  cleared(): void;
}

/** Where a client keeps its records: `memory()`, `indexedDb(name)`, or `persistent(…)` of `draftwire/store`. */
export interface Store {
  /** Whether the records outlive the process. */
  readonly kind: 'persistent' | 'memory';
  open(events: RecordsEvents): Records;
}

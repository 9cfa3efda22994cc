// What keeps the records of a persistent store. `draftwire/indexeddb` is one; others are for platforms without it.

import type { DraftwireError } from '../errors.js';

/** New values by key; undefined removes the record. */
export type Changes = ReadonlyMap<string, unknown>;

/** All records, and how many commits have made them. */
export interface Stored {
  readonly revision: number;
  /** By key, in the order of their keys. They are plain JSON values. */
  readonly records: ReadonlyMap<string, unknown>;
}

/**
 * Keeps records, which a client reads once and then changes by commits. Several clients may share one, as tabs do:
 * a commit succeeds only for who has seen all commits before it, which makes them one after the other.
 */
export interface Backend {
  /** All records. Rejects with a DraftwireError, `storage` or `newer_version`. */
  load(): Promise<Stored>;
  /**
   * Makes all changes or none, durably, and counts the revision up by one. False, with nothing changed, where the
   * store is not at `revision`: another client has committed. Rejects as `load`, with nothing changed.
   */
  commit(revision: number, changes: Changes): Promise<boolean>;
  /** Removes all records. */
  clear(): Promise<void>;
  /** Gives resources back. The records stay. */
  close(): void;
  /** Calls the listener when the store cannot be used any more, with the error of every further call. */
  watch?(lost: (error: DraftwireError) => void): void;
  /** How the clients that share this store find each other. Absent where nobody shares it. */
  readonly peers?: Peers | undefined;
}

/** The clients that share a store. */
export interface Peers {
  /** Sends a message, a plain JSON value, to all others. */
  post(message: unknown): void;
  /** Called with the messages of the others. */
  listen(listener: (message: unknown) => void): void;
  /**
   * Calls `lead` as soon as no other client leads; it leads until the promise that it returns settles, or another
   * client takes the lead by `steal`, which aborts the `signal`. `stop` ends the waiting.
   */
  elect(lead: (signal: AbortSignal) => Promise<void>, options: { steal: boolean; stop: AbortSignal }): void;
  close(): void;
}

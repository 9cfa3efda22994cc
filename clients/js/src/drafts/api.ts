// The types of `draftwire/drafts`.

import type { Cursor, Unsubscribe, WaitOptions } from '../api.js';
import type { DraftwireError } from '../errors.js';

/** A JSON object with what the application keeps in a draft. */
export type Content = object;

/** A merge patch (RFC 7396): what it names is set, null removes, objects are merged into, arrays are replaced. */
export type MergePatch<T> = T extends readonly unknown[]
  ? T
  : T extends object
    ? { [K in keyof T]?: MergePatch<T[K]> | null }
    : T;

/**
 * - `saving`: a change is shown and is being written to this device's store.
 * - `pending`: every change is in this device's store, and the server has not answered all of them.
 * - `synced`: the server has everything.
 * - `conflict`: another device has changed the same fields; both values are kept until the user chooses.
 * - `refused`: the server has refused a change; it was taken back and is kept in `refusals` until `dismiss()`.
 */
export type DraftStatus = 'saving' | 'pending' | 'synced' | 'conflict' | 'refused';

/** A change of a draft on its way. */
export interface Change {
  /** Resolves once the change is in this device's store: from then on it outlives the page. Rejects with `closed` where the client was. */
  readonly stored: Promise<void>;
  /** Resolves once the server has acknowledged it. Rejects with what has become of it instead. */
  acknowledged(options?: WaitOptions): Promise<void>;
}

/** A change that met another one. Neither value is thrown away until one of the three calls. */
export interface Conflict<T extends Content = Content> {
  readonly id: string;
  /** `delete`: this device wanted to delete the draft. */
  readonly kind: 'update' | 'delete';
  /** JSON pointers (RFC 6901) of the fields that both have changed; empty for the whole draft. */
  readonly fields: readonly string[];
  /** What this device wanted to change; null for a deletion. */
  readonly mine: Readonly<MergePatch<T>> | null;
  /** The draft as the server has it. */
  readonly theirs: Readonly<T>;
  /** Makes this device's change again, on the draft as it stands. */
  keepMine(): Change;
  /** Drops this device's change. */
  keepTheirs(): void;
  /** Makes another change instead, on the draft as it stands. */
  merge(patch: MergePatch<T>): Change;
}

/** A change that the server refused. It was taken back, and nothing else with it. */
export interface Refusal<T extends Content = Content> {
  readonly id: string;
  readonly kind: 'create' | 'update' | 'delete';
  readonly error: DraftwireError;
  /** The content of a creation, the patch of an update, null for a deletion. */
  readonly mine: Readonly<MergePatch<T>> | null;
  /** Forgets it. */
  dismiss(): void;
}

/** A draft at one moment. The object stays the same until something in it changes. */
export interface DraftSnapshot<T extends Content = Content> {
  readonly id: string;
  readonly kind: string;
  /** The server's version, 0 before it has the draft. */
  readonly version: number;
  /** What the user sees: what the server has, and on top of it what is pending or in conflict. */
  readonly content: Readonly<T>;
  readonly status: DraftStatus;
  /** Whether it is gone: deleted here, or on the server. With changes of this device in `refusals` it stays listed. */
  readonly deleted: boolean;
  /** When the server's version was made, in Unix milliseconds; 0 before. */
  readonly updatedAt: number;
  /** How many changes the server has not answered yet. */
  readonly pendingCount: number;
  readonly conflicts: readonly Conflict<T>[];
  readonly refusals: readonly Refusal<T>[];
}

/** A draft, through all its changes. There is one object for each draft of a collection. */
export interface Draft<T extends Content = Content> {
  readonly id: string;
  /** The draft as it is now. */
  readonly snapshot: DraftSnapshot<T>;
  /** `snapshot.content` */
  readonly content: Readonly<T>;
  /** `snapshot.status` */
  readonly status: DraftStatus;
  /** Changes fields: at once here, stored, sent, confirmed. */
  update(patch: MergePatch<T>): Change;
  /** Deletes the draft, unless another device has changed it in a way that was not seen here. */
  delete(): Change;
  /** Resolves once the server has answered all changes made so far, whatever it said. */
  settled(options?: WaitOptions): Promise<void>;
  /** Calls the listener whenever `snapshot` is another one. */
  readonly subscribe: (listener: () => void) => Unsubscribe;
  on(event: 'conflict', handler: (conflict: Conflict<T>) => void): Unsubscribe;
  on(event: 'refused', handler: (refusal: Refusal<T>) => void): Unsubscribe;
}

/** The user's drafts of one kind. */
export interface DraftCollection<T extends Content = Content> {
  readonly kind: string;
  /** Whether the drafts are known: from this device's store, or from the server. */
  readonly loaded: boolean;
  /**
   * Which of the user's events the drafts include: all up to this one. Null before they are loaded. Two devices at the
   * same cursor have the same drafts, apart from what they have not sent yet.
   */
  readonly cursor: Cursor | null;
  /** All drafts, ordered by id, of which those made here begin with the time. Another array whenever one of them has changed. */
  readonly list: readonly Draft<T>[];
  get(id: string): Draft<T> | undefined;
  /** Makes a draft. It shows at once. @throws DraftwireError `queue_full`, and `closed` where the client was closed */
  create(content: T, options?: { id?: string }): Draft<T>;
  /** Calls the listener whenever `list` is another one, or `loaded` or `cursor` has changed. */
  readonly subscribe: (listener: () => void) => Unsubscribe;
  on(event: 'conflict', handler: (conflict: Conflict<T>, draft: Draft<T>) => void): Unsubscribe;
  on(event: 'refused', handler: (refusal: Refusal<T>, draft: Draft<T>) => void): Unsubscribe;
}

import type { Unsubscribe, WaitOptions } from '../api.js';
import { errorOf } from '../errors.js';
import { equal, toJson } from '../json.js';
import { newListeners, type Listeners } from '../listeners.js';
import type { Change, Conflict, Content, Draft, DraftSnapshot, DraftStatus, MergePatch, Refusal } from './api.js';
import type { Changes } from './changes.js';
import { composed, deleteDraft, dropOutcome, resolveConflict, updateDraft, type Decided, type Seen } from './edits.js';
import type { JsonObject } from './merge.js';
import type { OutcomeRecord } from './records.js';
import type { DraftView } from './view.js';

/** What a draft needs of the drafts of its client. */
export interface DraftHost {
  readonly onError: (error: unknown) => void;
  readonly changes: Changes;
  view(draftId: string): DraftView | null;
  /** Told for the collection as well. */
  conflict(conflict: Conflict<any>, draft: Draft<any>): void;
  refused(refusal: Refusal<any>, draft: Draft<any>): void;
}

export class LiveDraft<T extends Content> implements Draft<T> {
  readonly id: string;
  readonly #host: DraftHost;
  readonly #changed: Listeners;
  readonly #conflict: Listeners<[Conflict<T>]>;
  readonly #refused: Listeners<[Refusal<T>]>;
  #snapshot: DraftSnapshot<T> | null = null;
  /** Outcomes that were told of. */
  #told = new Set<string>();

  constructor(id: string, host: DraftHost) {
    this.id = id;
    this.#host = host;
    this.#changed = newListeners(host.onError);
    this.#conflict = newListeners(host.onError);
    this.#refused = newListeners(host.onError);
    for (const { id: outcome } of [...this.snapshot.conflicts, ...this.snapshot.refusals]) this.#told.add(outcome);
  }

  get snapshot(): DraftSnapshot<T> {
    this.#snapshot ??= this.#look();
    return this.#snapshot;
  }

  get content(): Readonly<T> {
    return this.snapshot.content;
  }

  get status(): DraftStatus {
    return this.snapshot.status;
  }

  readonly subscribe = (listener: () => void): Unsubscribe => this.#changed.add(listener);

  on(event: 'conflict', handler: (conflict: Conflict<T>) => void): Unsubscribe;
  on(event: 'refused', handler: (refusal: Refusal<T>) => void): Unsubscribe;
  on(event: 'conflict' | 'refused', handler: (value: any) => void): Unsubscribe {
    return (event === 'conflict' ? this.#conflict : this.#refused).add(handler);
  }

  update(patch: MergePatch<T>): Change {
    const [seen, wanted] = [this.#seen, toJson(patch) as JsonObject];
    return this.#host.changes.make((records, author) => updateDraft(records, author, seen, wanted));
  }

  delete(): Change {
    const seen = this.#seen;
    return this.#host.changes.make((records, author) => {
      deleteDraft(records, author, seen);
      return [author.id];
    });
  }

  /** What the user sees while making a change. */
  get #seen(): Seen {
    const { kind, version } = this.snapshot;
    const hidden = new Map<string, number>();
    for (const { payload, type } of this.#host.view(this.id)?.commands ?? []) {
      if (type !== 'DRAFT_UPDATE') continue;
      for (const field of Object.keys(payload.patch)) hidden.set(field, Math.min(payload.baseVersion, hidden.get(field) ?? version));
    }
    return { draftId: this.id, kind, version, hidden };
  }

  settled(options?: WaitOptions): Promise<void> {
    return this.#host.changes.until(() => (this.#host.view(this.id)?.pendingCount ?? 0) === 0, options);
  }

  /** Something of it has changed. */
  changed(): void {
    const before = this.#snapshot;
    const after = this.#look();
    if (before && equal(plain(before), plain(after))) return;
    this.#snapshot = after;
    this.#changed.call();
    for (const conflict of after.conflicts) this.#tell(conflict.id, () => {
      this.#conflict.call(conflict);
      this.#host.conflict(conflict, this);
    });
    for (const refusal of after.refusals) this.#tell(refusal.id, () => {
      this.#refused.call(refusal);
      this.#host.refused(refusal, this);
    });
    const left = new Set([...after.conflicts, ...after.refusals].map(({ id }) => id));
    for (const id of this.#told) if (!left.has(id)) this.#told.delete(id);
  }

  close(): void {
    for (const listeners of [this.#changed, this.#conflict, this.#refused]) listeners.clear();
  }

  #tell(outcome: string, tell: () => void): void {
    if (this.#told.has(outcome)) return;
    this.#told.add(outcome);
    tell();
  }

  #look(): DraftSnapshot<T> {
    const view = this.#host.view(this.id);
    if (!view) return Object.freeze({ ...(this.#snapshot ?? NOTHING), ...GONE, id: this.id }) as DraftSnapshot<T>;
    const { commands: _, hidden, conflicts, refusals, deleted, content, ...rest } = view;
    return Object.freeze({
      ...rest,
      id: this.id,
      content: content as Readonly<T>,
      deleted: deleted || hidden,
      conflicts: conflicts.map((outcome) => this.#conflictOf(outcome, view.version)),
      refusals: refusals.map((outcome) => this.#refusalOf(outcome)),
    });
  }

  #conflictOf(outcome: OutcomeRecord, current: number): Conflict<T> {
    const { id, change, fields = [], patches, theirs = {}, version = 0 } = outcome;
    const { changes } = this.#host;
    // What the user has typed since belongs to it.
    const decide = (): Decided => {
      const open = this.#host.view(this.id)?.conflicts.find((each) => each.id === id);
      return { seen: open ?? outcome, isOpen: open !== undefined };
    };
    const resolve = (instead?: JsonObject) => {
      const decided = decide();
      return changes.make((records, author) => resolveConflict(records, author, decided, Math.max(version, current), instead));
    };
    return Object.freeze({
      id,
      kind: change === 'delete' ? change : 'update',
      fields,
      mine: mineOf(patches) as Conflict<T>['mine'],
      theirs: theirs as Readonly<T>,
      keepMine: () => resolve(),
      keepTheirs: () => {
        const { seen } = decide();
        changes.run((records) => dropOutcome(records, seen));
      },
      merge: (patch: MergePatch<T>) => resolve(toJson(patch) as JsonObject),
    });
  }

  #refusalOf(outcome: OutcomeRecord): Refusal<T> {
    const { id, change, patches, error } = outcome;
    return Object.freeze({
      id,
      kind: change,
      error: errorOf(error),
      mine: mineOf(patches) as Refusal<T>['mine'],
      dismiss: () => this.#host.changes.run((records) => dropOutcome(records, outcome)),
    });
  }
}

const NOTHING = { kind: '', version: 0, content: Object.freeze({}), updatedAt: 0 };
/** What a draft is that is not there any more; it shows what it showed last. */
const GONE = { status: 'synced', deleted: true, pendingCount: 0, conflicts: [], refusals: [] } as const;

/** One patch, as far as there is one that says the same. */
function mineOf(patches: readonly JsonObject[]): JsonObject | null {
  return patches.length === 0 ? null : Object.assign({}, ...composed(patches));
}

/** What two snapshots are compared by. */
function plain({ conflicts, refusals, ...snapshot }: DraftSnapshot<any>): unknown {
  const outcomes = [...conflicts, ...refusals].map(({ id, mine }) => ({ id, mine }));
  return { ...snapshot, outcomes, theirs: conflicts.map(({ theirs, fields }) => ({ theirs, fields })) };
}

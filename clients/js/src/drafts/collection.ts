import type { Cursor, Unsubscribe } from '../api.js';
import { toJson } from '../json.js';
import { newListeners, type Listeners } from '../listeners.js';
import { formatCursor } from '../protocol.js';
import type { Conflict, Content, Draft, DraftCollection, Refusal } from './api.js';
import type { Drafts } from './drafts.js';
import type { JsonObject } from './merge.js';

export class Collection<T extends Content> implements DraftCollection<T> {
  readonly kind: string;
  readonly #drafts: Drafts;
  readonly #changed: Listeners;
  readonly #conflict: Listeners<[Conflict<T>, Draft<T>]>;
  readonly #refused: Listeners<[Refusal<T>, Draft<T>]>;
  #list: readonly Draft<T>[] | null = null;

  constructor(kind: string, drafts: Drafts, onError: (error: unknown) => void) {
    this.kind = kind;
    this.#drafts = drafts;
    this.#changed = newListeners(onError);
    this.#conflict = newListeners(onError);
    this.#refused = newListeners(onError);
  }

  get loaded(): boolean {
    return this.cursor !== null;
  }

  get cursor(): Cursor | null {
    const { position } = this.#drafts;
    return position && formatCursor(position);
  }

  get list(): readonly Draft<T>[] {
    this.#list ??= Object.freeze(this.#drafts.shown(this.kind).map((id): Draft<T> => this.#drafts.draft(id)));
    return this.#list;
  }

  get(id: string): Draft<T> | undefined {
    return this.#drafts.isShown(this.kind, id) ? this.#drafts.draft(id) : undefined;
  }

  create(content: T, { id }: { id?: string } = {}): Draft<T> {
    return this.#drafts.create(this.kind, toJson(content) as unknown as JsonObject, id);
  }

  readonly subscribe = (listener: () => void): Unsubscribe => this.#changed.add(listener);

  on(event: 'conflict', handler: (conflict: Conflict<T>, draft: Draft<T>) => void): Unsubscribe;
  on(event: 'refused', handler: (refusal: Refusal<T>, draft: Draft<T>) => void): Unsubscribe;
  on(event: 'conflict' | 'refused', handler: (value: any, draft: Draft<T>) => void): Unsubscribe {
    return (event === 'conflict' ? this.#conflict : this.#refused).add(handler);
  }

  /** The list is another one. */
  stale(): void {
    this.#list = null;
  }

  changed(): void {
    this.#changed.call();
  }

  conflict(conflict: Conflict<T>, draft: Draft<T>): void {
    this.#conflict.call(conflict, draft);
  }

  refused(refusal: Refusal<T>, draft: Draft<T>): void {
    this.#refused.call(refusal, draft);
  }

  close(): void {
    for (const listeners of [this.#changed, this.#conflict, this.#refused]) listeners.clear();
  }
}

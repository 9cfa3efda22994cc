// The user's drafts of one client, of all kinds.

import type { Internals } from '../draftwire.js';
import type { DraftwireError } from '../errors.js';
import { randomId } from '../json.js';
import { newCommandQueue } from '../session/command_queue.js';
import type { Position } from '../protocol.js';
import type { Content } from './api.js';
import { Changes } from './changes.js';
import { Collection } from './collection.js';
import { LiveDraft, type DraftHost } from './draft.js';
import { DraftStream } from './draft_stream.js';
import { createDraft } from './edits.js';
import { IndexByDraft } from './index_by_draft.js';
import type { JsonObject } from './merge.js';
import { draftRules } from './rules.js';
import { viewOf, type DraftView } from './view.js';

/** Objects of drafts that are kept also where the draft is gone. */
const HANDLES_MAX = 10_000;

export class Drafts {
  readonly #internals: Internals;
  readonly #index: IndexByDraft;
  readonly #changes: Changes;
  readonly #host: DraftHost;
  readonly #views = new Map<string, DraftView>();
  readonly #drafts = new Map<string, LiveDraft<any>>();
  readonly #collections = new Map<string, Collection<any>>();

  constructor(internals: Internals) {
    const { onError, records, tab } = internals;
    this.#internals = internals;
    this.#index = new IndexByDraft(records);
    this.#changes = new Changes(records, this.#index, tab);
    this.#host = {
      onError,
      changes: this.#changes,
      view: (draftId) => this.#views.get(draftId) ?? null,
      conflict: (conflict, draft) => this.collection(draft.snapshot.kind).conflict(conflict, draft),
      refused: (refusal, draft) => this.collection(draft.snapshot.kind).refused(refusal, draft),
    };
    this.#changed(['draft', 'command', 'outcome'].flatMap((table) => records.keys(table)));
    internals.keep({
      ...draftRules,
      newCommandQueue,
      follow: (host) => new DraftStream(host),
      changed: (keys) => this.#changed(keys),
      close: (error) => this.#close(error),
    });
  }

  /** Where the drafts stand on the stream `user`; null until they are known, from the store or from the server. */
  get position(): Position | null {
    return this.#internals.records.get<Position>('position/user') ?? null;
  }

  collection<T extends Content>(kind: string): Collection<T> {
    let collection = this.#collections.get(kind);
    if (!collection) this.#collections.set(kind, collection = new Collection(kind, this, this.#internals.onError));
    return collection;
  }

  create(kind: string, content: JsonObject, id: string | undefined): LiveDraft<any> {
    // Ids that begin with the time sort by age.
    const draftId = id ?? `d-${Date.now().toString(36)}-${randomId().slice(0, 12)}`;
    // There is no promise that would tell.
    this.#changes.checkOpen();
    this.#changes.make((records, author) => {
      createDraft(records, author, { draftId, kind, content }, id === undefined);
      return [author.id];
    });
    return this.draft(draftId);
  }

  /** The object of a draft, the same for as long as the draft is there. */
  draft(draftId: string): LiveDraft<any> {
    let draft = this.#drafts.get(draftId);
    if (!draft) this.#drafts.set(draftId, draft = new LiveDraft(draftId, this.#host));
    return draft;
  }

  isShown(kind: string, draftId: string): boolean {
    const view = this.#views.get(draftId);
    return view !== undefined && view.kind === kind && !view.hidden;
  }

  /** The ids of the drafts of a kind that are to be shown, in their order. */
  shown(kind: string): string[] {
    return [...this.#views.keys()].filter((id) => this.isShown(kind, id)).sort();
  }

  #changed(keys: Iterable<string>): void {
    const all = [...keys];
    const kinds = new Set<string>();
    const drafts = this.#index.update(all);
    for (const draftId of drafts) {
      const before = this.#views.get(draftId);
      const view = viewOf(this.#index.stateOf(draftId));
      if (view) this.#views.set(draftId, view);
      else this.#views.delete(draftId);
      for (const each of [before, view]) if (each) kinds.add(each.kind);
    }
    // Everything is as it will be before anybody is told.
    const known = all.includes('position/user');
    for (const [kind, collection] of this.#collections) if (known || kinds.has(kind)) collection.stale();
    for (const draftId of drafts) {
      this.#drafts.get(draftId)?.changed();
      // Who still has the object of a draft that is gone may change it, and is told that it was refused.
      if (!this.#views.has(draftId) && this.#drafts.size > HANDLES_MAX) this.#drafts.delete(draftId);
    }
    for (const [kind, collection] of [...this.#collections]) if (known || kinds.has(kind)) collection.changed();
    this.#changes.look();
  }

  #close(error: DraftwireError): void {
    this.#changes.close(error);
    for (const ended of [...this.#drafts.values(), ...this.#collections.values()]) ended.close();
  }
}

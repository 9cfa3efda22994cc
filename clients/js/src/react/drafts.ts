import { useCallback, useMemo, useSyncExternalStore } from 'react';
import type { Draftwire } from '../draftwire.js';
import { drafts, type Change, type Content, type Draft, type DraftCollection, type DraftSnapshot, type MergePatch } from '../drafts/index.js';
import { DraftwireError } from '../errors.js';
import { useDraftwire } from './provider.js';

/** What `useDrafts` returns. The object stays the same until something in it changes. */
export interface UsedDrafts<T extends Content = Content> {
  /** All drafts of the kind, ordered by id. Both the list and each draft stay the same objects until they change. */
  readonly drafts: readonly DraftSnapshot<T>[];
  /** Whether the drafts are known: from this device's store, or from the server. */
  readonly loaded: boolean;
  /** Makes a draft. It shows at once. */
  create(content: T, options?: { id?: string }): Draft<T>;
  /** Changes fields of a draft of the list. Throws `not_found` where it is gone. */
  update(id: string, patch: MergePatch<T>): Change;
  /** Deletes a draft of the list. Throws `not_found` where it is gone. */
  delete(id: string): Change;
}

/** What `useDraft` returns. The object stays the same until something in it changes. */
export interface UsedDraft<T extends Content = Content> {
  /** Undefined where there is no such draft, or not yet: see `loaded`. */
  readonly draft: DraftSnapshot<T> | undefined;
  /** Whether the drafts are known: from this device's store, or from the server. */
  readonly loaded: boolean;
  /** Changes fields: at once here, stored, sent, confirmed. Throws `not_found` where the draft is gone. */
  update(patch: MergePatch<T>): Change;
  /** Deletes the draft. Throws `not_found` where it is gone. */
  delete(): Change;
}

interface Shown<T extends Content> {
  readonly drafts: readonly DraftSnapshot<T>[];
  readonly loaded: boolean;
}

/** What a server renders, and a page until it is hydrated. */
const ON_SERVER: Shown<any> = { drafts: [], loaded: false };

/** What was shown last of each collection, by all components. */
const last = new WeakMap<DraftCollection<any>, Shown<any>>();

/** The user's drafts of one kind. */
export function useDrafts<T extends Content = Content>(kind: string): UsedDrafts<T> {
  const client = useDraftwire();
  const shown = useSyncExternalStore(useSubscribe(client, kind), () => shownOf(drafts<T>(client, kind)), (): Shown<T> => ON_SERVER);
  return useMemo(() => ({
    ...shown,
    create: (content, options) => drafts<T>(client, kind).create(content, options),
    update: (id, patch) => existing<T>(client, kind, id).update(patch),
    delete: (id) => existing<T>(client, kind, id).delete(),
  }), [client, kind, shown]);
}

/** One draft of the user. With null there is none, as before one is chosen. */
export function useDraft<T extends Content = Content>(kind: string, id: string | null): UsedDraft<T> {
  const client = useDraftwire();
  const subscribe = useSubscribe(client, kind);
  const draft = useSyncExternalStore(
    subscribe,
    () => (id === null ? undefined : drafts<T>(client, kind).get(id)?.snapshot),
    () => undefined,
  );
  const loaded = useSyncExternalStore(subscribe, () => drafts(client, kind).loaded, () => false);
  return useMemo(() => ({
    draft,
    loaded,
    update: (patch) => existing<T>(client, kind, id).update(patch),
    delete: () => existing<T>(client, kind, id).delete(),
  }), [client, kind, id, draft, loaded]);
}

/** A draft may come, go and come again, with another object: so also one draft is followed by its collection. */
function useSubscribe(client: Draftwire, kind: string) {
  return useCallback((listener: () => void) => drafts(client, kind).subscribe(listener), [client, kind]);
}

/** The collection's own list is another one more often than what it shows. */
function shownOf<T extends Content>(collection: DraftCollection<T>): Shown<T> {
  const before: Shown<T> | undefined = last.get(collection);
  const { loaded } = collection;
  const list = collection.list.map(({ snapshot }) => snapshot);
  const isSameList = before?.drafts.length === list.length && list.every((draft, i) => draft === before.drafts[i]);
  if (before && isSameList && before.loaded === loaded) return before;
  const shown = { drafts: isSameList ? before!.drafts : Object.freeze(list), loaded };
  last.set(collection, shown);
  return shown;
}

function existing<T extends Content>(client: Draftwire, kind: string, id: string | null): Draft<T> {
  const draft = id === null ? undefined : drafts<T>(client, kind).get(id);
  if (!draft) throw new DraftwireError('not_found', `there is no draft ${id} of kind ${kind}`);
  return draft;
}

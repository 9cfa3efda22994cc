import { internals, type Draftwire } from '../draftwire.js';
import type { Content, DraftCollection } from './api.js';
import { Drafts } from './drafts.js';

export type * from './api.js';

/** The user's drafts of one kind. Every call with the same client and kind returns the same collection. */
export function drafts<T extends Content = Content>(client: Draftwire, kind: string): DraftCollection<T> {
  const inside = client[internals];
  inside.drafts ??= new Drafts(inside);
  return (inside.drafts as Drafts).collection<T>(kind);
}

import type { Draftwire } from '../draftwire.js';
import type { Content, DraftCollection } from './api.js';

export type * from './api.js';

/** The user's drafts of one kind. Every call with the same client and kind returns the same collection. */
export function drafts<T extends Content = Content>(_client: Draftwire, _kind: string): DraftCollection<T> {
  throw new Error('not there yet');
}

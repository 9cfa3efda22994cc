// The entry `draftwire/indexeddb`: a store that outlives the page, and that the tabs of one origin share.

import { persistent, type Store } from '../store/index.js';
import { IndexedDbBackend } from './backend.js';

/**
 * Keeps everything in the browser's IndexedDB, in a database of this name. All tabs of one origin with the same name
 * share one connection; give each application that has nothing to do with the others a name of its own.
 */
export function indexedDb(name: string): Store {
  return persistent(new IndexedDbBackend(`draftwire:${name}`));
}

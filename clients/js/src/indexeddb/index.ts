import type { Store } from '../store/store.js';

/** Keeps everything in the browser's IndexedDB, in a database of this name, which tabs of one origin share. */
export function indexedDb(_name: string): Store {
  throw new Error('not there yet');
}

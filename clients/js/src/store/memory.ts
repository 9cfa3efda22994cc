import type { Changes, Store } from './store.js';

/** Keeps everything in memory: it ends with the page. */
export function memory(): Store {
  let revision = 0;
  const records = new Map<string, unknown>();
  return {
    kind: 'memory',
    load: async () => ({ revision, records: new Map(records) }),
    commit: async (expected: number, changes: Changes) => {
      if (expected !== revision) return false;
      for (const [key, value] of changes) {
        if (value === undefined) records.delete(key);
        else records.set(key, value);
      }
      revision += 1;
      return true;
    },
    clear: async () => {
      revision += 1;
      records.clear();
    },
    close: () => {},
  };
}

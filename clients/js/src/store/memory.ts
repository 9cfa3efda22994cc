import type { Records, RecordsEvents, Store } from './records.js';

/** Keeps everything in memory, for one client at a time: it ends with the page. */
export function memory(): Store {
  const tables = new Map<string, Map<string, unknown>>();
  const tableOf = (name: string) => {
    let table = tables.get(name);
    if (!table) tables.set(name, table = new Map<string, unknown>());
    return table;
  };
  const of = (key: string) => tableOf(key.slice(0, key.indexOf('/')));
  const records = ({ changed }: RecordsEvents): Records => ({
    get: <T>(key: string) => of(key).get(key) as T | undefined,
    list: <T>(table: string) => tableOf(table).values() as Iterable<T>,
    keys: (table) => [...tableOf(table).keys()],
    count: (table) => tableOf(table).size,
    isCommitted: () => true,
    async run(step) {
      const keys = new Set<string>();
      step({
        get: this.get,
        list: this.list,
        put: (key, value) => {
          keys.add(key);
          of(key).set(key, value);
        },
        remove: (key) => {
          keys.add(key);
          of(key).delete(key);
        },
      });
      if (keys.size > 0) changed(keys);
    },
    loaded: Promise.resolve(),
    clear: async () => tables.clear(),
    close: () => {},
  });
  return { kind: 'memory', open: records };
}

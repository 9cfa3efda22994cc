import { useSyncExternalStore } from 'react';
import type { ConnectionState, StorageState } from '../api.js';
import type { Draftwire } from '../draftwire.js';
import { useDraftwire } from './provider.js';

/** What `useConnection` returns. The object stays the same until something in it changes. */
export interface Connection {
  readonly state: ConnectionState;
  readonly storage: StorageState;
  /** How many changes and published events the server has not answered yet. */
  readonly pendingCount: number;
}

/** What a server renders, and a page until it is hydrated. */
const ON_SERVER: Connection = { state: { status: 'offline' }, storage: { kind: 'memory' }, pendingCount: 0 };

const last = new WeakMap<Draftwire, Connection>();

/** What the connection is doing, where changes are kept, and how many wait for the server. */
export function useConnection(): Connection {
  const client = useDraftwire();
  return useSyncExternalStore(client.subscribe, () => connectionOf(client), () => ON_SERVER);
}

function connectionOf(client: Draftwire): Connection {
  const { state, storage, pendingCount } = client;
  const before = last.get(client);
  if (before && before.state === state && before.storage === storage && before.pendingCount === pendingCount) return before;
  const connection = { state, storage, pendingCount };
  last.set(client, connection);
  return connection;
}

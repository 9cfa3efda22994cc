// How the tabs of one origin find each other: a lock elects one, a channel tells the others.

import type { Peers } from '../store/backend.js';

/** Undefined where the browser has no Web Locks: there, each tab has a connection of its own. */
export function browserPeers(name: string): Peers | undefined {
  const { locks } = (globalThis.navigator ?? {}) as { locks?: LockManager };
  if (!locks || !globalThis.BroadcastChannel) return undefined;
  const channel = new BroadcastChannel(name);
  let closed = false;
  return {
    post: (message) => {
      if (!closed) channel.postMessage(message);
    },
    listen: (listener) => {
      channel.onmessage = ({ data }) => listener(data);
    },
    elect: (lead, { steal, stop }) => {
      const stolen = new AbortController();
      // The two cannot be combined; what is stolen is had at once.
      const options = steal ? { steal } : { signal: stop };
      locks.request(name, options, () => lead(stolen.signal)).catch(() => stolen.abort());
    },
    close: () => {
      closed = true;
      channel.close();
    },
  };
}

// The entry `draftwire/store`: a persistent store on whatever a platform has.

import type { Backend } from './backend.js';
import type { Store } from './records.js';
import { Replica } from './replica.js';

export type { Backend, Changes, Peers, Stored } from './backend.js';
export type { Store } from './records.js';

/** A store whose records are kept by `backend`, and which its clients share where that has `peers`. */
export function persistent(backend: Backend): Store {
  return { kind: 'persistent', open: (events) => new Replica(backend, events) };
}

export type * from './api.js';
export { Draftwire } from './draftwire.js';
export type { Environment, WebSocketLike } from './environment.js';
export { DraftwireError, type ErrorCode } from './errors.js';
export { memory } from './store/memory.js';
export type { Changes, Peers, Records, Store, Stored } from './store/store.js';
export type { Topic } from './topics/topic.js';

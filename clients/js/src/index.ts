export type * from './api.js';
export { Draftwire } from './draftwire.js';
export type { Environment, WebSocketLike } from './environment.js';
export { DraftwireError, type ErrorCode } from './errors.js';
export { memory } from './store/memory.js';
export type { Store } from './store/records.js';
export type { Topic } from './topics/topic.js';

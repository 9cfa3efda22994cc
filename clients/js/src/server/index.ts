// The entry `draftwire/server`: tokens, publishing, history, presence and drafts over HTTP, for backends. It uses fetch and Web
// Crypto alone, so it works in Node 20 and later, Bun, Deno and edge workers.

export type { Cursor, Priority, StreamEvent } from '../api.js';
export { DraftwireError, type ErrorCode } from '../errors.js';
export { Draftwire, type Options, type PublishOptions, type Token } from './client.js';
export type { BaseOptions, CreateOptions, Drafts } from './drafts.js';
export {
  AbortedError,
  BadRequestError,
  ClosedError,
  ConflictError,
  ConnectionFailedError,
  ForbiddenError,
  InvalidRequestError,
  NotFoundError,
  RateLimitedError,
  RefusedError,
  RequestError,
  TooLargeError,
  UnauthorizedError,
  UnavailableError,
  UnexpectedAnswerError,
} from './errors.js';
export type { History, HistoryOptions } from './history.js';
export type { StreamOptions } from './publishing.js';
export { type MinterOptions, TokenMinter, type TokenOptions } from './tokens.js';
export {
  ALL,
  type CallOptions,
  type ChangeOptions,
  type Content,
  type Disconnected,
  type DisconnectOptions,
  type Draft,
  type DraftChanged,
  type DraftList,
  type HistoryChanged,
  type HistoryEvent,
  type HistoryItem,
  type Line,
  type Member,
  type Missed,
  type NewEvent,
  type Presence,
  type Published,
  type StreamPublished,
  type Target,
  type User,
  user,
} from './values.js';

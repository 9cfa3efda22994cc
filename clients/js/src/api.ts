// The types of the package's main entry that are not classes.

import type { DraftwireError } from './errors.js';
import type { Environment } from './environment.js';
import type { Store } from './store/records.js';

/** Ends what it came from: a listener, a handler. Calling it again does nothing. */
export type Unsubscribe = () => void;

/**
 * `<epoch>:<seq>`, a position on a stream: the number of the last event, and the name of the history that it is in.
 * Keep it as it is to come back to it.
 */
export type Cursor = string;

/** How long to wait. Both end the waiting, not what is waited for. */
export interface WaitOptions {
  /** Rejects with `aborted` when it is aborted. */
  signal?: AbortSignal | undefined;
  /** In milliseconds; then rejects with `timeout`. Without, there is no limit. */
  timeoutMs?: number | undefined;
}

/** What `getToken` is asked for. */
export interface TokenRequest {
  /** A token that was refused or is about to end: bring another one. */
  stale?: string | undefined;
  /** Aborted when the client stops waiting for this answer, which it then ignores. */
  signal: AbortSignal;
}

/** What `getToken` of a topic is asked for. */
export interface TopicTokenRequest extends TokenRequest {
  readonly topic: string;
}

export interface DraftwireOptions {
  /**
   * A valid JWT of the user; null connects without one, for public topics. Asked before every connection and when
   * the token is about to end, once at a time. One that throws, or has not answered after 10 s, is asked again
   * after a pause. To end that, because nobody is signed in, throw `new DraftwireError('unauthorized', …)`.
   */
  getToken: (request: TokenRequest) => Promise<string | null> | string | null;
  /** Where drafts, unsent changes and positions are kept. `memory()` when absent: they end with the page. */
  store?: Store;
  /** A stable id of this device, 1 to 64 characters. When absent one is made, and kept in the store. */
  device?: string;
  /** `auto` (when absent) takes event streams and HTTP requests where WebSockets do not get through. */
  transport?: 'auto' | 'websocket' | 'event-stream';
  /** Whether to connect at once; true when absent. */
  connect?: boolean;
  /** Told of what an application's handler throws, and of broken promises of the server. `console.error` when absent. */
  onError?: (error: unknown) => void;
  /** What the platform has under another name: WebSocket, fetch, the wake events of React Native. */
  environment?: Partial<Environment>;
}

/**
 * What the client is doing. The object stays the same until something in it changes.
 * - `offline`: switched off, before `connect()` and after `disconnect()` or `close()`.
 * - `waiting`: between two attempts; `retryAt` is in Unix milliseconds.
 * - `connecting`: on the way to the server's welcome.
 * - `catching-up`: connected; what was missed is arriving.
 * - `live`: connected; everything that arrives is new. Topics have states of their own.
 * - `stopped`: coming back unchanged would be pointless. `connect()` tries again.
 */
export type ConnectionState =
  | { readonly status: 'offline' | 'connecting' }
  | { readonly status: 'waiting'; readonly retryAt: number; readonly error: DraftwireError }
  | { readonly status: 'catching-up' | 'live'; readonly transport: TransportName; readonly node: string }
  | { readonly status: 'stopped'; readonly error: DraftwireError };

export type TransportName = 'websocket' | 'event-stream';

/**
 * Where changes are kept. `persistent` outlives the page. `memory` does not; with `error` where a persistent store
 * was asked for and failed: it is full, or the browser forbids it (private windows).
 */
export interface StorageState {
  readonly kind: 'persistent' | 'memory';
  readonly error?: DraftwireError;
}

export type Priority = 'normal' | 'high' | 'critical';

/** An entry of a stream: it comes once, in order. */
export interface StreamEvent<Type extends string = string, Data = unknown> {
  readonly type: Type;
  /** Its number in the stream. */
  readonly seq: number;
  /** When it was committed, in Unix milliseconds. */
  readonly timestamp: number;
  /** The device that caused it. */
  readonly origin: string;
  readonly priority: Priority;
  readonly data: Data;
}

/** A message that is true only now: it comes at most once. */
export interface Signal<Type extends string = string, Data = unknown> {
  readonly type: Type;
  readonly origin: string;
  readonly data: Data;
}

/** Somebody who is present on a topic: a device of a user. Without a token there is no `userId`. */
export interface Member {
  readonly userId?: string;
  readonly device: string;
}

/** Who is here. `members` is null where they are too many for a list. */
export interface Presence {
  readonly members: readonly Member[] | null;
  readonly users: number;
  readonly devices: number;
}

export interface TopicOptions {
  /** To be seen there, and to see who else is. */
  presence?: boolean;
  /**
   * Where to begin. `now` (when absent): with the next event. A cursor: after that event. `last`: where this
   * device stopped when it last followed the topic with `last`, which the store keeps.
   */
  from?: 'now' | 'last' | Cursor;
  /** How long events may wait for others, 1 to 10000 ms. */
  batchMs?: number;
  /** How many waiting events end the wait, 1 to 1000. */
  batchMax?: number;
  /**
   * A token of this one topic (docs/protocol.md, "Tokens of one topic"), for a right that the connection's token does
   * not give; null to do without. Asked for each subscription, also after a lost connection, and when the token is about
   * to end. One that throws, or has not answered after 10 s, is asked again after a pause, and is the `error` of the
   * state meanwhile. Throw `new DraftwireError('unauthorized', …)` to give up: this handle of the topic ends. Of several
   * handles of one topic, in one tab or more, all are asked, and the first token that comes serves all.
   */
  getToken?: (request: TopicTokenRequest) => Promise<string | null> | string | null;
}

/**
 * What a topic is doing.
 * - `waiting`: for a connection, for a token of the topic, or for the server's answer; `error` says why no token came.
 * - `catching-up`: what was missed is arriving.
 * - `live`: everything that arrives is new.
 * - `ended`: closed, or the server does not allow to follow it (any longer), which is `error`.
 */
export type TopicState =
  | { readonly status: 'catching-up' | 'live'; readonly error?: never }
  | { readonly status: 'waiting' | 'ended'; readonly error?: DraftwireError };

/** Some events before `before` are gone: the server does not keep them any more. */
export interface Missed {
  readonly before: number;
}

export interface PublishOptions extends WaitOptions {
  /** Urgent events are not held back by `batchMs`. */
  priority?: Priority;
}

/** The server has committed it. `seq` is its number in its stream; absent where nothing had to change. */
export interface Acknowledgement {
  readonly seq?: number | undefined;
}

/** An event that was published and refused, after whoever had published it was gone. */
export interface Unpublished {
  readonly topic: string;
  readonly type: string;
  readonly data: unknown;
  readonly error: DraftwireError;
}

// Messages of docs/protocol.md, version 1, as far as this client reads them.

import type { Member, Priority } from './api.js';

/** What the client sends. */
export interface ClientMessage {
  readonly type: string;
  readonly id?: string;
  readonly payload?: unknown;
}

export interface Welcome {
  readonly userId?: string;
  readonly node: string;
  readonly epoch: string;
  /** Absent without a token: there is no `user` stream then. */
  readonly seq?: number;
  readonly allSeq: number;
  readonly heartbeatMs: number;
  readonly maxMessageBytes: number;
}

/** An event as it is sent. */
export interface EventMessage {
  readonly type: string;
  readonly stream: string;
  readonly seq: number;
  readonly timestamp: number;
  readonly origin: string;
  readonly priority?: Priority;
  readonly payload: unknown;
}

/** What comes about one stream: an event, or one of the types below, whose names no event has. */
export type StreamMessage =
  | EventMessage
  | { readonly type: 'SYNCED'; readonly stream: string; readonly seq: number; readonly epoch?: string; readonly missedBefore?: number }
  | { readonly type: 'SNAPSHOT'; readonly stream: string; readonly seq: number; readonly epoch: string; readonly payload: { readonly drafts: readonly DraftMessage[] } }
  | { readonly type: 'SIGNAL'; readonly stream: string; readonly event: string; readonly origin: string; readonly payload: unknown }
  | { readonly type: 'PRESENCE'; readonly stream: string; readonly payload: { readonly members?: readonly Member[] } & Counts }
  | { readonly type: 'JOIN' | 'LEAVE'; readonly stream: string; readonly payload: Member & Counts }
  | { readonly type: 'UNSUBSCRIBED'; readonly stream: string; readonly payload: Refused };

interface Counts {
  readonly users: number;
  readonly devices: number;
}

/** A draft in an answer or a SNAPSHOT. */
export interface DraftMessage {
  readonly draftId: string;
  readonly version: number;
  readonly kind: string;
  readonly content: Record<string, unknown>;
  readonly updatedAt: number;
}

/** Why something was refused. */
export interface Refused {
  readonly code: string;
  readonly message: string;
  readonly payload?: unknown;
}

/** The answer to a command. */
export type Answer =
  | { readonly type: 'ACK'; readonly id: string; readonly seq?: number; readonly payload?: any }
  | ({ readonly type: 'ERROR'; readonly id?: string } & Refused)
  | { readonly type: 'PONG'; readonly id?: string };

export type ServerMessage =
  | Answer
  | { readonly type: 'WELCOME'; readonly payload: Welcome }
  | { readonly type: 'TOKEN_EXPIRING' | 'RECONNECT'; readonly payload: { readonly inMs: number } }
  | StreamMessage;

/** A position on a stream: the last event that was applied, in the history that it belongs to. */
export interface Position {
  readonly epoch: string;
  readonly seq: number;
}

export function formatCursor({ epoch, seq }: Position): string {
  return `${epoch}:${seq}`;
}

/** @throws TypeError where the text is no cursor */
export function parseCursor(cursor: string): Position {
  const [, epoch, seq] = /^(.+):(\d+)$/.exec(cursor) ?? [];
  if (!epoch) throw new TypeError(`no cursor: ${cursor}`);
  return { epoch, seq: Number(seq) };
}

/** Whether the message is an event: it has a number, and is none of the server's own that has one, too. */
export function isEvent(message: StreamMessage): message is EventMessage {
  return 'timestamp' in message;
}

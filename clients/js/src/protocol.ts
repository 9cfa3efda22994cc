// The messages of docs/protocol.md, version 1, as this client reads and sends them. Their types follow from docs/schemas.

import type { StreamEvent } from './api.js';
import type {
  Draft, ErrorMessage, JoinMessage, LeaveMessage, MissedMessage, PongMessage, PresenceMessage, PublishedEvent,
  ReconnectMessage, SignalMessage, SnapshotMessage, SyncedMessage, TokenExpiringMessage, UnsubscribedMessage, Welcome,
  WelcomeMessage,
} from './messages.js';

export type { SignalMessage, Welcome };

/** What was received is not written to. */
type Received<T> = T extends object ? { readonly [Key in keyof T]: Received<T[Key]> } : T;

/** What the client sends. */
export interface ClientMessage {
  readonly type: string;
  readonly id?: string;
  readonly payload?: unknown;
}

/** An event as it is sent. Those of drafts have the same form. */
export type EventMessage = Received<PublishedEvent>;

/** What comes about one stream: an event, or one of the types below, whose names no event has. */
export type StreamMessage =
  | EventMessage
  | Received<SyncedMessage & Partial<Pick<MissedMessage, 'epoch' | 'missedBefore'>>>
  | Received<SnapshotMessage>
  | Received<SignalMessage>
  | Received<PresenceMessage>
  | Received<JoinMessage>
  | Received<LeaveMessage>
  | (Received<TokenExpiringMessage> & { readonly stream: string })
  // The client ends topics for reasons of its own, too.
  | (Received<Omit<UnsubscribedMessage, 'payload'>> & { readonly payload: Refused });

/** A draft in an answer or a SNAPSHOT. */
export type DraftMessage = Received<Draft>;

/** Why something was refused. */
export interface Refused {
  readonly code: string;
  readonly message: string;
  readonly payload?: unknown;
}

/** The answer to a command. What an ACK holds depends on the command. */
export type Answer =
  | { readonly type: 'ACK'; readonly id: string; readonly seq?: number; readonly payload?: any }
  | (Received<Pick<ErrorMessage, 'type' | 'id'>> & Refused)
  | Received<Pick<PongMessage, 'type' | 'id'>>;

export type ServerMessage =
  | Answer
  | Received<WelcomeMessage>
  | Received<TokenExpiringMessage>
  | Received<ReconnectMessage>
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

/** An event as handlers of the application see it. */
export function streamEvent({ type, seq, timestamp, origin, priority = 'normal', payload }: EventMessage): StreamEvent {
  return { type, seq, timestamp, origin, priority, data: payload };
}

// What is sent and received.

import type { Cursor, Priority, StreamEvent } from '../api.js';

/** The stream of a user, as something that is published to; `user` makes it. */
export interface User {
  readonly userId: string;
}

/** Returns a user's stream, to publish to it. */
export function user(userId: string): User {
  return { userId };
}

/** The stream that every connection follows, to publish to it. */
export const ALL = Symbol('all');

/** What is published to: the name of a topic, a user, or everybody. */
export type Target = string | User | typeof ALL;

/** An event to publish. */
export interface NewEvent {
  /** Its type, 1 to 64 characters of `A-Z 0-9 _`. */
  readonly event: string;
  /** What it carries: any JSON value; null when absent. */
  readonly data?: unknown;
  /** Urgent events are not held back by a follower's batch window; `normal` when absent. */
  readonly priority?: Priority;
}

/** An event to publish, or its JSON text, such as a line of an NDJSON file. */
export type Line = NewEvent | string;

/** The numbers of events that were committed together; they are consecutive. */
export interface Published {
  /** The number of the first event in its stream. */
  readonly first: number;
  /** The number of the last one. */
  readonly seq: number;
}

/**
 * What `publishStream` has committed. Others may publish between two requests, so the numbers from `first` to `seq`
 * may have gaps; both are null when there was no event.
 */
export interface StreamPublished {
  readonly events: number;
  readonly requests: number;
  readonly first: number | null;
  readonly seq: number | null;
}

/** An event of a topic's history. */
export interface HistoryEvent extends StreamEvent {
  readonly kind: 'event';
}

/** Events that retention has removed before they were read. */
export interface Missed {
  readonly kind: 'missed';
  /** What comes next has this number or a higher one; what the reader has not seen before it is gone. */
  readonly before: number;
}

/**
 * The reader's cursor is no position in the history that the server has now: it may have lost acknowledged events,
 * as when a backup was restored. What was read so far means nothing in the new history; its oldest events come next.
 */
export interface HistoryChanged {
  readonly kind: 'history_changed';
  /** The name of the new history. */
  readonly epoch: string;
  /** The number of its last event. */
  readonly head: number;
  /** The number of the last event that retention has removed from it. */
  readonly floor: number;
}

/** What reading a history gives. */
export type HistoryItem = HistoryEvent | Missed | HistoryChanged;

/** A JSON object: the content of a draft, or a patch (RFC 7396) of it. */
export type Content = Readonly<Record<string, unknown>>;

/** A draft as it stands. */
export interface Draft {
  readonly draftId: string;
  /** The number of its changes. */
  readonly version: number;
  readonly kind: string;
  readonly content: Content;
  /** When it last changed, in Unix milliseconds. */
  readonly updatedAt: number;
}

/** All drafts of a user that are not deleted, as they stand at `cursor` of the user's stream. */
export interface DraftList {
  readonly drafts: readonly Draft[];
  readonly cursor: Cursor;
}

/** A change of a draft that was committed. */
export interface DraftChanged {
  readonly draftId: string;
  /** Its version after the change. */
  readonly version: number;
  /** The number of the event in the user's stream; null when the patch has changed nothing. */
  readonly seq: number | null;
}

/** How a user is disconnected. */
export interface DisconnectOptions extends ChangeOptions {
  /** The close code: 4410 when absent, after which clients come back with a fresh token; after 4403 they stay away. */
  readonly code?: 4410 | 4403 | undefined;
  /** What the clients are told, 1 to 123 bytes of UTF-8. */
  readonly reason?: string | undefined;
}

/** A disconnection that was committed. */
export interface Disconnected {
  /** The number of the event by which all nodes learn of it. */
  readonly seq: number;
}

/** A device that is present in a topic; without a token it has no user. */
export interface Member {
  readonly userId: string | null;
  readonly device: string;
}

/** Who is present in a topic. */
export interface Presence {
  /** Null where they are too many to be listed. */
  readonly members: readonly Member[] | null;
  /** How many users they are; a device without a user counts as one. */
  readonly users: number;
  readonly devices: number;
  /** False while nodes cannot hear each other: members of other nodes may be missing, or may have left. */
  readonly complete: boolean;
}

/** What every call takes. */
export interface CallOptions {
  /** Rejects with `aborted` when it is aborted. What was sent by then may be carried out. */
  readonly signal?: AbortSignal | undefined;
}

/** What every call takes that changes something. */
export interface ChangeOptions extends CallOptions {
  /**
   * The idempotency key, 1 to 64 characters; a random one when absent. One that is made from what happened, such as
   * the id of a row, also makes calling again safe, for 24 hours by default.
   */
  readonly key?: string | undefined;
}

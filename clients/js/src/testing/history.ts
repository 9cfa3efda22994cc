// What a server knows: streams of events, drafts, and the commands that it has carried out. Follows docs/protocol.md
// as far as an application can tell.

import { applyPatch, overlap, touchedFields, type JsonObject } from '../drafts/merge.js';
import type { DraftMessage, EventMessage, Position, Refused } from '../protocol.js';

/** What a command has come to. */
export type Result = { readonly seq?: number; readonly payload?: unknown } | { readonly error: Refused };

interface StoredDraft extends DraftMessage {
  /** The versions at which fields last changed. */
  readonly changed: ReadonlyMap<string, number>;
}

interface User {
  readonly drafts: Map<string, StoredDraft>;
  readonly deleted: Set<string>;
}

export class History {
  epoch = 'a1';
  /** By stream: `all`, `topic:<name>`, or `user:<id>`. */
  readonly #events = new Map<string, EventMessage[]>();
  readonly #users = new Map<string, User>();
  /** Answers by user, device and id. */
  readonly #answers = new Map<string, Result>();
  readonly #onEvent: (stream: string, event: EventMessage) => void;

  constructor(onEvent: (stream: string, event: EventMessage) => void) {
    this.#onEvent = onEvent;
  }

  head(stream: string): Position {
    return { epoch: this.epoch, seq: this.#events.get(stream)?.length ?? 0 };
  }

  /** The events after a position, or null where they cannot be had. */
  after(stream: string, { epoch, seq }: Position): EventMessage[] | null {
    const events = this.#events.get(stream) ?? [];
    return epoch === this.epoch && seq <= events.length ? events.slice(seq) : null;
  }

  drafts(user: string): DraftMessage[] {
    return [...this.#user(user).drafts.values()].map(({ changed: _, ...draft }) => draft);
  }

  /** Forgets all after the first `seq` events of a stream, and begins another history. */
  restore(stream: string, seq: number): void {
    const [kind, id] = [stream.slice(0, 5), stream.slice(5)];
    const events = (this.#events.get(stream) ?? []).slice(0, seq);
    this.epoch = `a${Number(this.epoch.slice(1)) + 1}`;
    this.#answers.clear();
    this.#events.set(stream, []);
    if (kind === 'user:') this.#users.delete(id);
    for (const event of events) {
      this.#events.get(stream)!.push(event);
      if (kind === 'user:') this.#replay(this.#user(id), event);
    }
  }

  append(stream: string, type: string, payload: unknown, origin: string, priority?: EventMessage['priority']): number {
    const events = this.#events.get(stream) ?? [];
    this.#events.set(stream, events);
    const name = stream.startsWith('user:') ? 'user' : stream;
    const event: EventMessage = {
      type, stream: name, seq: events.length + 1, timestamp: Date.now(), origin, payload, ...(priority && { priority }),
    };
    events.push(event);
    this.#onEvent(stream, event);
    return event.seq;
  }

  /** Carries out a command, once: the same id again gets the same answer. */
  carryOut(user: string, device: string, { id, type, payload }: { id: string; type: string; payload: any }): Result {
    const key = JSON.stringify([user, device, id]);
    const known = this.#answers.get(key);
    if (known) return known;
    const result = type === 'PUBLISH'
      ? { seq: this.append(`topic:${payload.topic}`, payload.event, payload.data ?? null, device, payload.priority) }
      : this.#changeDraft(user, device, type, payload);
    if (!('error' in result)) this.#answers.set(key, result);
    return result;
  }

  #changeDraft(userId: string, device: string, type: string, payload: any): Result {
    const user = this.#user(userId);
    const { draftId } = payload as { draftId: string };
    const draft = user.drafts.get(draftId);
    const done = (event: string, news: object, version: number): Result => {
      const seq = this.append(`user:${userId}`, event, { draftId, version, ...news }, device);
      this.#replay(user, this.#events.get(`user:${userId}`)!.at(-1)!);
      return { seq, payload: { draftId, version } };
    };
    if (type === 'DRAFT_CREATE') {
      if (draft || user.deleted.has(draftId)) return conflict(draft);
      return done('DRAFT_CREATED', { kind: payload.kind ?? 'draft', content: payload.content }, 1);
    }
    if (!draft) return { error: { code: 'not_found', message: `there is no draft ${draftId}` } };
    const { version } = draft;
    if (payload.baseVersion > version) return { error: { code: 'bad_request', message: 'the draft never had this baseVersion' } };
    if (type === 'DRAFT_DELETE') {
      if (payload.baseVersion !== undefined && payload.baseVersion < version) return conflict(draft);
      return done('DRAFT_DELETED', { baseVersion: version }, version + 1);
    }
    const touched = touchedFields(draft.content, payload.patch);
    if (touched.length === 0) return { payload: { draftId, version } };
    const since = [...draft.changed].filter(([, changed]) => changed > payload.baseVersion).map(([field]) => field);
    const fields = touched.filter((field) => overlap([field], since));
    if (fields.length > 0) return conflict(draft, fields);
    return done('DRAFT_UPDATED', { baseVersion: version, patch: payload.patch }, version + 1);
  }

  #replay(user: User, { type, timestamp, payload }: EventMessage): void {
    const { draftId, version, kind, content, patch } = payload as { draftId: string; version: number; kind: string; content: JsonObject; patch: JsonObject };
    if (type === 'DRAFT_CREATED') {
      user.drafts.set(draftId, { draftId, version, kind, content, updatedAt: timestamp, changed: new Map() });
    } else if (type === 'DRAFT_UPDATED') {
      const draft = user.drafts.get(draftId)!;
      const changed = new Map([...draft.changed, ...touchedFields(draft.content, patch).map((field) => [field, version] as const)]);
      user.drafts.set(draftId, { ...draft, version, content: applyPatch(draft.content, patch), updatedAt: timestamp, changed });
    } else if (type === 'DRAFT_DELETED') {
      user.drafts.delete(draftId);
      user.deleted.add(draftId);
    }
  }

  #user(id: string): User {
    let user = this.#users.get(id);
    if (!user) this.#users.set(id, user = { drafts: new Map(), deleted: new Set() });
    return user;
  }
}

function conflict(draft: StoredDraft | undefined, fields: string[] = []): Result {
  const { changed: _, ...message } = draft ?? { changed: undefined };
  const payload = { fields, draft: draft ? message : null };
  return { error: { code: 'conflict', message: 'another change of the same fields came after baseVersion', payload } };
}

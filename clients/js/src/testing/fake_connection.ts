// One connection of a fake server: what the client calls a WebSocket.

import type { Member } from '../api.js';
import type { WebSocketLike } from '../environment.js';
import { randomId } from '../json.js';
import { parseCursor, type ClientMessage, type EventMessage, type Position, type ServerMessage } from '../protocol.js';
import type { History } from './history.js';

/** What a connection needs of its server. */
export interface ConnectionHost {
  readonly history: History;
  readonly connections: Set<FakeConnection>;
  /** Whether clients can connect. */
  readonly isUp: boolean;
  /** Takes what a client sends; false where it is lost on the way. */
  takes(connection: FakeConnection, message: ClientMessage): boolean;
  /** Lets something come to the client when it is due. */
  later(deliver: () => void): void;
}

const OPEN = 1;
const CLOSED = 3;

export class FakeConnection implements WebSocketLike {
  readyState = 0;
  onopen: ((event: any) => void) | null = null;
  onmessage: ((event: any) => void) | null = null;
  onclose: ((event: any) => void) | null = null;
  onerror: ((event: any) => void) | null = null;
  readonly user: string;
  readonly device: string;
  /** The topics that it follows, and whether it is present there. */
  readonly topics = new Map<string, boolean>();
  /** The last event that was sent. */
  #last: EventMessage | null = null;
  readonly #host: ConnectionHost;
  readonly #query: URLSearchParams;

  constructor(host: ConnectionHost, url: string, protocols: string[]) {
    this.#host = host;
    this.#query = new URL(url).searchParams;
    this.user = protocols.find((protocol) => protocol.startsWith('bearer.'))?.slice('bearer.'.length) ?? '';
    this.device = this.#query.get('device') ?? randomId();
    host.later(() => (host.isUp ? this.#begin() : this.end(1006)));
  }

  get member(): Member {
    return { userId: this.user, device: this.device };
  }

  send(text: string): void {
    const message = JSON.parse(text) as ClientMessage;
    if (this.readyState === OPEN && this.#host.takes(this, message)) this.#host.later(() => this.#handle(message));
  }

  close(code = 1000): void {
    this.end(code);
  }

  /** Ends it, from either side. */
  end(code: number, reason = ''): void {
    if (this.readyState === CLOSED) return;
    this.readyState = CLOSED;
    for (const topic of [...this.topics.keys()]) this.#leave(topic);
    this.#host.connections.delete(this);
    this.onclose?.({ code, reason });
  }

  tell(message: ServerMessage): void {
    this.#host.later(() => {
      if (this.readyState === OPEN) this.onmessage?.({ data: JSON.stringify(message) });
    });
  }

  event(stream: string, event: EventMessage): void {
    const follows = stream === 'all' || stream === `user:${this.user}` || this.topics.has(stream.slice('topic:'.length));
    if (!follows) return;
    this.#last = event;
    this.tell(event);
  }

  /** Sends the last event again. */
  repeat(): void {
    if (this.#last) this.tell(this.#last);
  }

  /** Says where all streams stand after the history has changed. */
  reset(): void {
    this.#resume('user', `user:${this.user}`, { epoch: '', seq: 0 });
    this.#resume('all', 'all', { epoch: '', seq: 0 });
    for (const topic of this.topics.keys()) this.#resume(`topic:${topic}`, `topic:${topic}`, { epoch: '', seq: 0 });
  }

  #begin(): void {
    const { history, connections } = this.#host;
    this.readyState = OPEN;
    connections.add(this);
    const { epoch, seq } = history.head(`user:${this.user}`);
    this.tell({
      type: 'WELCOME',
      payload: {
        connectionId: randomId(), userId: this.user, device: this.device, node: 'fake', epoch, seq,
        allSeq: history.head('all').seq, heartbeatMs: 55_000, maxMessageBytes: 1 << 20, serverTime: Date.now(),
      },
    });
    const [cursor, all] = [this.#query.get('cursor'), this.#query.get('all')];
    if (cursor !== null) this.#resume('user', `user:${this.user}`, parseCursor(cursor));
    if (all !== null) this.#resume('all', 'all', parseCursor(all));
  }

  #resume(name: string, stream: string, from: Position): void {
    const { history } = this.#host;
    const { epoch, seq } = history.head(stream);
    const missed = history.after(stream, from);
    if (missed) for (const event of missed) this.tell(event);
    else if (name === 'user') this.tell({ type: 'SNAPSHOT', stream: name, epoch, seq, payload: { drafts: history.drafts(this.user) } });
    else this.tell({ type: 'SYNCED', stream: name, epoch, seq, missedBefore: seq + 1 });
    this.tell({ type: 'SYNCED', stream: name, seq });
  }

  #handle({ type, id = '', payload }: ClientMessage): void {
    const { history } = this.#host;
    const values = (payload ?? {}) as any;
    switch (type) {
      case 'PING':
        return this.tell({ type: 'PONG', id });
      case 'AUTH':
        return this.tell({ type: 'ACK', id, payload: {} });
      case 'DRAFT_LIST':
        return this.tell({ type: 'ACK', id, payload: { drafts: history.drafts(this.user), ...history.head(`user:${this.user}`) } });
      case 'SUBSCRIBE':
        return this.#subscribe(id, values.topics);
      case 'UNSUBSCRIBE':
        this.#leave(values.topic);
        return this.tell({ type: 'ACK', id });
    }
    if (type === 'PUBLISH' && values.signal) {
      const signal = { type: 'SIGNAL', stream: `topic:${values.topic}`, event: values.event, origin: this.device, payload: values.data } as const;
      for (const other of this.#host.connections) if (other.topics.has(values.topic)) other.tell(signal);
      return this.tell({ type: 'ACK', id });
    }
    const result = history.carryOut(this.user, this.device, { id, type, payload: values });
    this.tell('error' in result ? { type: 'ERROR', id, ...result.error } : { type: 'ACK', id, ...result });
  }

  #subscribe(id: string, topics: readonly { topic: string; cursor?: string | null; presence?: boolean }[]): void {
    const { history } = this.#host;
    this.tell({ type: 'ACK', id, payload: { topics: topics.map(({ topic }) => ({ topic, ...history.head(`topic:${topic}`) })) } });
    for (const { topic, cursor, presence = false } of topics) {
      this.topics.set(topic, presence);
      if (cursor) this.#resume(`topic:${topic}`, `topic:${topic}`, parseCursor(cursor));
      if (presence) this.#presence(topic);
    }
  }

  #leave(topic: string): void {
    const wasPresent = this.topics.get(topic);
    this.topics.delete(topic);
    if (wasPresent) this.#presence(topic);
  }

  /** Everybody who is present is told who is. */
  #presence(topic: string): void {
    const present = [...this.#host.connections].filter((each) => each.topics.get(topic));
    const members = present.map(({ member }) => member);
    const users = new Set(members.map(({ userId }) => userId)).size;
    for (const each of present) each.tell({ type: 'PRESENCE', stream: `topic:${topic}`, payload: { members, users, devices: members.length } });
  }
}

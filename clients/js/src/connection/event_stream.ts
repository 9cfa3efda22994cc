// For networks that let no WebSocket through: one HTTP response that stays open brings what comes (server-sent events),
// and each command is a request. There is no presence. It imports nothing, so that loading it late costs those nothing
// who do not need it: bundlers cut what two parts share out of both.

import type { Environment } from '../environment.js';
import type { ClientMessage, Position, ServerMessage } from '../protocol.js';
import type { OpenRequest, Wire, WireEvents } from './transport.js';

const TOKEN_REFUSED = 4401;
const TOO_MANY = 4429;
const OVERLOADED = 1013;
const MISUSE = 4400;

export class EventStreamWire implements Wire {
  // Comments come every 15 s, so silence says enough.
  readonly quietMs = Infinity;
  readonly #base: URL;
  readonly #fetch: typeof fetch;
  readonly #device: string;
  readonly #events: WireEvents;
  /** Ends everything, and the present stream. */
  readonly #closed = new AbortController();
  #stream = new AbortController();
  #token: string | null;
  #welcomed = false;
  /** Where the client stands, by stream. */
  readonly #positions = new Map<string, Position>();
  readonly #topics = new Set<string>();
  /** Commands go one after the other: requests have no order among each other. */
  #commands: Promise<void> = Promise.resolve();

  constructor(base: URL, { fetch }: Pick<Environment, 'fetch'>, request: OpenRequest, events: WireEvents) {
    this.#base = base;
    this.#fetch = fetch;
    this.#device = request.device;
    this.#token = request.token;
    this.#events = events;
    if (request.cursor !== undefined) this.#positions.set('user', parseCursor(request.cursor));
    if (request.all !== undefined) this.#positions.set('all', parseCursor(request.all));
    void this.#follow();
  }

  send(message: ClientMessage): void {
    // A stream that is opened anew says more than any other sign of life.
    if (message.type === 'PING') return this.#reopen();
    this.#commands = this.#commands.then(() => this.#command(message)).catch(() => this.#end(undefined, 'a request failed'));
  }

  close(): void {
    this.#closed.abort();
    this.#stream.abort();
  }

  // --- what comes -------------------------------------------------------------------------------------------------

  #reopen(): void {
    if (this.#closed.signal.aborted) return;
    this.#stream.abort();
    void this.#follow();
  }

  async #follow(): Promise<void> {
    const stream = new AbortController();
    this.#stream = stream;
    try {
      const query = new URLSearchParams({ device: this.#device });
      if (this.#topics.size > 0) query.set('topics', [...this.#topics].join(','));
      if (this.#positions.size > 0) query.set('cursor', this.#id());
      const response = await this.#request(`v1/stream?${query}`, { signal: stream.signal });
      if (!response.ok || !response.body) return this.#refused(response.status, await response.text());
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const lines = new EventLines();
      for (;;) {
        const { done, value } = await reader.read();
        if (stream.signal.aborted) return;
        if (done) break;
        this.#events.alive();
        for (const { id, data } of lines.push(value)) this.#received(id, data);
      }
      this.#end(undefined, 'the event stream has ended');
    } catch (error) {
      if (!stream.signal.aborted) this.#end(undefined, String(error));
    }
  }

  #received(id: string, data: string): void {
    const { type } = JSON.parse(data) as ServerMessage;
    for (const [name, position] of parseId(id)) this.#positions.set(name, position);
    // Only the first of the streams that follow each other is a new connection.
    if (type === 'WELCOME' && this.#welcomed) return;
    this.#welcomed ||= type === 'WELCOME';
    this.#events.frame(data);
  }

  /** The positions as the server writes them: `7f3a/user=42,all=7;91bc/topic:a=1`. */
  #id(): string {
    const epochs = new Map<string, string[]>();
    for (const [name, { epoch, seq }] of this.#positions) {
      epochs.set(epoch, [...(epochs.get(epoch) ?? []), `${name}=${seq}`]);
    }
    return [...epochs].map(([epoch, streams]) => `${epoch}/${streams.join(',')}`).join(';');
  }

  #refused(status: number, body: string): void {
    const detail = problemOf(body).message;
    if (status === 401) return this.#end(TOKEN_REFUSED, detail);
    if (status === 429) return this.#end(TOO_MANY, detail);
    if (status >= 500) return this.#end(OVERLOADED, detail);
    // A topic whose rights are gone: it is asked about by itself when all are subscribed to again.
    if (status === 403) return this.#end(undefined, detail);
    this.#end(status === 400 ? MISUSE : undefined, detail);
  }

  #end(code: number | undefined, reason: string): void {
    if (this.#closed.signal.aborted) return;
    this.close();
    this.#events.closed(code, reason);
  }

  // --- what is asked ----------------------------------------------------------------------------------------------

  async #command({ type, id, payload }: ClientMessage): Promise<void> {
    if (this.#closed.signal.aborted) return;
    const values = (payload ?? {}) as Record<string, any>;
    const draft = `v1/drafts/${encodeURIComponent(values.draftId ?? '')}`;
    switch (type) {
      case 'SUBSCRIBE':
        return this.#subscribe(id!, values.topics);
      case 'UNSUBSCRIBE':
        this.#topics.delete(values.topic);
        this.#positions.delete(`topic:${values.topic}`);
        this.#reopen();
        return this.#tell({ type: 'ACK', id: id! });
      case 'AUTH':
        this.#token = values.token;
        this.#reopen();
        return this.#tell({ type: 'ACK', id: id!, payload: {} });
      case 'DRAFT_LIST':
        return this.#answer(id!, 'GET', 'v1/drafts');
      case 'DRAFT_CREATE':
        return this.#answer(id!, 'POST', 'v1/drafts', values);
      case 'DRAFT_UPDATE':
        return this.#answer(id!, 'PATCH', `${draft}?baseVersion=${values.baseVersion}`, values.patch);
      case 'DRAFT_DELETE':
        return this.#answer(id!, 'DELETE', values.baseVersion === undefined ? draft : `${draft}?baseVersion=${values.baseVersion}`);
      case 'PUBLISH': {
        const { topic, ...event } = values;
        return this.#answer(id!, 'POST', `v1/topics/${encodeURIComponent(topic)}/events`, event);
      }
    }
  }

  /** The history of a topic says where it stands, and whether it may be followed. */
  async #subscribe(id: string, topics: readonly { topic: string; cursor?: string | null }[]): Promise<void> {
    const results = await Promise.all(topics.map(async ({ topic, cursor }) => {
      const response = await this.#request(`v1/topics/${encodeURIComponent(topic)}/events?limit=1`);
      const body = await response.text();
      if (!response.ok) return { topic, ...problemOf(body) };
      const { epoch, head } = JSON.parse(body) as { epoch: string; head: number };
      this.#topics.add(topic);
      this.#positions.set(`topic:${topic}`, cursor ? parseCursor(cursor) : { epoch, seq: head });
      return { topic, epoch, seq: head };
    }));
    this.#tell({ type: 'ACK', id, payload: { topics: results } });
    this.#reopen();
  }

  async #answer(id: string, method: string, path: string, body?: unknown): Promise<void> {
    const url = `${path}${path.includes('?') ? '&' : '?'}device=${encodeURIComponent(this.#device)}`;
    const response = await this.#request(url, {
      method,
      ...(method !== 'GET' && { headers: { 'Idempotency-Key': id } }),
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (this.#closed.signal.aborted) return;
    if (response.status === 401) return this.#end(TOKEN_REFUSED, problemOf(text).message);
    if (!response.ok) return this.#tell({ type: 'ERROR', id, ...problemOf(text) });
    const payload = (text === '' ? {} : JSON.parse(text)) as { seq?: number };
    this.#tell({ type: 'ACK', id, ...(payload.seq !== undefined && { seq: payload.seq }), payload });
  }

  #tell(message: ServerMessage): void {
    if (!this.#closed.signal.aborted) this.#events.frame(JSON.stringify(message));
  }

  #request(path: string, { headers, ...init }: RequestInit = {}): Promise<Response> {
    const authorization = this.#token === null ? {} : { Authorization: `Bearer ${this.#token}` };
    return this.#fetch(new URL(path, this.#base), {
      signal: this.#closed.signal,
      cache: 'no-store',
      credentials: 'omit',
      ...init,
      headers: { ...authorization, ...headers },
    });
  }
}

/** Server-sent events (HTML Standard) in pieces of text. */
export class EventLines {
  #text = '';
  #id = '';
  #data: string[] = [];

  push(text: string): { id: string; data: string }[] {
    const events = [];
    const lines = (this.#text + text).split('\n');
    this.#text = lines.pop()!;
    for (const line of lines.map((each) => each.replace(/\r$/, ''))) {
      if (line === '') {
        if (this.#data.length > 0) events.push({ id: this.#id, data: this.#data.join('\n') });
        this.#data = [];
      } else if (line.startsWith('id:')) {
        this.#id = line.slice(3).trimStart();
      } else if (line.startsWith('data:')) {
        this.#data.push(line.slice(5).replace(/^ /, ''));
      }
    }
    return events;
  }
}

function parseCursor(cursor: string): Position {
  const at = cursor.lastIndexOf(':');
  return { epoch: cursor.slice(0, at), seq: Number(cursor.slice(at + 1)) };
}

/** The positions as the server writes them. */
function parseId(id: string): [string, Position][] {
  return id.split(';').filter(Boolean).flatMap((group) => {
    const [, epoch, streams] = /^([^/]+)\/(.*)$/.exec(group) ?? [];
    return (streams ?? '').split(',').filter(Boolean).map((stream): [string, Position] => {
      const at = stream.lastIndexOf('=');
      return [stream.slice(0, at), { epoch: epoch!, seq: Number(stream.slice(at + 1)) }];
    });
  });
}

/** The problem document (RFC 9457) of a refusal. */
function problemOf(body: string): { code: string; message: string; payload?: unknown } {
  try {
    const { code, detail, payload } = JSON.parse(body);
    return { code: code ?? 'unavailable', message: detail ?? '', ...(payload !== undefined && { payload }) };
  } catch {
    return { code: 'unavailable', message: 'the answer is not one of Draftwire: a proxy may have given it' };
  }
}

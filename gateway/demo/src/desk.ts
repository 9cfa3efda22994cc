// The commentator's desk: it posts to the topic, and broadcasts to all, as a backend does.

import { Draftwire, DraftwireError, RefusedError, UnexpectedAnswerError, type Published } from 'draftwire/server';
import { BROADCAST, TOPIC } from './commentary.js';
import { address, part, randomId } from './dom.js';
import { NoTokenYet, type Tokens } from './tokens.js';

/** A flood is so many requests, one after the other, of so many comments each. */
const FLOOD_REQUESTS = 10;
const FLOOD_COMMENTS = 5;
/** How long the person waits for an outcome; the request is repeated meanwhile. */
const DEADLINE_MS = 15_000;
/** True because each request has an idempotency key. */
const AGAIN = 'Sent again unchanged, nothing is done twice.';

/** A flood that is under way, or has failed in the middle and goes on there. */
interface Flood {
  readonly minute: number;
  readonly id: string;
  /** How many comments were posted. */
  done: number;
  first: number | null;
}

export class Desk {
  readonly #root: HTMLFormElement;
  readonly #api: Draftwire;
  #busy = false;
  /** The node that has answered last. */
  #node = '';
  #token = '';
  /** A token that the server has refused. */
  #stale: string | undefined;
  /** What the last failed request wanted, and its key: asked for again, it is the same request. */
  #failed: { readonly wanted: string; readonly key: string } | null = null;
  #flood: Flood | null = null;

  constructor(root: HTMLFormElement, tokens: Tokens) {
    this.#root = root;
    this.#api = new Draftwire(address(), {
      token: async () => (this.#token = await tokens.get(this.#stale)),
      deadlineMs: DEADLINE_MS,
      fetch: async (url, init) => {
        const response = await fetch(url, init);
        if (response.status === 401) this.#stale = this.#token;
        this.#node = response.headers.get('Draftwire-Node') ?? 'unknown';
        return response;
      },
    });
    root.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.#act(() => this.#comment());
    });
    part(root, 'flood').addEventListener('click', () => void this.#act(() => this.#pour()));
    part(root, 'broadcast').addEventListener('click', () => void this.#act(() => this.#drop()));
  }

  async #comment(): Promise<string> {
    const kind = this.#field('kind').value;
    const text = this.#field('text');
    const data = { minute: this.#minute, text: text.value.trim() };
    const priority = kind === 'GOAL' ? 'high' : 'normal';
    const { seq } = await this.#once([kind, data], (key) => this.#api.publish(TOPIC, kind, data, { key, priority }));
    text.value = '';
    text.focus();
    return `Committed as event ${seq}, by node ${this.#node}.`;
  }

  async #pour(): Promise<string> {
    const flood = (this.#flood ??= { minute: this.#minute, id: randomId().slice(0, 8), done: 0, first: null });
    const total = FLOOD_REQUESTS * FLOOD_COMMENTS;
    for (let last = 0; ; ) {
      if (flood.done === total) {
        this.#flood = null;
        return `Committed as events ${flood.first} to ${last}, in ${FLOOD_REQUESTS} requests.`;
      }
      const events = Array.from({ length: FLOOD_COMMENTS }, (_, i) => {
        const text = `Comment ${flood.done + i + 1} of ${total}`;
        return { event: 'COMMENT', data: { minute: flood.minute, text, flood: flood.id } };
      });
      const { first, seq } = await this.#once(events, (key) => this.#api.publishMany(TOPIC, events, { key }));
      flood.done += FLOOD_COMMENTS;
      flood.first ??= first;
      last = seq;
    }
  }

  async #drop(): Promise<string> {
    const data = { keys: ['squads', 'odds'] };
    const { seq } = await this.#once(data, (key) => this.#api.broadcast(BROADCAST, data, { key, priority: 'critical' }));
    return `Broadcast as event ${seq} of the stream all, by node ${this.#node}.`;
  }

  /** Does a thing once, also when the person asks for it again because it has failed. */
  async #once(thing: unknown, send: (key: string) => Promise<Published>): Promise<Published> {
    const wanted = JSON.stringify(thing);
    const key = this.#failed?.wanted === wanted ? this.#failed.key : randomId();
    this.#failed = { wanted, key };
    const published = await send(key);
    this.#failed = null;
    return published;
  }

  /** One thing at a time, and its outcome in words. */
  async #act(action: () => Promise<string>): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    const outcome = part(this.#root, 'outcome');
    try {
      outcome.textContent = await action();
      outcome.dataset['good'] = 'true';
    } catch (error) {
      if (!(error instanceof DraftwireError)) throw error;
      outcome.textContent = inWords(error);
      outcome.dataset['good'] = 'false';
    } finally {
      this.#busy = false;
    }
  }

  get #minute(): number {
    return Number(this.#field('minute').value);
  }

  #field(name: string): HTMLInputElement {
    return this.#root.elements.namedItem(name) as HTMLInputElement;
  }
}

function inWords(error: DraftwireError): string {
  const { message } = error;
  if (!(error instanceof RefusedError)) {
    if (error instanceof UnexpectedAnswerError) return `No node has answered (${error.status}). ${AGAIN}`;
    return error instanceof NoTokenYet ? `Not sent: ${message}.` : `No answer from the server (${message}). ${AGAIN}`;
  }
  switch (error.status) {
    case 401:
      return `The server does not take the token (401): ${message}.`;
    case 403:
      return `The token does not allow that (403): ${message}.`;
    case 413:
      return `That is too much (413): ${message}.`;
    case 429:
      return `Too much at once (429): ${message}. ${AGAIN}`;
    case 503:
      return `The server cannot commit at the moment (503): ${message}. ${AGAIN}`;
    default:
      return `The server refuses (${error.status}): ${message}.`;
  }
}

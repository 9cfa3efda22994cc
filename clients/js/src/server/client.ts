// The client of backends.

import type { Cursor, Priority } from '../api.js';
import { randomId } from '../json.js';
import { Drafts } from './drafts.js';
import { ConnectionFailedError, RequestError } from './errors.js';
import { exchange, type Limits, type Outside } from './exchange.js';
import { type Ask, History, type HistoryOptions } from './history.js';
import { chunks, encode, EVENTS_PER_REQUEST_MAX, line, REQUEST_BYTES, type StreamOptions } from './publishing.js';
import { Ends, type Fetch, orAborted, pause, send } from './transport.js';
import {
  ALL,
  type CallOptions,
  type ChangeOptions,
  type Disconnected,
  type DisconnectOptions,
  type Line,
  type Presence,
  type Published,
  type StreamPublished,
  type Target,
  user,
} from './values.js';
import { type Answer, number, path, read, readPresence, type Request, stringify } from './wire.js';

/** A token, or what gives a valid one, such as `TokenMinter.source`; null for none, which can read public topics. */
export type Token = string | null | (() => string | null | Promise<string | null>);

/** What a client can be told; `withOptions` changes it. */
export interface Options {
  /** Called before each attempt where it is a function; then a token has to come within `timeoutMs`. */
  readonly token?: Token | undefined;
  /** The `origin` of what the client does, and a part of the key under which it is remembered; `http` when absent. */
  readonly device?: string | undefined;
  /** How long one attempt takes at most, in milliseconds; 10 s when absent. */
  readonly timeoutMs?: number | undefined;
  /**
   * How long a call takes at most with all its repetitions, in milliseconds, 60 s when absent; for `publishStream` and
   * `history`, each of their requests.
   */
  readonly deadlineMs?: number | undefined;
  /** Sends requests where it is not the platform's `fetch` that should. */
  readonly fetch?: Fetch | undefined;
}

/** How an event is published. */
export interface PublishOptions extends ChangeOptions {
  /** Urgent events are not held back by a follower's batch window; `normal` when absent. */
  readonly priority?: Priority | undefined;
}

/** The longest time that timers take, in milliseconds. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/**
 * A connection of a backend to a Draftwire server.
 *
 * Requests are repeated after failures that pass, with growing, random pauses: after 429 and 503, which may say how
 * long to wait, and when a connection failed, the one of a proxy to its node (502, 504) included. Everything that
 * changes something has an idempotency key that stays the same, so nothing happens twice.
 */
export class Draftwire {
  /** The drafts of the token's user. */
  readonly drafts: Drafts;
  readonly #url: string;
  readonly #options: Options;
  readonly #limits: Limits;
  #ends = new Ends();

  /**
   * `url` is where the server is, `https://sync.example.com`.
   * Throws a `RangeError` when it is no such address, and when a time makes no sense.
   */
  constructor(url: string | URL, options: Options = {}) {
    this.#url = serverUrl(url);
    this.#options = options;
    this.#limits = { timeoutMs: ms(options.timeoutMs, 10_000), deadlineMs: ms(options.deadlineMs, 60_000) };
    this.drafts = new Drafts(this.#ask, options.device);
  }

  /**
   * Publishes one event to a topic, a user or all, and returns its number once it is durable. `event` is its type, 1
   * to 64 characters of `A-Z 0-9 _`.
   */
  async publish(to: Target, event: string, data?: unknown, options: PublishOptions = {}): Promise<Published> {
    const { priority } = options;
    return this.#publish(to, encode({ event, data, ...(priority && { priority }) }), options);
  }

  /** Publishes up to 1000 events together, all or none; their numbers are consecutive. */
  async publishMany(to: Target, events: Iterable<Line>, options: ChangeOptions = {}): Promise<Published> {
    const lines = Array.from(events, line).filter((text) => text !== '');
    return this.#publish(to, `[${lines.join(',')}]`, options);
  }

  /** Publishes one event to a user's own stream: `publish` to `user(userId)`. */
  async publishUser(userId: string, event: string, data?: unknown, options: PublishOptions = {}): Promise<Published> {
    return this.publish(user(userId), event, data, options);
  }

  /** Publishes one event to everybody: `publish` to `ALL`. */
  async broadcast(event: string, data?: unknown, options: PublishOptions = {}): Promise<Published> {
    return this.publish(ALL, event, data, options);
  }

  /**
   * Publishes any number of events in their order, in requests of a bounded size, one after the other.
   *
   * Each request has an idempotency key of its own, made from `key` and its number. To start over, after a crash for
   * instance, give the same events with the same `key` and bounds: none is published twice. Other events under the
   * same key are refused.
   */
  async publishStream(
    to: Target,
    events: Iterable<Line> | AsyncIterable<Line>,
    options: StreamOptions = {},
  ): Promise<StreamPublished> {
    const { key = randomId(), eventsMax = EVENTS_PER_REQUEST_MAX, bytesMax = REQUEST_BYTES, signal } = options;
    let done: StreamPublished = { events: 0, requests: 0, first: null, seq: null };
    for await (const lines of chunks(events, eventsMax, bytesMax)) {
      // Of one width, so that a key which is too long is refused with the first request.
      const ofRequest = { key: `${key}.${String(done.requests).padStart(6, '0')}`, signal };
      try {
        const { first, seq } = await this.#publish(to, lines.join('\n'), ofRequest, 'application/x-ndjson');
        done = { events: done.events + lines.length, requests: done.requests + 1, first: done.first ?? first, seq };
      } catch (error) {
        if (error instanceof RequestError) error.committed = done;
        throw error;
      }
    }
    return done;
  }

  /**
   * Sends what is true only now to those who follow at this moment. It is not stored, and reaches each of them at most
   * once. So it is repeated only after failures that show that it was not sent.
   */
  async signal(to: Target, event: string, data?: unknown, { signal }: CallOptions = {}): Promise<void> {
    const body = encode({ event, data }, true);
    await this.#ask({ method: 'POST', path: this.#events(to), body, repeatable: false }, () => undefined, signal);
  }

  /** Reads what the log holds of a topic behind a cursor; without one, the oldest events that are kept come first. */
  history(topic: string, cursor: Cursor | null = null, options: HistoryOptions = {}): History {
    return new History(this.#ask, topic, cursor, options);
  }

  /** Returns who is present in a topic, through any node of the server. */
  async presence(topic: string, { signal }: CallOptions = {}): Promise<Presence> {
    return this.#ask({ method: 'GET', path: path(['topics', topic, 'presence']) }, readPresence, signal);
  }

  /**
   * Ends the connections that a user has at this moment, on every node; it needs the scope `admin`. It takes no right
   * away: clients come back with a fresh token, and so do those that were told to stay away, once the user signs in.
   */
  async disconnect(userId: string, options: DisconnectOptions = {}): Promise<Disconnected> {
    const { code, reason, key = randomId(), signal } = options;
    const target = path(['admin', 'users', userId, 'disconnect'], { device: this.#options.device });
    const headers = { 'idempotency-key': key, 'content-type': 'application/json' };
    const body = stringify({ code, reason });
    const seq = (answer: Answer) => ({ seq: number(read(answer), 'seq') });
    return this.#ask({ method: 'POST', path: target, headers, body }, seq, signal);
  }

  /** Returns a client with other options, which is closed with this one. */
  withOptions(options: Options): Draftwire {
    const client = new Draftwire(this.#url, { ...this.#options, ...options });
    client.#ends = this.#ends;
    return client;
  }

  /** Ends all calls with a `ClosedError`, also those to come. */
  close(): void {
    this.#ends.close();
  }

  #publish(to: Target, body: string, options: ChangeOptions, type = 'application/json'): Promise<Published> {
    const { key = randomId(), signal } = options;
    const headers = { 'idempotency-key': key, 'content-type': type };
    return this.#ask({ method: 'POST', path: this.#events(to), headers, body }, readPublished, signal);
  }

  #events(to: Target): string {
    const query = { device: this.#options.device };
    if (to === ALL) return path(['broadcast'], query);
    return path(typeof to === 'string' ? ['topics', to, 'events'] : ['users', to.userId, 'events'], query);
  }

  readonly #ask: Ask = <T>(request: Request, reader: (answer: Answer) => T, signal: AbortSignal | undefined) =>
    exchange(request, this.#limits, this.#outside(signal), reader);

  #outside(signal: AbortSignal | undefined): Outside {
    const { fetch = globalThis.fetch } = this.#options;
    return {
      token: () => this.#token(signal),
      send: (request, token, timeoutMs) =>
        this.#ends.within(timeoutMs, signal, (over) => send(fetch, this.#url, request, token, over)),
      pause: (pauseMs) => this.#ends.within(pauseMs, signal, pause),
      now: () => performance.now(),
      wall: Date.now,
      random: Math.random,
    };
  }

  async #token(signal: AbortSignal | undefined): Promise<string | null> {
    const { token = null } = this.#options;
    if (typeof token !== 'function') return token;
    const { timeoutMs } = this.#limits;
    return this.#ends.within(timeoutMs, signal, (over) => {
      const late = () => new ConnectionFailedError(`no token came within ${timeoutMs} ms`);
      return orAborted((async () => token())(), over, late);
    });
  }
}

function readPublished(answer: Answer): Published {
  const numbers = read(answer);
  return { first: number(numbers, 'first'), seq: number(numbers, 'seq') };
}

function serverUrl(url: string | URL): string {
  // No error quotes it: it may hold a password.
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw new RangeError('the address of the server is not a URL: give one with http:// or https://');
  }
  if (!['http:', 'https:'].includes(parsed.protocol)) {
    throw new RangeError(`the address of the server must begin with http:// or https://, not with ${parsed.protocol}`);
  }
  if (parsed.search !== '' || parsed.hash !== '' || parsed.username !== '' || parsed.password !== '') {
    throw new RangeError('the address of the server must have no user, query or fragment');
  }
  return parsed.href.replace(/\/+$/, '');
}

function ms(given: number | undefined, otherwise: number): number {
  const value = given ?? otherwise;
  if (value > 0 && value <= TIMER_MAX_MS) return value;
  throw new RangeError(`a time limit must be above 0 and at most ${TIMER_MAX_MS} ms, and is ${value}`);
}

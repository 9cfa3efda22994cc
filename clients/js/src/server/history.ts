// Reading a topic's history page by page.

import type { Cursor } from '../api.js';
import { isObject } from '../json.js';
import { formatCursor, type Position } from '../protocol.js';
import { ConflictError, UnexpectedAnswerError } from './errors.js';
import type { CallOptions, HistoryItem } from './values.js';
import { type Answer, list, number, path, read, readEvent, type Request, text } from './wire.js';

/** How a history is read. */
export interface HistoryOptions extends CallOptions {
  /** How many events are read at a time, 1 to 1000; 100 when absent. */
  readonly pageSize?: number | undefined;
}

/** Sends a request until it is answered, and returns what the reader makes of it. */
export type Ask = <T>(request: Request, reader: (answer: Answer) => T, signal: AbortSignal | undefined) => Promise<T>;

/**
 * A topic's log, read up to its head; page after page, as it is iterated over, once. One page is in memory at a time.
 *
 * Beside events there may be a `missed`, where retention has removed events before they were read, and a
 * `history_changed`, where the cursor is no position in the present history, whose oldest events follow.
 */
export class History implements AsyncIterableIterator<HistoryItem> {
  readonly #ask: Ask;
  readonly #topic: string;
  readonly #pageSize: number;
  readonly #signal: AbortSignal | undefined;
  /** Where the next page begins. */
  #next: Position | null;
  #items: { item: HistoryItem; after: Position }[] = [];
  #ended = false;
  #cursor: Position | null;
  #head: Position | null = null;

  constructor(ask: Ask, topic: string, cursor: Cursor | null, { pageSize = 100, signal }: HistoryOptions) {
    this.#ask = ask;
    this.#topic = topic;
    this.#pageSize = pageSize;
    this.#signal = signal;
    this.#next = cursor === null ? null : position(cursor);
    this.#cursor = this.#next;
  }

  /**
   * The position behind what was given last, for a later reader to go on from. Null as long as nothing was read and no
   * cursor was given.
   */
  get cursor(): Cursor | null {
    return this.#cursor && formatCursor(this.#cursor);
  }

  /**
   * The topic's last event when it was last read; null as long as nothing was read. With it a reader begins a little
   * before the end, or follows the topic from there.
   */
  get head(): Cursor | null {
    return this.#head && formatCursor(this.#head);
  }

  async next(): Promise<IteratorResult<HistoryItem>> {
    while (this.#items.length === 0 && !this.#ended) await this.#readPage();
    const first = this.#items.shift();
    if (first === undefined) {
      this.#cursor = this.#next;
      return { done: true, value: undefined };
    }
    this.#cursor = first.after;
    return { done: false, value: first.item };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async #readPage(): Promise<void> {
    const cursor = this.#next ? formatCursor(this.#next) : undefined;
    const query = { cursor, limit: String(this.#pageSize) };
    const request: Request = { method: 'GET', path: path(['topics', this.#topic, 'events'], query) };
    try {
      this.#add(await this.#ask(request, readPage, this.#signal));
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
      this.#change(error);
    }
  }

  /** Goes on at the beginning of the history that there is now. */
  #change(error: ConflictError): void {
    const { payload } = error;
    if (!isObject(payload) || typeof payload['epoch'] !== 'string') throw error;
    const epoch = payload['epoch'];
    const [head, floor] = [number(payload, 'head'), number(payload, 'floor')];
    this.#next = { epoch, seq: floor };
    this.#items.push({ item: { kind: 'history_changed', epoch, head, floor }, after: this.#next });
  }

  #add({ epoch, head, events, cursor }: Page): void {
    this.#head = { epoch, seq: head };
    let expected = this.#next === null ? null : this.#next.seq + 1;
    const reach = (seq: number) => {
      if (expected !== null && seq > expected) {
        this.#items.push({ item: { kind: 'missed', before: seq }, after: { epoch, seq: seq - 1 } });
      }
      expected = seq + 1;
    };
    for (const event of events) {
      reach(event.seq);
      this.#items.push({ item: event, after: { epoch, seq: event.seq } });
    }
    if (events.length === 0) reach(cursor.seq + 1);
    this.#ended = cursor.seq >= head;
    if (!this.#ended && events.length === 0 && cursor.seq === this.#next?.seq) {
      throw new UnexpectedAnswerError(200, `the server sent a page of the history without progress after ${this.cursor}`);
    }
    this.#next = cursor;
  }
}

interface Page {
  readonly epoch: string;
  readonly head: number;
  readonly events: readonly ReturnType<typeof readEvent>[];
  readonly cursor: Position;
}

function readPage(answer: Answer): Page {
  const page = read(answer);
  return {
    epoch: text(page, 'epoch'),
    head: number(page, 'head'),
    events: list(page, 'events', isObject).map(readEvent),
    cursor: position(text(page, 'cursor')),
  };
}

function position(cursor: Cursor): Position {
  const [, epoch, seq] = /^([^:]+):([0-9]+)$/.exec(cursor) ?? [];
  if (epoch === undefined) throw new RangeError(`${JSON.stringify(cursor)} is no cursor: <epoch>:<seq>`);
  return { epoch, seq: Number(seq) };
}

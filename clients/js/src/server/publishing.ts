// Events in requests of a bounded size.

import type { CallOptions, Line, NewEvent } from './values.js';
import { stringify } from './wire.js';

/** The most events that the server takes in one request. */
export const EVENTS_PER_REQUEST_MAX = 1000;

/** About how large a request of `publishStream` becomes, in bytes: half of the server's MAX_MESSAGE_BYTES. */
export const REQUEST_BYTES = 512 * 1024;

/** How a stream is published. */
export interface StreamOptions extends CallOptions {
  /** The beginning of the idempotency keys, at most 57 characters; a random one when absent. */
  readonly key?: string | undefined;
  /** The most events in a request; 1000 when absent. */
  readonly eventsMax?: number | undefined;
  /** The most bytes in a request, 512 KiB when absent; a larger event is alone in one. */
  readonly bytesMax?: number | undefined;
}

/** Returns an event as JSON text; empty when the text given is blank. */
export function line(event: Line): string {
  if (typeof event === 'string') return event.trim();
  if (typeof event !== 'object' || event === null) throw new TypeError(`${String(event)} cannot be published: it is neither an event nor a text`);
  return encode(event);
}

/** Returns the JSON text of an event to publish; it has no line end in it. */
export function encode({ event, data, priority }: NewEvent, signal?: true): string {
  return stringify({ event, data, priority, signal });
}

/**
 * Puts events together to the bodies of requests. The same events with the same bounds always give the same bodies,
 * which makes repeating all of them under the same keys safe. One request is in memory at a time, and an event that no
 * longer fits into it.
 */
export async function* chunks(
  events: Iterable<Line> | AsyncIterable<Line>,
  eventsMax: number,
  bytesMax: number,
): AsyncGenerator<readonly string[]> {
  if (!(eventsMax >= 1 && bytesMax >= 1)) throw new RangeError('a request must be allowed to hold at least one event and one byte');
  const encoder = new TextEncoder();
  let [lines, size] = [[] as string[], 0];
  for await (const event of events) {
    const text = line(event);
    if (text === '') continue;
    const bytes = encoder.encode(text).byteLength + 1;
    if (lines.length > 0 && (lines.length >= eventsMax || size + bytes > bytesMax)) {
      yield lines;
      [lines, size] = [[], 0];
    }
    lines.push(text);
    size += bytes;
  }
  if (lines.length > 0) yield lines;
}

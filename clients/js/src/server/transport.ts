// HTTP by fetch: one request and its answer, within bounds of time and size.

import { AbortedError, ClosedError, InvalidRequestError, UnexpectedAnswerError } from './errors.js';
import type { Failure } from './exchange.js';
import type { Answer, Request } from './wire.js';

/** The largest answer that is read, in bytes. By default all drafts of a user, or a page of a history, need less. */
const ANSWER_BYTES_MAX = 128 * 1024 * 1024;

/** What `fetch` is, as far as it is used here. */
export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

/** The ends of a call: the client is closed, or the caller's signal is aborted. */
export class Ends {
  readonly #closed = new AbortController();

  /** Ends every call, also those to come. */
  close(): void {
    this.#closed.abort();
  }

  /**
   * Returns what `run` does. Its signal is aborted when the time is over, and when the call has to end; then this
   * rejects with the reason.
   */
  async within<T>(ms: number, signal: AbortSignal | undefined, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    this.#check(signal);
    const over = new AbortController();
    const end = () => over.abort(new Error('the time limit has passed'));
    const timer = setTimeout(end, ms);
    const ends = [this.#closed.signal, ...(signal === undefined ? [] : [signal])];
    for (const one of ends) one.addEventListener('abort', end);
    try {
      return await run(over.signal);
    } finally {
      clearTimeout(timer);
      for (const one of ends) one.removeEventListener('abort', end);
      if (over.signal.aborted) this.#check(signal);
    }
  }

  #check(signal: AbortSignal | undefined): void {
    if (this.#closed.signal.aborted) throw new ClosedError();
    if (signal?.aborted) throw new AbortedError(signal.reason);
  }
}

/** Resolves after a time, or as soon as the signal is aborted. */
export function pause(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

/** Rejects as soon as the signal is aborted, unless the work is done before. */
export function orAborted<T>(
  work: Promise<T>,
  signal: AbortSignal,
  reason: () => unknown = () => signal.reason,
): Promise<T> {
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(reason()), { once: true });
    work.then(resolve, reject);
  });
}

/** Sends a request once. */
export async function send(
  fetch: Fetch,
  base: string,
  request: Request,
  token: string | null,
  signal: AbortSignal,
): Promise<Answer | Failure> {
  const init: RequestInit = { method: request.method, headers: headers(request, token), redirect: 'manual', signal };
  if (request.body !== undefined) init.body = request.body;
  try {
    // A platform's fetch may ignore the signal for a while; this does not.
    return await orAborted(answer(await orAborted(fetch(base + request.path, init), signal)), signal);
  } catch (cause) {
    if (cause instanceof UnexpectedAnswerError) throw cause;
    return { cause, sent: !neverSent(cause) };
  }
}

function headers(request: Request, token: string | null): Headers {
  const fields: Record<string, string> = { accept: 'application/json, application/problem+json', ...request.headers };
  if (request.body !== undefined) fields['content-type'] ??= 'application/json';
  if (token !== null) fields['authorization'] = `Bearer ${token}`;
  try {
    // In UTF-8: what no header can say is refused by the server, by name.
    return new Headers(Object.entries(fields).map(([name, value]): [string, string] => [name, utf8(value)]));
  } catch {
    // The error may quote the token, which belongs in no log.
    throw new InvalidRequestError('the token or the idempotency key has a character that no HTTP header can hold');
  }
}

function utf8(value: string): string {
  return String.fromCharCode(...new TextEncoder().encode(value));
}

async function answer(response: Response): Promise<Answer> {
  const decoder = new TextDecoder();
  let [body, bytes] = ['', 0];
  const reader = response.body?.getReader();
  while (reader !== undefined) {
    const { done, value } = await reader.read();
    if (done) break;
    bytes += value.byteLength;
    if (bytes > ANSWER_BYTES_MAX) {
      await reader.cancel();
      throw new UnexpectedAnswerError(response.status, `the answer is larger than ${ANSWER_BYTES_MAX} bytes`);
    }
    body += decoder.decode(value, { stream: true });
  }
  return { status: response.status, headers: response.headers, body: body + decoder.decode() };
}

/** What platforms call a connection that could not be made. Of any other failure it is not known what was sent. */
const UNSENT = ['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'UND_ERR_CONNECT_TIMEOUT', 'ConnectionRefused'];

function neverSent(error: unknown): boolean {
  const { code, cause } = (error ?? {}) as { code?: unknown; cause?: { code?: unknown } };
  return [code, cause?.code].some((name) => typeof name === 'string' && UNSENT.includes(name));
}

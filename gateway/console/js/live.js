// @ts-check
// The picture of the cluster, every second, for as long as the page is shown.

import { Refused, ask } from './session.js';

/** How long nothing may come until the stream is taken for broken: the server sends every second. */
const SILENCE_MS = 5_000;
const [PAUSE_FIRST_MS, PAUSE_MOST_MS] = [500, 10_000];
/** No picture is nearly as long. */
const LINE_MAX = 16 * 1024 * 1024;

/**
 * Follows it until `signal` ends it, or the token is refused: that is thrown.
 *
 * Not with EventSource, which cannot send a token in a header.
 *
 * @param {AbortSignal} signal
 * @param {(picture: any) => void} show
 * @param {(reason: string) => void} lost
 */
export async function follow(signal, show, lost) {
  let pause = PAUSE_FIRST_MS;
  while (!signal.aborted) {
    let reason = 'The server has ended the stream.';
    try {
      await read(signal, (picture) => {
        pause = PAUSE_FIRST_MS;
        show(picture);
      });
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && (error.status === 401 || error.status === 403)) throw error;
      reason = error instanceof Error ? error.message : String(error);
    }
    lost(reason);
    await new Promise((resolve) => {
      setTimeout(resolve, pause * (0.5 + Math.random() / 2));
      signal.addEventListener('abort', resolve, { once: true });
    });
    pause = Math.min(2 * pause, PAUSE_MOST_MS);
  }
}

/**
 * @param {AbortSignal} outer
 * @param {(picture: any) => void} show
 */
async function read(outer, show) {
  const silence = new AbortController();
  const signal = AbortSignal.any([outer, silence.signal]);
  let timer = setTimeout(() => silence.abort(), 2 * SILENCE_MS);
  try {
    const answer = await ask('v1/admin/live', { headers: { accept: 'text/event-stream' }, signal });
    if (!answer.body) return;
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    const events = new EventReader();
    for (;;) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      const { done, value } = await reader.read();
      if (done) return;
      for (const { event, data } of events.push(value)) {
        if (event === 'error') {
          const problem = JSON.parse(data);
          throw new Refused(Number(problem.status ?? 0), String(problem.code ?? ''), String(problem.message ?? problem.detail ?? data));
        }
        show(JSON.parse(data));
      }
    }
  } catch (error) {
    if (silence.signal.aborted && !outer.aborted) throw new Refused(0, 'silent', 'The server is silent.');
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** Takes server-sent events out of text that comes in pieces (HTML standard, section 9.2.6). Pure. */
export class EventReader {
  #text = '';
  #event = '';
  /** @type {string[]} */
  #data = [];

  /**
   * @param {string} piece
   * @returns {{ event: string, data: string }[]}
   */
  push(piece) {
    this.#text += piece;
    if (this.#text.length > LINE_MAX) throw new Refused(0, 'too_large', 'The server sends no server-sent events.');
    const lines = this.#text.split(/\r\n|\n|\r(?!$)/);
    this.#text = lines.pop() ?? '';
    const found = [];
    for (const line of lines) {
      if (line === '') {
        if (this.#data.length > 0) found.push({ event: this.#event || 'message', data: this.#data.join('\n') });
        [this.#event, this.#data] = ['', []];
      } else if (line.startsWith('data:')) this.#data.push(line.slice(line[5] === ' ' ? 6 : 5));
      else if (line.startsWith('event:')) this.#event = line.slice(6).trim();
    }
    return found;
  }
}

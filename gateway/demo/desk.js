// The commentator's desk: it posts to the topic, and broadcasts to all, as a backend does.

import { ApiError } from './api.js';
import { part } from './dom.js';
import { randomId } from './draftwire.js';

/** A flood is so many requests, one after the other, of so many comments each. */
const FLOOD_REQUESTS = 10;
const FLOOD_COMMENTS = 5;

export class Desk {
  #root;
  #api;
  #path;
  #broadcast;
  #busy = false;
  /** What the last failed request wanted, and its key: asked for again, it is the same request. */
  #failed = null;
  /** A flood that is under way, or has failed in the middle and goes on there. */
  #flooding = null;

  /** @param {{ root: HTMLFormElement, api: Api, topic: string, broadcast: string }} options */
  constructor({ root, api, topic, broadcast }) {
    this.#root = root;
    this.#api = api;
    this.#path = `v1/topics/${topic}/events`;
    this.#broadcast = broadcast;
    root.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#act(() => this.#comment());
    });
    part(root, 'flood').addEventListener('click', () => this.#act(() => this.#flood()));
    part(root, 'broadcast').addEventListener('click', () => this.#act(() => this.#drop()));
  }

  async #comment() {
    const { kind, minute, text } = this.#root.elements;
    const event = {
      event: kind.value,
      data: { minute: Number(minute.value), text: text.value.trim() },
      ...(kind.value === 'GOAL' && { priority: 'high' }),
    };
    const { seq, node } = await this.#post(this.#path, event);
    text.value = '';
    text.focus();
    return `Committed as event ${seq}, by node ${node}.`;
  }

  async #flood() {
    const minute = Number(this.#root.elements.minute.value);
    this.#flooding ??= { minute, flood: randomId().slice(0, 8), done: 0, numbers: [] };
    const flooding = this.#flooding;
    const total = FLOOD_REQUESTS * FLOOD_COMMENTS;
    while (flooding.done < total) {
      const events = Array.from({ length: FLOOD_COMMENTS }, (_, i) => {
        const text = `Comment ${flooding.done + i + 1} of ${total}`;
        return { event: 'COMMENT', data: { minute: flooding.minute, text, flood: flooding.flood } };
      });
      const { first, seq } = await this.#post(this.#path, events);
      flooding.done += FLOOD_COMMENTS;
      flooding.numbers.push(first, seq);
    }
    this.#flooding = null;
    return `Committed as events ${flooding.numbers[0]} to ${flooding.numbers.at(-1)}, in ${FLOOD_REQUESTS} requests.`;
  }

  async #drop() {
    const event = { event: this.#broadcast, data: { keys: ['squads', 'odds'] }, priority: 'critical' };
    const { seq, node } = await this.#post('v1/broadcast', event);
    return `Broadcast as event ${seq} of the stream all, by node ${node}.`;
  }

  async #post(path, body) {
    const wanted = JSON.stringify([path, body]);
    const key = this.#failed?.wanted === wanted ? this.#failed.key : randomId();
    this.#failed = { wanted, key };
    const answer = await this.#api.post(path, body, key);
    this.#failed = null;
    return answer;
  }

  /** One thing at a time, and its outcome in words. */
  async #act(action) {
    if (this.#busy) return;
    this.#busy = true;
    const outcome = part(this.#root, 'outcome');
    try {
      outcome.textContent = await action();
      outcome.dataset.good = 'true';
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      outcome.textContent = error.message;
      outcome.dataset.good = 'false';
    } finally {
      this.#busy = false;
    }
  }
}

// One viewer of the match: a connection of its own, and the commentary as it came.

import { STATE_TEXT, caughtUp, copy, highlight, part } from './dom.js';

const COMMENTS_MAX = 200;
const FLASH_MS = 6000;
/** The types of events in a commentary, and what they are called. */
export const KINDS = { GOAL: 'Goal', CARD: 'Card', SUBSTITUTION: 'Substitution', COMMENT: 'Comment' };

export class Viewer {
  #feed;
  #wasLive = false;
  #flashing = null;
  /** The last flood, as it arrived here. */
  #flood = { id: null, events: 0, frames: 0 };

  /** @param {{ index: number, name: string, way: string, feed: EventTarget }} options `feed`: see feeds.js */
  constructor({ index, name, way, feed }) {
    this.root = copy('viewer-template');
    this.root.dataset.viewer = index;
    this.root.setAttribute('aria-label', name);
    this.#part('name').textContent = name;
    this.#part('way').textContent = way;
    this.#feed = feed;
    this.#listenToFeed();
    this.#part('offline').addEventListener('change', () => this.show());
    this.#part('dismiss').addEventListener('click', () => this.#notice(''));
  }

  /** Connects, unless the person has switched the viewer offline. */
  show() {
    if (this.#part('offline').checked) this.#feed.disconnect();
    else this.#feed.connect();
  }

  /** Ends the connection. */
  hide() {
    this.#feed.disconnect();
  }

  #listenToFeed() {
    const on = (name, act) => this.#feed.addEventListener(name, ({ detail }) => act(detail));
    on('state', ({ state, reason }) => this.#renderState(state, reason));
    on('node', (node) => {
      this.#part('node').textContent = node;
    });
    on('frame', (events) => this.#countFlood(events));
    on('event', (event) => this.#comment(event));
    on('synced', ({ resumed, replayed }) => {
      this.#renderSeq();
      const badge = this.#part('replayed');
      badge.hidden = !(resumed && this.#wasLive);
      badge.textContent = caughtUp(replayed);
      this.#wasLive = true;
    });
    on('broadcast', (event) => this.#flash(event));
    on('notice', ({ text, passing }) => this.#notice(text, passing));
  }

  #renderState(state, reason = '') {
    const badge = this.#part('state');
    if (badge.textContent !== STATE_TEXT[state]) badge.textContent = STATE_TEXT[state];
    badge.title = reason;
    this.root.dataset.state = state;
    if (state === 'stopped') this.#notice(`Stopped: ${reason}. Switch offline and back to try again.`);
    if (state !== 'live') this.#part('replayed').hidden = true;
    else if (this.#part('notice').dataset.passing) this.#notice('');
  }

  #renderSeq() {
    this.#part('seq').textContent = this.#feed.seq ?? '–';
  }

  /** Whoever may publish may send any data: what is not a commentary's is shown as it is. */
  #comment({ type, seq, payload }) {
    const { minute, text } = payload ?? {};
    const row = copy('comment-template');
    row.dataset.seq = seq;
    row.dataset.kind = type;
    part(row, 'minute').textContent = Number.isInteger(minute) ? `${minute}′` : '';
    part(row, 'kind').textContent = KINDS[type] ?? type;
    part(row, 'text').textContent = typeof text === 'string' ? text : JSON.stringify(payload);
    part(row, 'comment-seq').textContent = seq;
    const list = this.#part('comments');
    list.prepend(row);
    if (list.children.length > COMMENTS_MAX) list.lastElementChild.remove();
    if (this.#wasLive) highlight(row);
    this.#part('none').hidden = true;
    this.#renderSeq();
  }

  /** @param {object[]} events of one frame */
  #countFlood(events) {
    // What was said before, on the first connection, is only the end of a flood.
    if (!this.#wasLive) return;
    const flooded = events.filter(({ payload }) => typeof payload?.flood === 'string');
    if (flooded.length === 0) return;
    const { flood: id } = flooded.at(-1).payload;
    if (this.#flood.id !== id) this.#flood = { id, events: 0, frames: 0 };
    this.#flood.events += flooded.filter(({ payload }) => payload.flood === id).length;
    this.#flood.frames += 1;
    const { events: count, frames } = this.#flood;
    this.#part('flood').hidden = false;
    this.#part('flood').textContent = `flood: ${count} in ${frames} ${frames === 1 ? 'frame' : 'frames'}`;
  }

  #flash({ type, seq, payload }) {
    const note = this.#part('flash');
    const keys = Array.isArray(payload?.keys) ? payload.keys.join(', ') : '';
    note.textContent = type === 'CACHE_INVALIDATED' ? `Drop your caches: ${keys}` : type;
    note.dataset.seq = seq;
    note.hidden = false;
    note.classList.remove('flashing');
    void note.offsetWidth; // Reading the layout restarts the animation.
    note.classList.add('flashing');
    clearTimeout(this.#flashing);
    this.#flashing = setTimeout(() => {
      note.hidden = true;
    }, FLASH_MS);
  }

  #notice(text, passing = false) {
    const notice = this.#part('notice');
    this.#part('notice-text').textContent = text;
    notice.dataset.passing = passing ? 'true' : '';
    notice.hidden = text === '';
  }

  #part(role) {
    return part(this.root, role);
  }
}

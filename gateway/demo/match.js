// The match view: a commentator who posts over HTTP, and viewers of different users who follow.

import { Api, ApiError } from './api.js';
import { Desk } from './desk.js';
import { part } from './dom.js';
import { EventFeed, SocketFeed } from './feeds.js';
import { Tokens } from './token.js';
import { KINDS, Viewer } from './viewer.js';

const TOPIC = 'match:1';
/** How much of what was said before a new viewer is shown. */
const EARLIER_MAX = 30;
const BROADCAST = 'CACHE_INVALIDATED';
const VIEWERS = [
  { name: 'Viewer 1', way: 'WebSocket', options: {} },
  { name: 'Viewer 2', way: 'WebSocket', options: {} },
  { name: 'Viewer 3', way: 'WebSocket, in batches of 100 ms', options: { batchMs: 100 } },
  { name: 'Viewer 4', way: 'Server-sent events', events: true },
];

export class MatchView {
  #root;
  #viewers = [];
  #sockets = [];
  #shown = false;
  #ready = false;

  /** @param {{ root: HTMLElement, user: string, tab: string, panel: TokenPanel }} options */
  constructor({ root, user, tab, panel }) {
    this.#root = root;
    // What the page's person may do as a backend; a viewer's token has no part in that.
    const desk = new Tokens({ user, scope: `publish:${TOPIC} service`, panel });
    new Desk({ root: part(root, 'desk'), api: new Api(desk), topic: TOPIC, broadcast: BROADCAST });
    // Users of their own: behind Nginx they may be on different nodes.
    const viewers = VIEWERS.map((viewer, index) => {
      const tokens = new Tokens({ user: `${user}-viewer-${index + 1}`, scope: `subscribe:${TOPIC}`, panel });
      return { ...viewer, index, tokens };
    });
    this.#begin(viewers, tab);
  }

  show() {
    this.#shown = true;
    if (this.#ready) for (const viewer of this.#viewers) viewer.show();
  }

  hide() {
    this.#shown = false;
    for (const viewer of this.#viewers) viewer.hide();
  }

  async #begin(viewers, tab) {
    const begin = await this.#earlier(new Api(viewers[0].tokens));
    for (const { index, name, way, options, events, tokens } of viewers) {
      const feed = events
        ? new EventFeed({
          topic: TOPIC,
          kinds: [...Object.keys(KINDS), BROADCAST],
          tokens,
          api: new Api(tokens),
          position: begin && `${begin.epoch}/topic:${TOPIC}=${begin.seq}`,
        })
        : new SocketFeed({
          topic: TOPIC,
          subscription: { presence: true, cursor: begin && `${begin.epoch}:${begin.seq}`, ...options },
          device: `viewer-${index + 1}-${tab}`,
          tokens,
        });
      if (!events) this.#sockets.push(feed);
      feed.addEventListener('presence', () => this.#renderPresence());
      const viewer = new Viewer({ index, name, way, feed });
      this.#viewers.push(viewer);
      part(this.#root, 'viewers').append(viewer.root);
    }
    this.#ready = true;
    if (this.#shown) this.show();
  }

  /** Where the viewers begin: a little before the head, so that the page does not open empty. Null when
   *  that cannot be had: they then begin at the head. */
  async #earlier(api) {
    try {
      const { epoch, head, floor } = await api.get(`v1/topics/${TOPIC}/events?limit=1`);
      return { epoch, seq: Math.max(floor, head - EARLIER_MAX) };
    } catch (error) {
      if (error instanceof ApiError) return null;
      throw error;
    }
  }

  /** As the server tells any one of the viewers. */
  #renderPresence() {
    const presence = this.#sockets.map((feed) => feed.presence).find(Boolean);
    part(this.#root, 'users').textContent = presence?.users ?? '–';
    part(this.#root, 'devices').textContent = presence?.devices ?? '–';
  }
}

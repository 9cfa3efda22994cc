// A topic as it comes over a WebSocket or as server-sent events, told in the same words.
//
// Both emit, each with a `detail`:
//   state      { state, reason? }      offline, waiting, connecting, catching-up, live or stopped
//   node       the name of the node that this connection has reached
//   frame      messages of the topic's events that came in one frame; not for server-sent events
//   event      an event of the topic, once and in order
//   synced     { resumed, replayed }   caught up
//   broadcast  an event of the stream `all`
//   presence   { users, devices }, or null while unknown; not for server-sent events
//   notice     { text, passing? }      what the person has to know; passing: until it is live again

import { ApiError } from './api.js';
import { backoff } from './connection.js';
import { address } from './dom.js';
import { Draftwire } from './draftwire.js';

class Feed extends EventTarget {
  seq = null;
  state = 'offline';

  emit(name, detail) {
    if (name === 'state') this.state = detail.state;
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** Over a WebSocket, by the reference client. */
export class SocketFeed extends Feed {
  #client;
  #name;
  #subscription;
  #topic = null;

  /** @param {object} options `subscription` as for `Draftwire.subscribe` */
  constructor({ topic, subscription, device, tokens }) {
    super();
    this.#name = topic;
    this.#subscription = subscription;
    const url = address('ws/realtime');
    url.protocol = url.protocol.replace('http', 'ws');
    this.#client = new Draftwire({ url, device, getToken: (spent) => tokens.get(spent), drafts: false });
    this.#listenToClient();
    this.#follow();
  }

  /** Who is here, as the server says; null while unknown. */
  get presence() {
    return this.#topic.presence;
  }

  connect() {
    if (this.#topic.state === 'ended') this.#follow();
    this.#client.connect();
  }

  disconnect() {
    this.#client.disconnect();
  }

  #listenToClient() {
    const on = (name, act) => this.#client.addEventListener(name, ({ detail }) => act(detail));
    on('state', ({ reason }) => this.#tellState(reason));
    on('welcome', ({ node }) => this.emit('node', node));
    on('broadcast', (event) => this.emit('broadcast', event));
    on('missed', () => this.emit('notice', { text: 'Some broadcasts of the time away are gone from the log.' }));
    on('refused', ({ code, message }) => this.emit('notice', { text: `${code}: ${message}` }));
    on('defect', ({ stream, message }) => this.emit('notice', { text: `${stream}: ${message}` }));
    on('frame', ({ direction, messages }) => {
      if (direction !== 'in') return;
      const events = messages.filter(({ stream, seq, type }) => {
        return stream === `topic:${this.#name}` && Number.isInteger(seq) && type !== 'SYNCED';
      });
      if (events.length > 0) this.emit('frame', events);
    });
  }

  #follow() {
    const cursor = this.#topic?.cursor ?? this.#subscription.cursor;
    this.#topic = this.#client.subscribe(this.#name, { ...this.#subscription, cursor });
    const on = (name, act) => this.#topic.addEventListener(name, ({ detail }) => act(detail));
    on('state', ({ state }) => state !== 'ended' && this.#tellState());
    on('event', (event) => {
      this.seq = event.seq;
      this.emit('event', event);
    });
    on('synced', (outcome) => {
      this.seq = this.#topic.seq;
      this.emit('synced', outcome);
    });
    on('missed', ({ missedBefore }) => {
      this.seq = this.#topic.seq;
      this.emit('notice', { text: `What was missed before ${missedBefore} is gone from the log.` });
    });
    on('presence', (presence) => this.emit('presence', presence));
    on('ended', ({ code, message }) => this.#tellState(`${code}: ${message}`));
  }

  /** The topic's state counts while the connection is there. */
  #tellState(reason) {
    const { state } = this.#client;
    const topic = { waiting: 'catching-up', ended: 'stopped' }[this.#topic.state] ?? this.#topic.state;
    this.emit('state', { state: state === 'live' || topic === 'stopped' ? topic : state, reason });
  }
}

/** As server-sent events, by the browser's own EventSource. */
export class EventFeed extends Feed {
  #topic;
  #kinds;
  #tokens;
  #api;
  #source = null;
  /** Where this viewer stands in all streams, as the server has put it. */
  #position;
  /** Whether this connection began somewhere, so that SYNCED will end what was missed. */
  #resuming = false;
  #replayed = 0;
  #failures = 0;
  #token = null;
  /** The token of an attempt that was refused: it may be the reason. */
  #spent = null;
  /** What is to happen next: an attempt that is on its way, or the timer of the next one. */
  #next = null;

  /** @param {object} options `kinds`: the types of events; an EventSource hears only those it is told of.
   *    `position` where to begin, as in the id of an event, or null */
  constructor({ topic, kinds, tokens, api, position }) {
    super();
    this.#topic = topic;
    this.#kinds = kinds;
    this.#tokens = tokens;
    this.#api = api;
    this.#position = position;
  }

  connect() {
    if (this.state === 'offline' || this.state === 'stopped') this.#open();
  }

  disconnect() {
    this.#close();
    this.emit('state', { state: 'offline' });
  }

  async #open() {
    this.#close();
    this.emit('state', { state: 'connecting' });
    const url = address('v1/stream');
    url.searchParams.set('topics', this.#topic);
    if (this.#position) url.searchParams.set('cursor', this.#position);
    const attempt = {};
    this.#next = attempt;
    try {
      // An EventSource can set no header.
      this.#token = await this.#tokens.get(this.#spent);
      url.searchParams.set('token', this.#token);
    } catch (error) {
      if (this.#next === attempt) this.#comeBack(`no token: ${error.message}`);
      return;
    }
    if (this.#next !== attempt) return;
    const source = new EventSource(url);
    this.#source = source;
    for (const kind of new Set(['WELCOME', 'SYNCED', ...this.#kinds])) {
      source.addEventListener(kind, ({ data, lastEventId }) => this.#receive(JSON.parse(data), lastEventId));
    }
    source.onerror = () => {
      // Unless it was refused, it comes back by itself, with the id of the last event.
      if (source.readyState === EventSource.CLOSED) this.#refused();
      else this.emit('state', { state: 'waiting' });
    };
    source.onopen = () => {
      this.#resuming = this.#position !== null;
      this.#replayed = 0;
    };
  }

  #close() {
    clearTimeout(this.#next);
    this.#next = null;
    this.#source?.close();
    this.#source = null;
  }

  #comeBack(reason) {
    this.#close();
    this.emit('state', { state: 'waiting', reason });
    this.#next = setTimeout(() => this.#open(), backoff(this.#failures++));
  }

  /** An EventSource does not say why. Reading the history takes the same rights, so its answer does. */
  async #refused() {
    this.#spent = this.#token;
    this.#comeBack('refused');
    const { state } = this;
    try {
      await this.#api.get(`v1/topics/${this.#topic}/events?limit=1`);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.emit('notice', { text: error.message, passing: error.status !== 403 });
      if (error.status !== 403 || this.state !== state) return;
      this.#close();
      this.emit('state', { state: 'stopped', reason: error.message });
    }
  }

  #receive(message, lastEventId) {
    const { type, stream, payload } = message;
    if (lastEventId) this.#position = lastEventId;
    if (type === 'WELCOME') {
      this.#welcome(payload);
    } else if (stream === 'all' && type !== 'SYNCED') {
      this.emit('broadcast', message);
    } else if (stream === `topic:${this.#topic}`) {
      if (type === 'SYNCED') this.#synced(message);
      else this.#event(message);
    }
  }

  #welcome({ node }) {
    this.#failures = 0;
    this.#spent = null;
    this.emit('node', node);
    if (this.#resuming) this.emit('state', { state: 'catching-up' });
    else this.#live();
  }

  #event(event) {
    // Its types may be more than those this viewer hears of, so it can judge repetitions, not gaps.
    if (this.seq !== null && event.seq <= this.seq) {
      this.emit('notice', { text: `event ${event.seq} came again` });
      return;
    }
    this.seq = event.seq;
    this.#replayed += 1;
    this.emit('event', event);
  }

  #synced({ seq, missedBefore }) {
    if (missedBefore !== undefined) {
      // Another SYNCED comes when everything that is left has come.
      this.seq = seq;
      this.emit('notice', { text: `What was missed before ${missedBefore} is gone from the log.` });
      return;
    }
    this.seq ??= seq;
    // Where it was live before, it has been all the time.
    if (this.state !== 'live') this.#live();
  }

  #live() {
    this.emit('synced', { resumed: this.#resuming, replayed: this.#replayed });
    this.emit('state', { state: 'live' });
  }
}

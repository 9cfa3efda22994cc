// @ts-check
// Connections of all nodes: how far each is behind, and an end for those of a user.

import { Table, element, say } from './dom.js';
import { bytes, count, millis, moment, span } from './format.js';
import { ask, askJson } from './session.js';

const ENCODINGS = { json: 'JSON', msgpack: 'MessagePack' };
const TRANSPORTS = { websocket: 'WebSocket', event_stream: 'event stream' };

/** How far a connection is behind, and why. @param {any} connection */
function behind({ cursors, moreCursors, bytesWaiting }) {
  if (!cursors) return 'too busy to say';
  const late = cursors.filter((/** @type {any} */ cursor) => cursor.behind > 0);
  const places = late.map((/** @type {any} */ cursor) => `${cursor.stream} at ${count(cursor.seq)} of ${count(cursor.head)}, ${count(cursor.behind)} behind`);
  if (places.length === 0) places.push(`at the head of ${count(cursors.length + (moreCursors ?? 0))} streams`);
  if (bytesWaiting > 0) places.push(`${bytes(bytesWaiting)} wait until the client reads`);
  return places.join('; ');
}

export class Connections {
  static title = 'Connections';

  constructor() {
    this.user = element('input', { type: 'search', maxlength: 128, autocomplete: 'off', spellcheck: 'false', name: 'user' });
    this.note = element('p', { class: 'note', role: 'status', 'data-role': 'connections-note' });
    this.table = new Table(
      'Connections',
      [
        { title: 'Connection' },
        { title: 'User' },
        { title: 'Device' },
        { title: 'Node' },
        { title: 'For', number: true },
        { title: 'By' },
        { title: 'Round trip', number: true },
        { title: 'Heard', number: true },
        { title: 'Behind' },
        { title: '' },
      ],
      'There is no such connection.',
    );
    this.more = element('button', { type: 'button', 'data-role': 'more', onclick: () => void this.#load(this.cursor) }, 'Show more');
    this.more.hidden = true;
    this.dialog = new DisconnectDialog(() => this.#load());
    this.root = element(
      'div',
      { 'data-role': 'connections' },
      element(
        'form',
        {
          class: 'filter',
          onsubmit: (event) => {
            event.preventDefault();
            void this.#load();
          },
        },
        element('label', {}, 'Those of a user', this.user),
        element('button', { type: 'submit', class: 'primary', 'data-role': 'search' }, 'Show'),
      ),
      this.note,
      this.table.root,
      element('p', {}, this.more),
      this.dialog.root,
    );
    this.table.body.onclick = (event) => {
      const user = event.target instanceof HTMLElement ? event.target.dataset['user'] : undefined;
      if (user !== undefined) this.dialog.open(user);
    };
    /** @type {any[]} */
    this.connections = [];
    /** @type {string | undefined} */
    this.cursor = undefined;
    this.asked = 0;
  }

  enter() {
    void this.#load();
  }

  /** Asks for a page; the first one without a cursor. @param {string} [cursor] */
  async #load(cursor) {
    // An answer that is overtaken by a later question is not shown.
    const asked = ++this.asked;
    const query = new URLSearchParams();
    if (this.user.value !== '') query.set('user', this.user.value);
    if (cursor) query.set('cursor', cursor);
    try {
      const page = await askJson(`v1/admin/connections?${query}`);
      if (asked !== this.asked) return;
      this.connections = cursor ? [...this.connections, ...page.connections] : page.connections;
      this.cursor = page.cursor;
      this.more.hidden = !page.cursor;
      const missing = page.missing.length > 0 ? ` ${page.missing.join(', ')} did not answer.` : '';
      const alone = page.complete ? '' : ' Other nodes cannot be heard just now.';
      say(this.note, `${count(this.connections.length)} shown, as of ${moment(Date.now())}.${missing}${alone}`);
      this.#show();
    } catch (error) {
      if (asked === this.asked) say(this.note, error instanceof Error ? error.message : String(error));
    }
  }

  #show() {
    const now = Date.now();
    this.table.show(
      this.connections.map((connection) => ({
        key: connection.connection,
        cells: [
          connection.connection,
          connection.user ?? '(no token)',
          connection.device,
          connection.node,
          span(now - connection.since),
          `${/** @type {Record<string, string>} */ (TRANSPORTS)[connection.transport] ?? connection.transport}, ${
            /** @type {Record<string, string>} */ (ENCODINGS)[connection.encoding] ?? connection.encoding
          }`,
          connection.roundTripMs === undefined ? '–' : millis(connection.roundTripMs),
          `${span(now - connection.heardAt)} ago`,
          behind(connection),
          connection.user === undefined
            ? ''
            : element('button', { type: 'button', 'data-user': connection.user, 'aria-label': `Disconnect ${connection.user}` }, 'Disconnect'),
        ],
      })),
    );
  }
}

/** Ends all connections of a user, on every node, after a second look. */
class DisconnectDialog {
  /** @param {() => Promise<void>} done */
  constructor(done) {
    this.done = done;
    this.title = element('h2', {});
    this.code = element(
      'select',
      { name: 'code' },
      element('option', { value: '4410' }, '4410: clients come back with a fresh token'),
      element('option', { value: '4403' }, '4403: clients stay away'),
    );
    this.reason = element('input', { maxlength: 123, autocomplete: 'off', name: 'reason' });
    this.error = element('p', { role: 'alert', class: 'error' });
    this.root = element(
      'dialog',
      { 'aria-label': 'Disconnect a user' },
      element(
        'form',
        { method: 'dialog', onsubmit: (event) => void this.#submit(event) },
        this.title,
        element('p', { class: 'note' }, 'All connections of this user end, on every node.'),
        element('label', {}, 'Close code', this.code),
        element('label', {}, 'What their clients are told', this.reason),
        this.error,
        element(
          'p',
          { class: 'actions' },
          element('button', { type: 'button', class: 'quiet', onclick: () => this.root.close() }, 'Cancel'),
          element('button', { type: 'submit', class: 'danger', 'data-role': 'disconnect' }, 'Disconnect'),
        ),
      ),
    );
    this.user = '';
  }

  /** @param {string} user */
  open(user) {
    this.user = user;
    say(this.title, `Disconnect ${user}`);
    say(this.error, '');
    this.reason.value = '';
    this.root.showModal();
  }

  /** @param {Event} event */
  async #submit(event) {
    event.preventDefault();
    const reason = this.reason.value.trim();
    try {
      await ask(`v1/admin/users/${encodeURIComponent(this.user)}/disconnect`, {
        method: 'POST',
        body: { code: Number(this.code.value), ...(reason ? { reason } : {}) },
      });
      this.root.close();
      await this.done();
    } catch (error) {
      say(this.error, error instanceof Error ? error.message : String(error));
    }
  }
}

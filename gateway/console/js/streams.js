// @ts-check
// One stream: where it stands, who follows it, and its newest events.

import { Table, element, fill, say } from './dom.js';
import { bytes, count, moment, rate } from './format.js';
import { askJson } from './session.js';

export class Streams {
  static title = 'Streams';

  constructor() {
    this.stream = element('input', {
      type: 'search',
      required: true,
      maxlength: 256,
      autocomplete: 'off',
      spellcheck: 'false',
      placeholder: 'topic:match:1',
      name: 'stream',
    });
    this.payload = element('input', { type: 'checkbox', name: 'payload' });
    this.note = element('p', { class: 'note', role: 'status', 'data-role': 'stream-note' });
    this.facts = element('dl', { class: 'figures', 'data-role': 'stream' });
    this.events = new Table(
      'The newest events',
      [{ title: 'Number', number: true }, { title: 'Type' }, { title: 'Origin' }, { title: 'When' }, { title: 'Priority' }, { title: 'Size', number: true }, { title: 'Payload' }],
      'There is no event to show.',
    );
    this.answer = element('div', {}, this.facts, element('h2', {}, 'The newest events'), this.events.root);
    this.answer.hidden = true;
    this.root = element(
      'div',
      {},
      element(
        'form',
        {
          class: 'filter',
          onsubmit: (event) => {
            event.preventDefault();
            void this.#load();
          },
        },
        element('label', {}, 'A stream: topic:<name>, user:<id>, all or control', this.stream),
        element('label', { class: 'check' }, this.payload, ' with payloads (scope admin:payload)'),
        element('button', { type: 'submit', class: 'primary', 'data-role': 'look' }, 'Show'),
      ),
      this.note,
      this.answer,
    );
    this.asked = 0;
  }

  async #load() {
    const asked = ++this.asked;
    try {
      const name = encodeURIComponent(this.stream.value.trim());
      const state = await askJson(`v1/admin/streams/${name}${this.payload.checked ? '?payload=true' : ''}`);
      if (asked !== this.asked) return;
      const missing = state.missing.length > 0 ? ` ${state.missing.join(', ')} did not answer.` : '';
      say(this.note, `As of ${moment(Date.now())}.${missing}${state.complete ? '' : ' Other nodes cannot be heard just now.'}`);
      this.#show(state);
    } catch (error) {
      if (asked !== this.asked) return;
      this.answer.hidden = true;
      say(this.note, error instanceof Error ? error.message : String(error));
    }
  }

  /** @param {any} state */
  #show(state) {
    const followers = state.followers.map((/** @type {any} */ { node, count: many }) => `${node}: ${count(many)}`);
    const all = state.followers.reduce((/** @type {number} */ sum, /** @type {any} */ { count: many }) => sum + many, 0);
    const facts = [
      ['Head', count(state.head), `epoch ${state.epoch}`],
      ['Floor', count(state.floor), `${count(state.head - state.floor)} events are kept`],
      ['Events', `${rate(state.eventsPerSecond)}/s`, 'over the last minute'],
      ['Followers', count(all), followers.join(', ') || 'nobody'],
    ];
    fill(
      this.facts,
      facts.map(([title, value, detail]) =>
        element('div', { class: 'figure' }, element('dt', {}, title), element('dd', { class: 'value' }, value), element('dd', { class: 'detail' }, detail)),
      ),
    );
    this.events.show(
      [...state.newest].reverse().map((event) => ({
        key: `event-${event.seq}`,
        cells: [
          count(event.seq),
          event.type,
          event.origin,
          moment(event.timestamp),
          event.priority,
          bytes(event.bytes),
          event.payload === undefined ? '' : JSON.stringify(event.payload),
        ],
      })),
    );
    this.answer.hidden = false;
  }
}

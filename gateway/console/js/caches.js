// @ts-check
// What the nodes remember so that they need not ask.

import { Table, element } from './dom.js';
import { count, percent } from './format.js';

const MEANING = {
  tokens: 'tokens that were verified',
  answers: "answers of the application's backend",
  drafts: 'drafts that were changed lately',
  events: 'events that were committed lately',
};

export class Caches {
  static title = 'Caches';

  constructor() {
    this.table = new Table(
      'Caches',
      [{ title: 'Cache' }, { title: 'Holds' }, { title: 'Hits', number: true }, { title: 'Misses', number: true }, { title: 'Hit rate', number: true }, { title: 'Entries', number: true }],
      'There is no cache.',
    );
    this.root = element('section', { 'aria-label': 'Caches', 'data-role': 'caches' }, element('h2', {}, 'Caches'), this.table.root);
  }

  /** @param {any} picture */
  show({ caches }) {
    this.table.show(
      caches.map((/** @type {any} */ { name, hits, misses, hitRate, entries }) => ({
        key: name,
        cells: [
          name,
          /** @type {Record<string, string>} */ (MEANING)[name] ?? '',
          count(hits),
          count(misses),
          hits + misses === 0 ? '–' : percent(hitRate),
          entries === undefined || entries === null ? '–' : count(entries),
        ],
      })),
    );
  }
}

// @ts-check
// Where the time of a change goes, and every operation that is measured.

import { Table, element, fill } from './dom.js';
import { count, millis, percent } from './format.js';
import { askJson } from './session.js';

const REFRESH_MS = 5_000;

export class Operations {
  static title = 'Operations';

  constructor() {
    this.path = element('ol', { class: 'path', 'data-role': 'path', 'aria-label': 'The way of a change' });
    this.sentence = element('p', { 'data-role': 'path-sentence' });
    this.bottlenecks = new Table(
      'Bottlenecks',
      [{ title: 'Operation' }, { title: 'Why' }, { title: 'p95', number: true }, { title: 'Share', number: true }, { title: 'What to do' }],
      'There is no bottleneck.',
    );
    this.operations = new Table(
      'Operations of the last minute',
      [
        { title: 'Operation' },
        { title: 'Count', number: true },
        { title: 'Errors', number: true },
        { title: 'p50', number: true },
        { title: 'p95', number: true },
        { title: 'p99', number: true },
        { title: 'Max', number: true },
        { title: 'p95 of 5 min', number: true },
      ],
      'Nothing was measured.',
    );
    this.note = element('p', { class: 'note', role: 'status' });
    this.root = element(
      'div',
      {},
      element('section', { 'aria-label': 'The way of a change' }, element('h2', {}, 'The way of a change'), this.sentence, this.path),
      element('section', { 'aria-label': 'Bottlenecks' }, element('h2', {}, 'Bottlenecks'), this.bottlenecks.root),
      element('section', { 'aria-label': 'Operations' }, element('h2', {}, 'Operations'), this.note, this.operations.root),
    );
    /** @type {AbortController | undefined} */
    this.asking = undefined;
  }

  enter() {
    this.asking = new AbortController();
    void this.#refresh(this.asking.signal);
  }

  leave() {
    this.asking?.abort();
  }

  /** @param {any} picture */
  show({ path, bottlenecks }) {
    const all = `${count(path.changes)} changes in the last minute`;
    fill(this.sentence, path.changes === 0 ? 'No change was made in the last minute.' : `Of ${millis(path.meanMs)} on average, over ${all}:`);
    fill(
      this.path,
      path.changes === 0
        ? []
        : path.parts.map((/** @type {any} */ part) => {
            const bar = element('span', { class: 'bar', 'aria-hidden': 'true' });
            bar.style.setProperty('inline-size', `${(part.share * 100).toFixed(1)}%`);
            return element(
              'li',
              { 'data-operation': part.operation },
              element('span', { class: 'name' }, part.operation),
              element('span', { class: 'track' }, bar),
              element('span', { class: 'number' }, `${millis(part.meanMs)}, ${percent(part.share)}`),
            );
          }),
    );
    this.bottlenecks.show(
      bottlenecks.map((/** @type {any} */ found) => ({
        key: found.operation,
        cells: [
          found.operation,
          found.reason === 'slow' ? 'slow' : 'takes most of the time',
          millis(found.p95Ms),
          found.share === undefined || found.share === null ? '–' : percent(found.share),
          `${found.advice} See ${found.see}.`,
        ],
      })),
    );
  }

  /** @param {AbortSignal} signal */
  async #refresh(signal) {
    while (!signal.aborted) {
      try {
        const { operations } = await askJson('v1/admin/operations', { signal });
        fill(this.note);
        this.operations.show(
          operations
            .filter((/** @type {any} */ row) => row.lastFiveMinutes.count > 0)
            .map((/** @type {any} */ { operation, lastMinute, lastFiveMinutes }) => ({
              key: operation,
              state: lastMinute.errors > 0 ? 'busy' : undefined,
              cells: [
                operation,
                count(lastMinute.count),
                count(lastMinute.errors),
                ...['p50Ms', 'p95Ms', 'p99Ms', 'maxMs'].map((name) => (lastMinute.count === 0 ? '–' : millis(lastMinute[name]))),
                millis(lastFiveMinutes.p95Ms),
              ],
            })),
        );
      } catch (error) {
        if (signal.aborted) return;
        fill(this.note, error instanceof Error ? error.message : String(error));
      }
      await new Promise((resolve) => {
        setTimeout(resolve, REFRESH_MS);
      });
    }
  }
}

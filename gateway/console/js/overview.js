// @ts-check
// The first screen: how the cluster is, what is wrong, and its nodes.

import { Table, element, fill, say } from './dom.js';
import { bytes, count, millis, percent, rate, span } from './format.js';
import { Sparkline } from './sparkline.js';
import { badge, verdict } from './verdict.js';

/** @typedef {{ title: string, series?: string, value: (picture: any) => string, detail: (picture: any) => string }} Figure */

const BADGES = { idle: 'no events', green: 'good', orange: 'slow', red: 'too slow' };

/** @type {Figure[]} */
const FIGURES = [
  {
    title: 'Average latency',
    series: 'meanMs',
    value: ({ latency }) => (latency.count === 0 ? '–' : millis(latency.meanMs)),
    detail: ({ latency }) => `of ${count(latency.count)} events in the last minute`,
  },
  {
    title: 'p95 / p99',
    series: 'p99Ms',
    value: ({ latency }) => (latency.count === 0 ? '–' : `${millis(latency.p95Ms)} / ${millis(latency.p99Ms)}`),
    detail: ({ latency }) => (latency.count === 0 ? 'no events in the last minute' : `at most ${millis(latency.maxMs)}`),
  },
  {
    title: 'Messages in',
    series: 'messagesIn',
    value: ({ sums }) => `${rate(sums.rates.messagesIn)}/s`,
    detail: ({ sums }) => `${bytes(sums.rates.bytesIn)}/s, ${count(sums.totals.messagesIn)} in all`,
  },
  {
    title: 'Messages out',
    series: 'messagesOut',
    value: ({ sums }) => `${rate(sums.rates.messagesOut)}/s`,
    detail: ({ sums }) => `${bytes(sums.rates.bytesOut)}/s, ${count(sums.totals.messagesOut)} in all`,
  },
  {
    title: 'Connections',
    series: 'connections',
    value: ({ sums }) => count(sums.connections.total),
    detail: ({ sums: { connections } }) =>
      `${count(connections.webSockets)} WebSockets, ${count(connections.eventStreams)} event streams, ${count(connections.idle)} idle`,
  },
  {
    title: 'Users',
    series: 'users',
    value: ({ sums }) => count(sums.users),
    detail: ({ sums }) => (sums.nodes > 1 ? 'on several nodes counted on each' : 'with a connection'),
  },
  {
    title: 'Reconnections',
    series: 'reconnectionsPerMinute',
    value: ({ sums }) => `${count(sums.rates.reconnectionsPerMinute)}/min`,
    detail: ({ sums }) => `${count(sums.totals.reconnections)} in all`,
  },
  {
    title: 'Uptime',
    value: ({ asOf, nodes }) => span(asOf - Math.min(...nodes.map((/** @type {any} */ node) => node.startedAt))),
    detail: ({ asOf, nodes }) => `newest node ${span(asOf - Math.max(...nodes.map((/** @type {any} */ node) => node.startedAt)))}`,
  },
];

/** @param {any} node */
function stateOf(node) {
  if (node.stale) return 'silent';
  if (node.stopping) return 'stopping';
  if (!node.store.ok) return 'store away';
  return node.bus.ok ? 'up' : 'bus away';
}

export class Overview {
  static title = 'Overview';

  /** @param {import('./history.js').History} history */
  constructor(history) {
    this.history = history;
    this.verdict = element('p', { class: 'verdict', 'data-role': 'verdict', role: 'status' });
    this.figures = FIGURES.map((figure) => {
      const [value, detail, sparkline] = [element('dd', { class: 'value' }), element('dd', { class: 'detail' }), new Sparkline()];
      const title = element('dt', {}, figure.title);
      return { figure, title, value, detail, sparkline, root: element('div', { class: 'figure' }, title, value, detail, sparkline.root) };
    });
    this.badge = element('span', { class: 'badge', 'data-role': 'badge' });
    this.figures[0]?.title.append(' ', this.badge);
    this.wrong = element('ul', { class: 'wrong', 'data-role': 'wrong' });
    this.nodes = new Table(
      'Nodes',
      [
        { title: 'Node' },
        { title: 'State' },
        { title: 'Heard', number: true },
        { title: 'Connections', number: true },
        { title: 'Users', number: true },
        { title: 'In/s', number: true },
        { title: 'Out/s', number: true },
        { title: 'p95', number: true },
        { title: 'Processors', number: true },
        { title: 'Memory', number: true },
        { title: 'Writes waiting', number: true },
        { title: 'Version' },
        { title: 'Up for', number: true },
      ],
      'No node can be heard.',
    );
    this.root = element(
      'div',
      {},
      this.verdict,
      element('dl', { class: 'figures' }, this.figures.map(({ root }) => root)),
      element('section', { 'aria-label': 'What is wrong just now' }, element('h2', {}, 'Just now'), this.wrong),
      element('section', { 'aria-label': 'Nodes', 'data-role': 'nodes' }, element('h2', {}, 'Nodes'), this.nodes.root),
    );
  }

  /** @param {any} picture */
  show(picture) {
    const { state, text } = verdict(picture);
    this.verdict.dataset['state'] = state;
    say(this.verdict, text);
    for (const { figure, value, detail, sparkline } of this.figures) {
      say(value, figure.value(picture));
      say(detail, figure.detail(picture));
      if (figure.series) sparkline.draw(this.history.of(figure.series));
    }
    const colour = badge(picture.latency);
    this.badge.dataset['state'] = colour;
    say(this.badge, BADGES[colour]);
    this.#showWrong(picture);
    this.nodes.show(picture.nodes.map((/** @type {any} */ node) => this.#row(picture, node)));
  }

  /** @param {any} picture */
  #showWrong({ warnings, bottlenecks, regressions }) {
    const said = [
      ...warnings.map((/** @type {any} */ { code, message }) => ({ code, text: message, way: '' })),
      ...bottlenecks.map((/** @type {any} */ found) => ({
        code: `bottleneck ${found.operation}`,
        text: `${found.operation} ${found.reason === 'slow' ? `is slow: p95 ${millis(found.p95Ms)}` : 'takes most of the time'}${
          found.share === undefined || found.share === null ? '' : `, ${percent(found.share)} of a change`
        }.`,
        way: `${found.advice} See ${found.see}.`,
      })),
      ...regressions.map((/** @type {any} */ found) => ({
        code: `regression ${found.metric}`,
        text: `${found.metric} has become worse (${found.severity}).`,
        way: found.advice ?? '',
      })),
    ];
    const items = said.map(({ code, text, way }) =>
      element('li', { 'data-code': code }, element('strong', {}, text), way ? ` ${way}` : ''),
    );
    if (items.length === 0) items.push(element('li', { class: 'none' }, 'Nothing is wrong.'));
    const same = items.length === this.wrong.children.length && items.every((item, place) => item.isEqualNode(this.wrong.children[place] ?? null));
    if (!same) fill(this.wrong, items);
  }

  /**
   * @param {any} picture
   * @param {any} node
   */
  #row({ asOf }, node) {
    const { connections, rates, latency, queues } = node;
    const state = stateOf(node);
    return {
      key: node.node,
      state: state === 'up' ? 'good' : state === 'silent' || state === 'store away' ? 'bad' : 'busy',
      cells: [
        node.node,
        state,
        // The clocks of nodes differ; what is fresh is not said to the millisecond.
        node.stale ? `${span(asOf - node.asOf)} ago` : 'now',
        count(connections.total),
        count(node.users),
        rate(rates.messagesIn),
        rate(rates.messagesOut),
        latency.count === 0 ? '–' : millis(latency.p95Ms),
        node.processors.toFixed(2),
        bytes(node.memoryBytes),
        `${count(queues.writes)} of ${count(queues.writesMax)}`,
        node.version,
        span(asOf - node.startedAt),
      ],
    };
  }
}

// The latest messages of a device, newest first.

import { part } from './dom.js';
import type { Frame, Message } from './frames.js';

const MESSAGES_MAX = 50;
/** How much of a message is shown, in characters. Its title has all of it. */
const SHOWN_MAX = 120;

export class MessageLog {
  readonly #root: HTMLElement;
  #count = 0;

  constructor(root: HTMLElement) {
    this.#root = root;
  }

  add({ direction, messages }: Frame): void {
    for (const message of messages) this.#add(direction, message);
  }

  #add(direction: Frame['direction'], message: Message): void {
    const { type, seq, code, payload } = message;
    // What tells most comes first.
    const { draftId: _, ...rest } = payload ?? {};
    const said = [code, Object.keys(rest).length > 0 && JSON.stringify(rest)].filter(Boolean).join(' ');
    const parts = {
      time: new Date().toLocaleTimeString([], { hour12: false }),
      way: direction === 'in' ? '↓' : '↑',
      type,
      seq: String(seq ?? ''),
      rest: said.length > SHOWN_MAX ? `${said.slice(0, SHOWN_MAX)}…` : said,
    };
    const row = document.createElement('li');
    row.dataset['direction'] = direction;
    row.title = JSON.stringify(message);
    for (const [name, text] of Object.entries(parts)) {
      const span = document.createElement('span');
      span.className = name;
      span.textContent = text;
      row.append(span);
    }
    const list = part(this.#root, 'log');
    list.prepend(row);
    if (list.children.length > MESSAGES_MAX) list.lastElementChild!.remove();
    this.#count += 1;
    part(this.#root, 'log-count').textContent = String(this.#count);
  }
}

// The match view: a commentator who posts over HTTP, and viewers of different users who follow.

import type { Cursor } from 'draftwire';
import { Draftwire, DraftwireError } from 'draftwire/server';
import { beginning, TOPIC } from './commentary.js';
import { Desk } from './desk.js';
import { address, part, say } from './dom.js';
import type { ViewOptions } from './drafts_view.js';
import { NoTokenYet, Tokens } from './tokens.js';
import { Viewer } from './viewer.js';

/** How long viewers wait to know where to begin. */
const BEGINNING_MS_MAX = 5_000;

const VIEWERS = [
  { name: 'Viewer 1', way: 'WebSocket', transport: 'websocket' },
  { name: 'Viewer 2', way: 'WebSocket', transport: 'websocket' },
  { name: 'Viewer 3', way: 'WebSocket, batches of 100 ms', transport: 'websocket', batchMs: 100 },
  { name: 'Viewer 4', way: 'Server-sent events', transport: 'event-stream' },
] as const;

export class MatchView {
  readonly #options: ViewOptions;
  /** Users of their own: behind Nginx they may be on different nodes. */
  readonly #tokens: readonly Tokens[];
  readonly #viewers: Viewer[] = [];
  #beginning = false;
  #shown = false;

  constructor(options: ViewOptions) {
    const { root, user, panel } = options;
    this.#options = options;
    // What the page's person may do as a backend; a viewer's token has no part in that.
    new Desk(part<HTMLFormElement>(root, 'desk'), new Tokens(user, `publish:${TOPIC} service`, panel));
    this.#tokens = VIEWERS.map((_, i) => new Tokens(`${user}-viewer-${i + 1}`, `subscribe:${TOPIC}`, panel));
    panel.onToken(() => {
      if (this.#shown) this.show();
    });
  }

  show(): void {
    this.#shown = true;
    if (this.#viewers.length === 0) void this.#begin();
    for (const viewer of this.#viewers) viewer.show();
  }

  hide(): void {
    this.#shown = false;
    for (const viewer of this.#viewers) viewer.hide();
  }

  async #begin(): Promise<void> {
    if (this.#beginning) return;
    this.#beginning = true;
    const from = await this.#from();
    this.#beginning = false;
    if (from === null) return;
    const { root, tab } = this.#options;
    VIEWERS.forEach((viewer, index) => {
      const options = { ...viewer, index, device: `viewer-${index + 1}-${tab}`, tokens: this.#tokens[index]!, from };
      this.#viewers.push(new Viewer({ ...options, onPresence: () => this.#renderPresence() }));
    });
    part(root, 'viewers').append(...this.#viewers.map((viewer) => viewer.root));
    if (this.#shown) this.show();
  }

  /** Where the viewers begin; with what comes next where that cannot be had. Null without a token to ask with. */
  async #from(): Promise<Cursor | 'now' | null> {
    const api = new Draftwire(address(), { token: () => this.#tokens[0]!.get(), deadlineMs: BEGINNING_MS_MAX });
    try {
      return await beginning(api);
    } catch (error) {
      if (!(error instanceof DraftwireError)) throw error;
      return error instanceof NoTokenYet ? null : 'now';
    } finally {
      api.close();
    }
  }

  /** As the server tells any one of the viewers. */
  #renderPresence(): void {
    const presence = this.#viewers.map((viewer) => viewer.presence).find(Boolean);
    const { root } = this.#options;
    say(part(root, 'users'), String(presence?.users ?? '–'));
    say(part(root, 'devices'), String(presence?.devices ?? '–'));
  }
}

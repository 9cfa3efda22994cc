// Where the demo's devices get their tokens: from the server where it hands out demo tokens, else from
// the person, who pastes one.

import { part } from './dom.js';

/** A token that ends sooner than this is not handed out again. */
const LEFT_MS_MIN = 60_000;

/** Asks the person for a token. One answer serves all who ask. */
export class TokenPanel {
  #root;
  #held = null; // { token, expiresAt }
  #asking = null;

  /** @param {HTMLElement} root the form for pasting */
  constructor(root) {
    this.#root = root;
  }

  /** @param {?string} spent a token that is of no use any more */
  ask(spent) {
    if (spent && this.#held?.token === spent) {
      this.#held = null;
      part(this.#root, 'token-reason').textContent = 'The last token was not accepted, or ends soon.';
    }
    if (this.#held && lasts(this.#held)) return Promise.resolve(this.#held);
    this.#asking ??= this.#pasted().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #pasted() {
    const form = part(this.#root, 'token-form');
    const input = form.querySelector('textarea');
    this.#root.hidden = false;
    input.focus();
    await new Promise((resolve) => {
      form.addEventListener('submit', (event) => {
        event.preventDefault();
        resolve();
      }, { once: true });
    });
    this.#root.hidden = true;
    const token = input.value.trim().replace(/^Bearer\s+/i, '');
    input.value = '';
    this.#held = { token, expiresAt: expiry(token) };
    return this.#held;
  }
}

/** The tokens of one user, with the rights that a part of the page needs. */
export class Tokens {
  #query;
  #panel;
  #held = null; // { token, expiresAt }
  #asking = null;

  /** @param {{ user: string, scope?: string, panel: TokenPanel }} options `scope` as in a token */
  constructor({ user, scope = '', panel }) {
    this.#query = new URLSearchParams({ user, scope });
    this.#panel = panel;
  }

  /**
   * A valid token. Waits for the person where the server has none to give.
   * @param {?string} [spent] one that was refused or is about to end, and shall not be handed out again
   */
  get(spent = null) {
    if (spent && this.#held?.token === spent) this.#held = null;
    if (this.#held && lasts(this.#held)) return Promise.resolve(this.#held.token);
    // All devices ask at once; one answer serves them.
    this.#asking ??= this.#fetch(spent).finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #fetch(spent) {
    const response = await fetch(`demo/token?${this.#query}`, { cache: 'no-store' });
    if (response.status === 404) {
      this.#held = await this.#panel.ask(spent);
    } else if (response.ok) {
      this.#held = await response.json();
    } else {
      throw new Error(`the server answered ${response.status}`);
    }
    return this.#held.token;
  }
}

function lasts({ expiresAt }) {
  return expiresAt - Date.now() > LEFT_MS_MIN;
}

/** The `exp` of a JWT in milliseconds; without one that can be read, the server shall judge. */
function expiry(token) {
  try {
    const payload = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
    return JSON.parse(atob(payload)).exp * 1000 || Infinity;
  } catch {
    return Infinity;
  }
}

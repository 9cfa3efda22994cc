// Where the page's clients get their tokens: from the server where it hands out demo tokens, else from the person, who
// pastes one.

import { DraftwireError } from 'draftwire';
import { address, part } from './dom.js';

/** A token that ends sooner than this is not handed out again. */
const LEFT_MS_MIN = 60_000;

interface Token {
  readonly token: string;
  /** In Unix milliseconds. */
  readonly expiresAt: number;
}

/** Only the person can give a token, who was asked and has not answered yet. */
export class NoTokenYet extends DraftwireError {
  constructor() {
    super('unauthorized', 'there is no token yet');
  }
}

/** Asks the person for a token. One answer serves all who ask. */
export class TokenPanel {
  readonly #root: HTMLElement;
  readonly #listeners: (() => void)[] = [];
  #held: Token | null = null;

  /** @param root the form for pasting */
  constructor(root: HTMLElement) {
    this.#root = root;
    const form = part(root, 'token-form');
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#take(form.querySelector('textarea')!);
    });
  }

  /**
   * The token that was pasted, or null: then the form is shown, and `onToken` tells of the answer.
   * @param stale a token that is of no use any more
   */
  get(stale?: string): Token | null {
    if (stale !== undefined && this.#held?.token === stale) {
      this.#held = null;
      part(this.#root, 'token-reason').textContent = 'The last token was not accepted, or ends soon.';
    }
    if (this.#held && lasts(this.#held)) return this.#held;
    if (this.#root.hidden) {
      this.#root.hidden = false;
      this.#root.querySelector('textarea')!.focus();
    }
    return null;
  }

  /** Calls the listener whenever the person has pasted a token. */
  onToken(listener: () => void): void {
    this.#listeners.push(listener);
  }

  #take(input: HTMLTextAreaElement): void {
    const token = input.value.trim().replace(/^Bearer\s+/i, '');
    input.value = '';
    this.#root.hidden = true;
    this.#held = { token, expiresAt: expiryOf(token) };
    for (const listener of this.#listeners) listener();
  }
}

/** The tokens of one user, with the rights that a part of the page needs. */
export class Tokens {
  readonly #query: URLSearchParams;
  readonly #panel: TokenPanel;
  #held: Token | null = null;
  #asking: Promise<Token> | null = null;

  /** @param scope as in a token */
  constructor(user: string, scope: string, panel: TokenPanel) {
    this.#query = new URLSearchParams({ user, scope });
    this.#panel = panel;
  }

  /**
   * A valid token.
   * @param stale one that was refused or is about to end, and is not handed out again
   * @throws NoTokenYet after which `TokenPanel.onToken` tells when to ask again
   */
  async get(stale?: string): Promise<string> {
    if (stale !== undefined && this.#held?.token === stale) this.#held = null;
    if (!this.#held || !lasts(this.#held)) {
      // All devices ask at once; one answer serves them.
      this.#asking ??= this.#ask(stale).finally(() => {
        this.#asking = null;
      });
      this.#held = await this.#asking;
    }
    return this.#held.token;
  }

  async #ask(stale?: string): Promise<Token> {
    const response = await fetch(address(`demo/token?${this.#query}`), { cache: 'no-store' });
    if (response.ok) return response.json();
    if (response.status !== 404) throw new Error(`the server answered ${response.status}`);
    const pasted = this.#panel.get(stale);
    if (!pasted) throw new NoTokenYet();
    return pasted;
  }
}

function lasts({ expiresAt }: Token): boolean {
  return expiresAt - Date.now() > LEFT_MS_MIN;
}

/** The `exp` of a JWT in milliseconds; without one that can be read, the server shall judge. */
function expiryOf(token: string): number {
  try {
    const payload = token.split('.')[1]!.replaceAll('-', '+').replaceAll('_', '/');
    return JSON.parse(atob(payload)).exp * 1000 || Infinity;
  } catch {
    return Infinity;
  }
}

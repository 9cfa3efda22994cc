// Where the demo's devices get their token: from the server where it hands out demo tokens, else from
// the person, who pastes one.

/** A token that ends sooner than this is not handed out again. */
const LEFT_MS_MIN = 60_000;

export class Tokens {
  #user;
  #panel;
  #held = null; // { token, expiresAt }
  #asking = null;

  /** @param {string} user @param {HTMLElement} panel the form for pasting */
  constructor(user, panel) {
    this.#user = user;
    this.#panel = panel;
  }

  /**
   * A valid token. Waits for the person where the server has none to give.
   * @param {?string} spent one that was refused or is about to end, and shall not be handed out again
   */
  get(spent) {
    if (spent && this.#held?.token === spent) {
      this.#held = null;
      part(this.#panel, 'token-reason').textContent = 'The last token was not accepted, or ends soon.';
    }
    if (this.#held && this.#held.expiresAt - Date.now() > LEFT_MS_MIN) return Promise.resolve(this.#held.token);
    // All devices ask at once; one answer serves them.
    this.#asking ??= this.#fetch().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #fetch() {
    const response = await fetch(`demo/token?user=${encodeURIComponent(this.#user)}`, { cache: 'no-store' });
    if (response.status === 404) {
      this.#held = await this.#pasted();
    } else if (response.ok) {
      this.#held = await response.json();
    } else {
      throw new Error(`the server answered ${response.status}`);
    }
    return this.#held.token;
  }

  #pasted() {
    const form = part(this.#panel, 'token-form');
    const input = form.querySelector('textarea');
    this.#panel.hidden = false;
    input.focus();
    return new Promise((resolve) => {
      form.addEventListener('submit', (event) => {
        event.preventDefault();
        this.#panel.hidden = true;
        const token = input.value.trim().replace(/^Bearer\s+/i, '');
        input.value = '';
        resolve({ token, expiresAt: expiry(token) });
      }, { once: true });
    });
  }
}

function part(root, role) {
  return root.querySelector(`[data-role="${role}"]`);
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

// @ts-check
// Who is signed in, and requests in that name. The token stays in the tab.

const KEY = 'draftwire.console.token';

/** The user of tokens that the server hands out for trying it. */
const LOCAL = 'demo/token?user=console&scope=admin%20admin:payload';

/** An answer that is not what was asked for, as problem details have it (RFC 9457). */
export class Refused extends Error {
  /**
   * @param {number} status
   * @param {string} code
   * @param {string} message
   */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** An address on this server, also where the page is not at its root. @param {string} path */
export const address = (path) => new URL(path, document.baseURI);

export const token = {
  /** @returns {string | null} */
  get: () => sessionStorage.getItem(KEY),
  /** @param {string} text */
  set: (text) => sessionStorage.setItem(KEY, text),
  clear: () => sessionStorage.removeItem(KEY),
};

/**
 * Asks the server. A refusal is thrown.
 *
 * @param {string} path
 * @param {{ method?: string, body?: unknown, headers?: Record<string, string>, signal?: AbortSignal | undefined }} [request]
 * @returns {Promise<Response>}
 */
export async function ask(path, { method = 'GET', body, headers = {}, signal } = {}) {
  /** @type {RequestInit} */
  const init = { method, headers: { ...headers, authorization: `Bearer ${token.get() ?? ''}` }, cache: 'no-store' };
  if (signal) init.signal = signal;
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...init.headers, 'content-type': 'application/json' };
  }
  let answer;
  try {
    answer = await fetch(address(path), init);
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new Refused(0, 'unreachable', 'The server cannot be reached.');
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, String(problem.code ?? answer.status), String(problem.detail ?? answer.statusText));
}

/**
 * The same, and reads the answer.
 *
 * @param {string} path
 * @param {Parameters<typeof ask>[1]} [request]
 * @returns {Promise<any>}
 */
export async function askJson(path, request) {
  const answer = await ask(path, request);
  return answer.status === 204 ? null : answer.json();
}

/** A token that the server hands out to whoever asks; `null` where it does not. */
export async function localToken() {
  try {
    const answer = await fetch(address(LOCAL), { cache: 'no-store' });
    return answer.ok ? String((await answer.json()).token) : null;
  } catch {
    return null;
  }
}

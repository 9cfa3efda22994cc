// Draftwire over HTTP, as a backend uses it.

import { wellFormed } from './connection.js';
import { address } from './dom.js';

/** True because each request has an `Idempotency-Key`. */
const AGAIN = 'Sent again unchanged, nothing is done twice.';

/** A request that was not carried out, in words for the person who made it. */
export class ApiError extends Error {
  /** @param {?number} status null when there was no answer */
  constructor(status, words) {
    super(words);
    this.name = 'ApiError';
    this.status = status;
  }
}

export class Api {
  #tokens;

  /** @param {import('./token.js').Tokens} tokens with the rights for what is asked */
  constructor(tokens) {
    this.#tokens = tokens;
  }

  /**
   * @param {string} key what makes repeating safe: under the same one nothing is done twice
   * @returns {Promise<{seq: number, first: number, node: ?string}>} the numbers of what is now committed,
   *   and who has answered
   * @throws {ApiError}
   */
  post(path, body, key) {
    return this.#request(path, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Idempotency-Key': key },
      body: JSON.stringify(wellFormed(body)),
    });
  }

  /** @throws {ApiError} */
  get(path) {
    return this.#request(path, { headers: {} });
  }

  async #request(path, init) {
    let response;
    let text;
    try {
      init.headers.Authorization = `Bearer ${await this.#tokens.get()}`;
      response = await fetch(address(path), { cache: 'no-store', ...init });
      text = await response.text();
    } catch (error) {
      throw new ApiError(null, `No answer from the server (${error.message}). ${AGAIN}`);
    }
    const { ok, status, headers } = response;
    if (!ok) throw new ApiError(status, inWords(status, detailOf(text)));
    return { ...JSON.parse(text), node: headers.get('Draftwire-Node') };
  }
}

/** What a problem (RFC 9457) says. Proxies on the way answer with pages of their own. */
function detailOf(text) {
  try {
    return JSON.parse(text).detail ?? 'no reason given';
  } catch {
    return 'no reason given';
  }
}

function inWords(status, detail) {
  switch (status) {
    case 401:
      return `The server does not take the token (401): ${detail}.`;
    case 403:
      return `The token does not allow that (403): ${detail}.`;
    case 413:
      return `That is too much (413): ${detail}.`;
    case 429:
      return `Too much at once (429): ${detail}. ${AGAIN}`;
    case 502:
    case 504:
      return `No node has answered (${status}). ${AGAIN}`;
    case 503:
      return `The server cannot commit at the moment (503): ${detail}. ${AGAIN}`;
    default:
      return `The server refuses (${status}): ${detail}.`;
  }
}

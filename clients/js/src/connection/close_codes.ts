import { DraftwireError, type ErrorCode } from '../errors.js';

/** What to do when the server has closed the connection. */
export interface Verdict {
  /**
   * - `retry`: come back after a pause.
   * - `token`: the token was refused; come back with another one.
   * - `smaller`: a message was too large; drop it, then come back.
   * - `stop`: coming back unchanged is pointless.
   */
  readonly then: 'retry' | 'token' | 'smaller' | 'stop';
  readonly error: DraftwireError;
}

/** The close codes of docs/protocol.md. Every other code, or none, is a connection that was lost. */
const CODES: Readonly<Record<number, readonly [Verdict['then'], ErrorCode]>> = {
  4400: ['stop', 'protocol'],
  4401: ['token', 'unauthorized'],
  4403: ['stop', 'forbidden'],
  4409: ['stop', 'replaced'],
  1009: ['smaller', 'too_large'],
  4429: ['retry', 'rate_limited'],
  1012: ['retry', 'unavailable'],
  1013: ['retry', 'unavailable'],
};

/** As WebSockets say it. */
const LOST = 1006;

/** @param reason the server's; there is none where the connection was lost */
export function judgeClose(code = LOST, reason?: string): Verdict {
  const [then, error] = CODES[code] ?? ['retry', 'unreachable'];
  return { then, error: new DraftwireError(error, reason || `the connection was closed (${code})`) };
}

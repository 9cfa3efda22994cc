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

/** The close codes of docs/protocol.md. */
const CODES: Readonly<Record<number, readonly [Verdict['then'], ErrorCode, string]>> = {
  4400: ['stop', 'protocol', 'misuse of the protocol'],
  4401: ['token', 'unauthorized', 'the token was refused'],
  4403: ['stop', 'forbidden', 'the rights were taken away'],
  4409: ['stop', 'replaced', 'this device has connected elsewhere'],
  1009: ['smaller', 'too_large', 'a message was too large'],
  4429: ['retry', 'rate_limited', 'too many connections'],
  1012: ['retry', 'unavailable', 'the node stops'],
  1013: ['retry', 'unavailable', 'the node is full'],
};

/** Every other code, or none, is a connection that was lost. */
export function judgeClose(code: number, reason: string): Verdict {
  const [then, error, message] = CODES[code] ?? ['retry', 'unreachable', 'the connection was lost'];
  return { then, error: new DraftwireError(error, reason || `${message} (${code})`) };
}

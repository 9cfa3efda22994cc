import { DraftwireError } from '../errors.js';

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

/** The close codes of docs/protocol.md. Every other one, or none, is a connection that was lost. */
export function judgeClose(code: number, reason: string): Verdict {
  const why = (text: string) => reason || `${text} (${code})`;
  switch (code) {
    case 4400:
      return { then: 'stop', error: new DraftwireError('protocol', why('the server calls this client a misuse of the protocol')) };
    case 4401:
      return { then: 'token', error: new DraftwireError('unauthorized', why('the token was not accepted')) };
    case 4403:
      return { then: 'stop', error: new DraftwireError('forbidden', why('the rights were taken away')) };
    case 4409:
      return { then: 'stop', error: new DraftwireError('replaced', why('this device has connected elsewhere')) };
    case 1009:
      return { then: 'smaller', error: new DraftwireError('too_large', why('a message was too large')) };
    case 4429:
      return { then: 'retry', error: new DraftwireError('rate_limited', why('too many connections of this user')) };
    case 1012:
    case 1013:
      return { then: 'retry', error: new DraftwireError('unavailable', why('the node does not serve')) };
    default:
      return { then: 'retry', error: new DraftwireError('unreachable', why('the connection was lost')) };
  }
}

import { DraftwireError, type ErrorCode } from '../errors.js';

/** What the close codes of docs/protocol.md say. Every other code, or none, is a connection that was lost. */
const CODES: Readonly<Record<number, ErrorCode>> = {
  4400: 'protocol',
  4401: 'unauthorized',
  4403: 'forbidden',
  4409: 'replaced',
  4410: 'disconnected',
  4429: 'rate_limited',
  1009: 'too_large',
  1012: 'unavailable',
  1013: 'unavailable',
};

/** After these, coming back unchanged is pointless. */
export const FINAL: readonly ErrorCode[] = ['protocol', 'forbidden', 'replaced'];

/** @param reason the server's; there is none where the connection was lost */
export function errorOfClose(code?: number, reason?: string): DraftwireError {
  return new DraftwireError(CODES[code!] ?? 'unreachable', reason || `the connection is lost (${code})`);
}

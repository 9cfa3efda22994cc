import type { TransportName } from '../api.js';
import type { ClientMessage } from '../protocol.js';

/** Who connects, and from where it goes on. */
export interface OpenRequest {
  readonly device: string;
  readonly token: string | null;
  /** Positions on `user` and `all`, where they are known. */
  readonly cursor?: string;
  readonly all?: string;
}

/** Whom a wire tells. What is told after its `close()` is ignored. */
export interface WireEvents {
  /** One message, or an array of them, as JSON. */
  frame(text: string): void;
  /** A sign of life that is no message. */
  alive(): void;
  /** The wire is gone. `code` as of a WebSocket, where there is one. */
  closed(code?: number, reason?: string): void;
}

/** One connection, or the attempt at one. */
export interface Wire {
  /** The longest silence while everything is well. */
  readonly quietMs: number;
  /** Sends a command, or drops it where there is no connection (any more). */
  send(message: ClientMessage, text: string): void;
  close(): void;
}

/** A way to reach the server. All of them carry the same messages. */
export interface Transport {
  readonly name: TransportName;
  /** Rejects where the address or the token cannot be used at all. */
  open(request: OpenRequest, events: WireEvents): Promise<Wire>;
}

/**
 * Where the server is, by http(s), with a slash at the end.
 * @param url its address by http(s) or ws(s), with or without the path of its WebSocket
 * @throws TypeError where that is no address
 */
export function baseOf(url: string | URL): URL {
  const base = new URL(url, globalThis.location?.href);
  if (!/^(http|ws)s?:$/.test(base.protocol)) throw new TypeError(`no address of a server: ${base.href}`);
  base.protocol = base.protocol.replace('ws', 'http');
  base.search = base.hash = '';
  base.pathname = base.pathname.replace(/(\/ws\/realtime)?\/*$/, '/');
  return base;
}

import type { TransportName } from '../api.js';
import type { ClientMessage, ServerMessage } from '../protocol.js';

/** Who connects, and from where it goes on. */
export interface OpenRequest {
  readonly device: string;
  readonly token: string | null;
  /** Positions on `user` and `all`, where they are known. */
  readonly cursor?: string;
  readonly all?: string;
}

/** Whom a wire tells. Nothing is told after its `close()`. */
export interface WireEvents {
  /** The messages of one frame, in order. */
  messages(messages: readonly ServerMessage[]): void;
  /** A sign of life that is no message. */
  alive(): void;
  /** The wire is gone; `code` as of a WebSocket. */
  closed(code: number, reason: string): void;
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

/** Where the server is. */
export interface Endpoint {
  readonly socketUrl: URL;
  /** The HTTP API's, with a slash at its end. */
  readonly httpUrl: URL;
}

/**
 * @param url the server's address by http(s) or ws(s), with or without the path of its WebSocket
 * @throws TypeError where that is no address
 */
export function endpointOf(url: string | URL): Endpoint {
  const base = new URL(url, globalThis.location?.href);
  if (!/^(http|ws)s?:$/.test(base.protocol)) throw new TypeError(`no address of a server: ${base.href}`);
  base.search = '';
  base.hash = '';
  base.pathname = base.pathname.replace(/(\/ws\/realtime)?\/*$/, '/');
  const [httpUrl, socketUrl] = [new URL(base), new URL('ws/realtime', base)];
  httpUrl.protocol = base.protocol.replace('ws', 'http');
  socketUrl.protocol = base.protocol.replace('http', 'ws');
  return { httpUrl, socketUrl };
}

import type { Environment } from '../environment.js';
import { parse } from '../json.js';
import type { ServerMessage } from '../protocol.js';
import type { Endpoint, OpenRequest, Transport, Wire, WireEvents } from './transport.js';

const SUBPROTOCOL = 'draftwire.v1.json';
const OPEN = 1;
/** The close code of a connection that ended without one. */
const LOST = 1006;

/** One socket for everything. Its pings are hidden from pages, so silence says nothing for long. */
export function webSocketTransport({ socketUrl }: Endpoint, { WebSocket }: Pick<Environment, 'WebSocket'>): Transport {
  return {
    name: 'websocket',
    async open({ token, ...query }: OpenRequest, events: WireEvents): Promise<Wire> {
      const url = new URL(socketUrl);
      // batch=1: a frame may hold several messages.
      for (const [name, value] of Object.entries({ batch: '1', ...query })) url.searchParams.set(name, value);
      // A browser can set no header here, and a token in the URL would end up in logs.
      const socket = new WebSocket(url.href, [SUBPROTOCOL, ...(token === null ? [] : [`bearer.${token}`])]);
      const silence = () => {
        socket.onmessage = socket.onclose = null;
        // `ws` throws what nobody hears.
        socket.onerror = () => {};
      };
      socket.onerror = () => {};
      socket.onmessage = ({ data }) => {
        let messages;
        try {
          messages = [parse(String(data))].flat() as ServerMessage[];
        } catch {
          silence();
          socket.close();
          events.closed(LOST, 'the server sent something that is not JSON');
          return;
        }
        events.messages(messages);
      };
      socket.onclose = ({ code, reason }) => {
        silence();
        events.closed(code ?? LOST, reason ?? '');
      };
      return {
        quietMs: 10_000,
        send: (_message, text) => {
          if (socket.readyState === OPEN) socket.send(text);
        },
        close: () => {
          silence();
          socket.close(1000);
        },
      };
    },
  };
}

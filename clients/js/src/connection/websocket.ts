import type { Environment } from '../environment.js';
import { QUIET_MS } from '../limits.js';
import type { Transport } from './transport.js';

/**
 * One socket for everything. Its pings are hidden from pages, so silence says nothing for long.
 * @param base where the server is, by http(s)
 */
export function webSocketTransport(base: URL, { WebSocket }: Pick<Environment, 'WebSocket'>): Transport {
  const OPEN = 1;
  return {
    name: 'websocket',
    async open({ token, ...query }, events) {
      const url = new URL('ws/realtime', base);
      url.protocol = url.protocol.replace('http', 'ws');
      // batch=1: a frame may hold several messages.
      for (const [name, value] of Object.entries({ batch: '1', ...query })) url.searchParams.set(name, value);
      // A browser can set no header here, and a token in the URL would end up in logs.
      const socket = new WebSocket(url.href, ['draftwire.v1.json', ...(token === null ? [] : [`bearer.${token}`])]);
      // `ws` throws what nobody hears.
      socket.onerror = () => {};
      socket.onmessage = ({ data }) => events.frame(data);
      socket.onclose = ({ code, reason }) => events.closed(code, reason);
      return {
        quietMs: QUIET_MS,
        send: (_message, text) => {
          if (socket.readyState === OPEN) socket.send(text);
        },
        close: () => socket.close(1000),
      };
    },
  };
}

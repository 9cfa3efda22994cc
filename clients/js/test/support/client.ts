// Clients of a real node in this process.

import { WebSocket } from 'ws';
import { Draftwire, type DraftwireOptions, type WebSocketLike } from '../../src/index.js';
import type { Node } from './node.js';

/** Waits until something that can be looked at is true. Ends with the test's own time. */
export async function eventually<T>(look: () => T | false | undefined | null | Promise<T | false | undefined | null>): Promise<T> {
  for (;;) {
    const value = await look();
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Every state that something has. */
export function states<State>(of: { readonly state: State; readonly subscribe: (listener: () => void) => unknown }): State[] {
  const seen = [of.state];
  of.subscribe(() => {
    if (of.state !== seen.at(-1)) seen.push(of.state);
  });
  return seen;
}

/** A network that can be cut, as a WebSocket class. */
export class Network {
  readonly #sockets = new Set<WebSocket>();
  #up = true;

  readonly WebSocket = ((network: Network) =>
    class extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(network.#up ? url : 'ws://127.0.0.1:1', protocols);
        network.#sockets.add(this);
        this.on('close', () => network.#sockets.delete(this));
        this.on('error', () => {});
      }
    })(this) as unknown as new (url: string, protocols: string[]) => WebSocketLike;

  /** How many connections there are. */
  get size(): number {
    return this.#sockets.size;
  }

  /** Everything that is on its way is lost, and there are no connections until `mend`. */
  cut(): void {
    this.#up = false;
    for (const socket of this.#sockets) socket.terminate();
  }

  mend(): void {
    this.#up = true;
  }
}

export function client(node: Node, user: string, options: Partial<DraftwireOptions> & { network?: Network } = {}): Draftwire {
  const { network = new Network(), environment, ...rest } = options;
  return new Draftwire(node.url, {
    getToken: () => node.token(user),
    transport: 'websocket',
    environment: { WebSocket: network.WebSocket, ...environment },
    onError: (error) => {
      throw error;
    },
    ...rest,
  });
}

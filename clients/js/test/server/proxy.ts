// A proxy in front of a node that loses answers: the request arrives, and nobody hears of it.

import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

export class Proxy {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #toLose = 0;
  /** How many answers it has lost. */
  lost = 0;

  private constructor(port: number) {
    this.#server = createServer((client) => {
      const node = connect(port, '127.0.0.1');
      for (const [from, to] of [[client, node], [node, client]] as const) {
        this.#sockets.add(from);
        from.on('data', (part) => {
          if (from === node && this.#toLose > 0) {
            this.#toLose -= 1;
            this.lost += 1;
            client.destroy();
            node.destroy();
          } else {
            to.write(part);
          }
        });
        from.on('close', () => {
          this.#sockets.delete(from);
          to.destroy();
        });
        from.on('error', () => to.destroy());
      }
    });
  }

  /** Starts one in front of a port of this machine. */
  static async start(port: number): Promise<Proxy> {
    const proxy = new Proxy(port);
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    return proxy;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('it does not listen');
    return `http://127.0.0.1:${address.port}`;
  }

  /** Loses that many of the next answers, and the connections that they come on. */
  lose(answers: number): void {
    this.#toLose += answers;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

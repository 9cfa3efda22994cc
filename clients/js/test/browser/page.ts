// What runs in the page: clients as an application makes them, on `globalThis` for the test.

import { drafts, type DraftCollection } from '../../src/drafts/index.js';
import { Draftwire, type DraftwireOptions } from '../../src/index.js';
import { indexedDb } from '../../src/indexeddb/index.js';

export interface Order {
  title: string;
  n?: number;
}

class App {
  readonly dw: Draftwire;
  readonly orders: DraftCollection<Order>;
  /** Numbers of the events of the topic `room`. */
  readonly seqs: number[] = [];

  constructor(url: string, token: string, connect: boolean, transport: NonNullable<DraftwireOptions['transport']>) {
    this.dw = new Draftwire(url, { getToken: () => token, store: indexedDb('app'), connect, transport });
    this.orders = drafts<Order>(this.dw, 'order');
    this.dw.topic('room').on('*', ({ seq }) => this.seqs.push(seq));
  }
}

/** How many connections this page has. */
let sockets = 0;
const { WebSocket } = globalThis;
globalThis.WebSocket = class extends WebSocket {
  constructor(...connection: ConstructorParameters<typeof WebSocket>) {
    super(...connection);
    sockets += 1;
    this.addEventListener('close', () => {
      sockets -= 1;
    });
  }
};

const inPage = {
  app: undefined as App | undefined,
  sockets: () => sockets,
  start: (url: string, token: string, connect = true, transport: DraftwireOptions['transport'] = 'auto') => {
    inPage.app = new App(url, token, connect, transport);
  },
};
export type InPage = typeof inPage;
Object.assign(globalThis, { inPage });

// A server for the application's own tests: in the same process, without a network, and with every trouble that a real
// one can have.

import type { Environment } from '../environment.js';
import type { ErrorCode } from '../errors.js';
import { toJson } from '../json.js';
import type { ClientMessage } from '../protocol.js';
import { FakeConnection, type ConnectionHost } from './fake_connection.js';
import { History } from './history.js';

/**
 * A fake server. Clients reach it with `environment: server.environment`, at any address; the token that `getToken`
 * brings is the name of the user. Everybody may do everything. It merges drafts, remembers commands and resumes as
 * the real one does.
 */
export class FakeServer {
  readonly #connections = new Set<FakeConnection>();
  readonly #history: History;
  #isUp = true;
  /** What is on its way while everything is held; null while it is not. */
  #held: (() => void)[] | null = null;
  /** What becomes of the next commands. */
  readonly #next: ('lose' | ErrorCode)[] = [];

  constructor() {
    this.#history = new History((stream, event) => {
      for (const connection of this.#connections) connection.event(stream, event);
    });
  }

  /** For `DraftwireOptions.environment`. */
  readonly environment: Partial<Environment> = {
    WebSocket: ((host: ConnectionHost) =>
      class extends FakeConnection {
        constructor(url: string, protocols: string[]) {
          super(host, url, protocols);
        }
      })(this.#host()),
    onWake: () => () => {},
    isVisible: () => true,
  };

  /** How many connections there are. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  /** The drafts of a user as the server has them. */
  drafts<T = unknown>(user: string): { id: string; kind: string; version: number; content: T }[] {
    return this.#history.drafts(user).map(({ draftId: id, kind, version, content }) => ({ id, kind, version, content: content as T }));
  }

  // --- what backends and other devices do --------------------------------------------------------------------------

  /** Another device of the user changes a draft. Returns what it is told. */
  change(user: string, type: 'DRAFT_CREATE' | 'DRAFT_UPDATE' | 'DRAFT_DELETE', payload: object): void {
    const result = this.#history.carryOut(user, 'another-device', { id: `fake-${(this.#counter += 1)}`, type, payload: toJson(payload) });
    if ('error' in result) throw new Error(result.error.message);
  }
  #counter = 0;

  publish(topic: string, type: string, data: unknown = null): void {
    this.#history.append(`topic:${topic}`, type, toJson(data), 'http');
  }

  broadcast(type: string, data: unknown = null): void {
    this.#history.append('all', type, toJson(data), 'http');
  }

  sendToUser(user: string, type: string, data: unknown = null): void {
    this.#history.append(`user:${user}`, type, toJson(data), 'http');
  }

  // --- trouble -----------------------------------------------------------------------------------------------------

  /** Ends all connections, as a network that is gone does; with a code, as the server does. */
  drop(code = 1006): void {
    for (const connection of [...this.#connections]) connection.end(code);
  }

  /** Cannot be reached from now on. */
  goDown(): void {
    this.#isUp = false;
    this.drop();
  }

  /** Can be reached again. Clients come back by themselves, after a pause. */
  comeUp(): void {
    this.#isUp = true;
  }

  /** Sends to each client its last event once more, which it has to ignore. */
  repeat(): void {
    for (const connection of this.#connections) connection.repeat();
  }

  /** Lets nothing through, in both directions, until `release`. */
  hold(): void {
    this.#held ??= [];
  }

  /** Lets everything through that was held, in its order. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = null;
    for (const deliver of held) queueMicrotask(deliver);
  }

  /** Loses the answer to the next command, and the connection with it: the client has to send it again. */
  loseNextAnswer(): void {
    this.#next.push('lose');
  }

  /** Refuses the next command. */
  refuseNext(code: ErrorCode): void {
    this.#next.push(code);
  }

  /**
   * Is restored from a backup that has only the first `seq` events of the user: another history begins, and what
   * was acknowledged after them is gone.
   */
  restore(user: string, seq: number): void {
    this.#history.restore(`user:${user}`, seq);
    for (const connection of this.#connections) connection.reset();
  }

  #host(): ConnectionHost {
    // `this` is not complete yet.
    const server = this;
    return {
      get history() {
        return server.#history;
      },
      get connections() {
        return server.#connections;
      },
      get isUp() {
        return server.#isUp;
      },
      takes: (connection, message) => server.#takes(connection, message),
      later: (deliver) => {
        if (server.#held) server.#held.push(deliver);
        else queueMicrotask(deliver);
      },
    };
  }

  #takes(connection: FakeConnection, { type, id = '', payload }: ClientMessage): boolean {
    const changes = type.startsWith('DRAFT_') && type !== 'DRAFT_LIST' || type === 'PUBLISH';
    const next = changes ? this.#next.shift() : undefined;
    if (next === undefined) return true;
    if (next === 'lose') {
      this.#history.carryOut(connection.user, connection.device, { id, type, payload });
      connection.end(1006);
    } else {
      connection.tell({ type: 'ERROR', id, code: next, message: `refused by the test: ${next}` });
    }
    return false;
  }
}

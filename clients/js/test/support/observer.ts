// Writes down every event of a user's drafts, in the order of the stream, and replays them as simply as can be.

import { WebSocket } from 'ws';
import type { Node } from './node.js';

export interface DraftEvent {
  readonly type: 'DRAFT_CREATED' | 'DRAFT_UPDATED' | 'DRAFT_DELETED';
  readonly seq: number;
  readonly origin: string;
  readonly payload: { draftId: string; version: number; content?: Record<string, unknown>; patch?: Record<string, unknown> };
}

export class Observer {
  readonly events: DraftEvent[] = [];
  readonly #socket: WebSocket;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
  }

  static async watch(node: Node, user: string): Promise<Observer> {
    const url = `${node.url.replace('http', 'ws')}/ws/realtime?device=observer&token=${node.token(user)}`;
    const socket = new WebSocket(url);
    const observer = new Observer(socket);
    await new Promise<void>((resolve) => {
      socket.on('message', (data) => {
        const message = JSON.parse(String(data));
        if (message.type === 'WELCOME') resolve();
        if (message.type.startsWith('DRAFT_')) observer.events.push(message);
      });
    });
    return observer;
  }

  /** What there is after all events, by draft. Fields are flat. */
  replay(): Map<string, { version: number; content: Record<string, unknown> }> {
    const drafts = new Map<string, { version: number; content: Record<string, unknown> }>();
    for (const { type, payload: { draftId, version, content, patch } } of this.events) {
      if (type === 'DRAFT_DELETED') drafts.delete(draftId);
      else drafts.set(draftId, { version, content: content ?? { ...drafts.get(draftId)!.content, ...patch } });
    }
    return drafts;
  }

  close(): void {
    this.#socket.terminate();
  }
}

// A position on one stream, and that nothing came twice, too late or not at all. Knows no connection: what the server
// says goes in, what to make of it comes out.

import { isEvent, type Position, type StreamMessage } from '../protocol.js';

/**
 * What to make of a message:
 * - `next`: the next event. The position has moved.
 * - `seen`: an event that came before.
 * - `gap`: something before it is missing.
 * - `synced`: what was missed has come; the rest is live.
 * - `missed`: what was missed is gone. The position has moved over it.
 * - `other`: it has nothing to do with the position.
 */
export type Judgement = 'next' | 'seen' | 'gap' | 'synced' | 'missed' | 'other';

export class Tracker {
  /** The last event that was seen; null before the first answer of the server. */
  position: Position | null;
  /** Whether everything that arrives is new. */
  live = false;

  constructor(position: Position | null = null) {
    this.position = position;
  }

  /** Judges a message of the stream, and moves on with it. */
  judge(message: StreamMessage): Judgement {
    const { position } = this;
    if (message.type === 'SYNCED' || message.type === 'SNAPSHOT') {
      const { epoch = position?.epoch ?? '', seq } = message as { epoch?: string; seq: number };
      // A SNAPSHOT says to those who keep no drafts that there are no events up to its position.
      if ('missedBefore' in message || message.type === 'SNAPSHOT') {
        // Whoever is further has missed nothing.
        if (position?.epoch === epoch && position.seq >= seq) return 'other';
        // Another SYNCED comes when everything that is left has come. What was live is no less live for this.
        this.position = { epoch, seq };
        return 'missed';
      }
      if (position && seq > position.seq) return 'gap';
      this.live = true;
      return 'synced';
    }
    if (!isEvent(message)) return 'other';
    if (!position || message.seq > position.seq + 1) return 'gap';
    if (message.seq <= position.seq) return 'seen';
    this.position = { epoch: position.epoch, seq: message.seq };
    return 'next';
  }
}

// A position on one stream, and that nothing came twice, too late or not at all. Knows no connection: what the server
// says goes in, what to make of it comes out.

import type { Position } from '../protocol.js';

export class Tracker {
  /** The last event that was seen; null before the first answer of the server. */
  position: Position | null;
  /** Whether everything that arrives is new. */
  live = false;

  constructor(position: Position | null = null) {
    this.position = position;
  }

  /** Judges an event by its number, and moves on when it is the next one. */
  take(seq: number): 'next' | 'seen' | 'gap' {
    const { position } = this;
    if (!position || seq > position.seq + 1) return 'gap';
    if (seq <= position.seq) return 'seen';
    this.position = { epoch: position.epoch, seq };
    return 'next';
  }

  /**
   * Judges a SYNCED. With `missedBefore` the position moves, because what was missed before is gone; whoever is
   * further has missed nothing.
   */
  synced({ epoch, seq, missedBefore }: { epoch?: string; seq: number; missedBefore?: number }): 'synced' | 'missed' | 'gap' | 'seen' {
    const { position } = this;
    if (missedBefore !== undefined) {
      const moved = { epoch: epoch ?? position?.epoch ?? '', seq };
      if (position?.epoch === moved.epoch && position.seq >= seq) return 'seen';
      // Another SYNCED comes when everything that is left has come. What was live is no less live for this.
      this.position = moved;
      return 'missed';
    }
    if (position && seq > position.seq) return 'gap';
    this.live = true;
    return 'synced';
  }
}

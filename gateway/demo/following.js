// One stream as a device follows it: where it stands, and that nothing came twice, too late or not at
// all. Knows no connection: what the server says goes in, what to make of it comes out.

export class Following {
  /** The last event that this device has seen, or null as long as it knows nothing. */
  #cursor = null;
  /** What coming back has brought so far; `head` ends what was missed. Null when nothing was missed. */
  #resume = null;
  #live = false;

  /** @param {?string} cursor where this device stopped in a life before, `<epoch>:<seq>` */
  constructor(cursor = null) {
    if (cursor === null) return;
    const [, epoch, seq] = /^(.+):(\d+)$/.exec(cursor) ?? [];
    if (!epoch) throw new TypeError(`no cursor: ${cursor}`);
    this.#cursor = { epoch, seq: Number(seq) };
  }

  /** The last event seen, 0 before the first. */
  get seq() {
    return this.#cursor?.seq ?? 0;
  }

  get epoch() {
    return this.#cursor?.epoch ?? null;
  }

  /** To come back with, or null. */
  get cursor() {
    return this.#cursor && `${this.#cursor.epoch}:${this.#cursor.seq}`;
  }

  /** Whether everything that arrives is new. */
  get live() {
    return this.#live;
  }

  /** The server takes this device back, the stream being at `head`: what was missed comes next. */
  resume(head) {
    this.#resume = { head, replayed: 0 };
    this.#live = false;
  }

  /** Takes another position: the first one, or one after which nothing before it counts. */
  moveTo({ epoch, seq }) {
    this.#cursor = { epoch, seq };
  }

  /**
   * Judges an event by its number, and moves on when it is the next one.
   * @returns {'next'|'seen'|'gap'} with a correct server and a position always `next`
   */
  take(seq) {
    if (seq <= this.seq) return 'seen';
    if (seq !== this.seq + 1) return 'gap';
    this.#cursor.seq = seq;
    if (this.#resume && seq <= this.#resume.head) this.#resume.replayed += 1;
    return 'next';
  }

  /**
   * Hears SYNCED. The position moves with it when it says that some of what was missed is gone.
   * @returns {'synced'|'missed'|'gap'}
   */
  synced({ epoch, seq, missedBefore }) {
    if (missedBefore !== undefined) {
      // Another SYNCED comes when everything that is left has come. On a connection that was live, it is
      // no less live for this.
      this.moveTo({ epoch: epoch ?? this.epoch, seq });
      return 'missed';
    }
    if (seq > this.seq) return 'gap';
    this.#live = true;
    return 'synced';
  }

  /** From here on everything is new. @returns {{resumed: boolean, replayed: number}} what came before */
  begin() {
    this.#live = true;
    return this.outcome;
  }

  /** What coming back has brought. */
  get outcome() {
    return { resumed: this.#resume !== null, replayed: this.#resume?.replayed ?? 0 };
  }

  /** The connection is over; the position is not. */
  lost() {
    this.#resume = null;
    this.#live = false;
  }
}

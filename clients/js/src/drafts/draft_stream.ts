// Follows the stream `user` for drafts: their first list, their events, and snapshots instead of them. What comes goes
// into the records together with the position that it leads to.

import { DraftwireError, errorOf } from '../errors.js';
import { isEvent, type DraftMessage, type EventMessage, type Position, type StreamMessage } from '../protocol.js';
import { Tracker } from '../session/tracker.js';
import type { StreamFollower, StreamHost } from '../session/streams.js';
import { event, snapshot } from './rules.js';

/** Events held back while the list of drafts is on its way. Past it the connection starts over. */
const HELD_MAX = 10_000;
const KEY = 'position/user';

export class DraftStream implements StreamFollower {
  readonly #host: StreamHost;
  readonly #tracker: Tracker;
  /** Events that came before the list of drafts; null while none is on its way. */
  #held: EventMessage[] | null = null;
  /** What has come in this frame. */
  #frame: EventMessage[] = [];

  constructor(host: StreamHost) {
    this.#host = host;
    this.#tracker = new Tracker(this.#stored);
  }

  get position(): Position | null {
    return this.#tracker.position;
  }

  get live(): boolean {
    return this.#tracker.live;
  }

  welcome({ epoch }: Position): void {
    if (!this.#tracker.position) return this.#list();
    // In another history old versions mean nothing: changes wait for the SNAPSHOT.
    if (this.#tracker.position.epoch === epoch) this.#host.openQueue();
  }

  receive(message: StreamMessage): void {
    if (message.type === 'SNAPSHOT') {
      const { epoch, seq, payload } = message as Extract<StreamMessage, { type: 'SNAPSHOT' }>;
      this.#held = null;
      this.#replace({ epoch, seq }, payload.drafts);
    } else if (this.#held) {
      if (isEvent(message)) this.#held.push(message);
      if (this.#held.length > HELD_MAX) this.#host.connection.again(new DraftwireError('unreachable', `more than ${HELD_MAX} events came before the list of drafts`));
    } else {
      const judged = this.#tracker.judge(message);
      if (judged === 'gap') this.#host.gap('user');
      if (judged === 'next') this.#next(message as EventMessage);
    }
    this.#host.settle();
  }

  #next(event: EventMessage): void {
    this.#frame.push(event);
    if (!event.type.startsWith('DRAFT_')) this.#host.deliver(event);
  }

  /** One step for all of them. Another tab may have been faster. */
  frameEnd(): void {
    const [events, { position }] = [this.#frame, this.#tracker];
    this.#frame = [];
    if (!position || events.length === 0) return;
    const { device, records } = this.#host;
    void records.run((edit) => {
      const before = edit.get<Position>(KEY);
      if (before?.epoch !== position.epoch || before.seq >= position.seq) return;
      for (const each of events) if (each.seq > before.seq) event(edit, each, device);
      edit.put(KEY, position);
    });
  }

  lost(): void {
    this.frameEnd();
    this.#held = null;
    this.#tracker.position = this.#stored;
    this.#tracker.live = false;
  }

  get #stored(): Position | null {
    return this.#host.records.get<Position>(KEY) ?? null;
  }

  /** The first state: a list, and the events after the position that it stands at. */
  #list(): void {
    const held: EventMessage[] = [];
    const { connection, settle } = this.#host;
    this.#held = held;
    connection.request('DRAFT_LIST', undefined, (answer) => {
      // A SNAPSHOT that came meanwhile is the newer state.
      if (this.#held !== held) return;
      if (answer.type !== 'ACK') return connection.again(errorOf(answer as { code: string; message: string }));
      const { epoch, seq, drafts } = answer.payload;
      this.#held = null;
      this.#replace({ epoch, seq }, drafts);
      this.#tracker.live = true;
      for (const each of held) if (each.seq > seq) this.receive(each);
      settle();
    });
  }

  #replace(position: Position, drafts: readonly DraftMessage[]): void {
    this.frameEnd();
    this.#tracker.position = position;
    // There are no events up to it.
    this.#host.deliver({ type: 'SYNCED', stream: 'user', ...position, missedBefore: position.seq + 1 });
    void this.#host.records.run((edit) => {
      const before = edit.get<Position>(KEY);
      // Another tab was faster.
      if (before && before.epoch === position.epoch && before.seq > position.seq) return;
      snapshot(edit, drafts, before !== undefined && before.epoch !== position.epoch);
      edit.put(KEY, position);
    });
    this.#host.openQueue();
  }
}

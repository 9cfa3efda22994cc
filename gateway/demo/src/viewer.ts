// One viewer of the match: a client of its own, and the commentary as it came.

import { Draftwire, type Cursor, type DraftwireError, type DraftwireOptions, type Presence, type StreamEvent, type Topic } from 'draftwire';
import { BROADCAST, KINDS, TOPIC } from './commentary.js';
import { address, copy, highlight, part, say } from './dom.js';
import { watchedWebSocket, type Frame } from './frames.js';
import { seqOf, Standing, type Status } from './states.js';
import type { Tokens } from './tokens.js';

const COMMENTS_MAX = 200;
const FLASH_MS = 6000;

export interface ViewerOptions {
  readonly index: number;
  readonly name: string;
  /** How it follows the topic, in words. */
  readonly way: string;
  readonly transport: NonNullable<DraftwireOptions['transport']>;
  /** How long events may wait for others, in milliseconds; not at all when absent. */
  readonly batchMs?: number;
  /** Names it to the server. */
  readonly device: string;
  readonly tokens: Tokens;
  readonly from: Cursor | 'now';
  /** Told when who is present may have changed. */
  readonly onPresence: () => void;
}

export class Viewer {
  readonly root = copy('viewer-template');
  readonly #options: ViewerOptions;
  readonly #dw: Draftwire;
  #topic: Topic;
  readonly #standing = new Standing(this.root);
  #flashing = 0;
  /** The last flood, as it arrived here. */
  #flood = { id: '', events: 0, frames: 0 };

  constructor(options: ViewerOptions) {
    const { index, name, way, transport, device, tokens } = options;
    this.#options = options;
    this.root.dataset['viewer'] = String(index);
    this.root.setAttribute('aria-label', name);
    say(this.#part('name'), name);
    say(this.#part('way'), way);
    this.#dw = new Draftwire(address(), {
      device,
      getToken: ({ stale }) => tokens.get(stale),
      connect: false,
      transport,
      environment: { WebSocket: watchedWebSocket((frame) => this.#countFlood(frame)) },
      onError: (error) => this.#standing.notice(String(error)),
    });
    this.#topic = this.#follow(options.from);
    this.#dw.subscribe(() => this.#render());
    this.#dw.onBroadcast('*', (event) => this.#flash(event));
    this.#dw.onMissedBroadcasts(() => this.#standing.notice('Some broadcasts of the time away are gone from the log.'));
    this.#part('offline').addEventListener('change', () => this.show());
    this.#part('dismiss').addEventListener('click', () => this.#standing.notice(''));
    this.#render();
  }

  /** Who is here, as the server says; null while unknown. */
  get presence(): Presence | null {
    return this.#topic.presence;
  }

  /** Connects, unless the person has switched the viewer offline. */
  show(): void {
    if (this.#part<HTMLInputElement>('offline').checked) return this.#dw.disconnect();
    // What the server has ended may be allowed now.
    if (this.#topic.state.status === 'ended') this.#topic = this.#follow(this.#topic.cursor ?? this.#options.from);
    this.#dw.connect();
  }

  /** Ends the connection. */
  hide(): void {
    this.#dw.disconnect();
  }

  #follow(from: Cursor | 'now'): Topic {
    const { batchMs } = this.#options;
    const topic = this.#dw.topic(TOPIC, { from, presence: true, ...(batchMs !== undefined && { batchMs }) });
    topic.on('*', (event) => this.#comment(event));
    topic.onMissed(({ before }) => this.#standing.notice(`What was missed before ${before} is gone from the log.`));
    topic.subscribe(() => {
      this.#render();
      this.#options.onPresence();
    });
    return topic;
  }

  // --- showing ------------------------------------------------------------------------------------------------------

  /** The topic's state counts while the connection is there. */
  get #status(): { status: Status; error?: DraftwireError | undefined } {
    const [client, topic] = [this.#dw.state, this.#topic.state];
    if (topic.status === 'ended') return { status: 'stopped', error: topic.error };
    if (client.status !== 'live') return { status: client.status, error: 'error' in client ? client.error : undefined };
    return { status: topic.status === 'waiting' ? 'catching-up' : topic.status };
  }

  #render(): void {
    const { status, error } = this.#status;
    this.#renderSeq();
    this.#standing.show(status, error, this.#dw.state, this.#topic.cursor);
  }

  #renderSeq(): void {
    const { cursor } = this.#topic;
    say(this.#part('seq'), this.#standing.wasLive && cursor !== null ? String(seqOf(cursor)) : '–');
  }

  /** Whoever may publish may send any data: what is not a commentary's is shown as it is. */
  #comment({ type, seq, data }: StreamEvent<string, any>): void {
    const { minute, text } = data ?? {};
    const row = copy('comment-template');
    Object.assign(row.dataset, { seq, kind: type });
    say(part(row, 'minute'), Number.isInteger(minute) ? `${minute}′` : '');
    say(part(row, 'kind'), KINDS[type] ?? type);
    say(part(row, 'text'), typeof text === 'string' ? text : JSON.stringify(data));
    say(part(row, 'comment-seq'), String(seq));
    const list = this.#part('comments');
    list.prepend(row);
    if (list.children.length > COMMENTS_MAX) list.lastElementChild!.remove();
    if (this.#standing.wasLive) highlight(row);
    this.#part('none').hidden = true;
    this.#renderSeq();
  }

  #countFlood({ direction, messages }: Frame): void {
    // What was said before, on the first connection, is only the end of a flood.
    if (direction === 'out' || !this.#standing.wasLive) return;
    const floods = messages
      .filter(({ stream, payload }) => stream === `topic:${TOPIC}` && typeof payload?.flood === 'string')
      .map(({ payload }): string => payload.flood);
    const id = floods.at(-1);
    if (id === undefined) return;
    if (this.#flood.id !== id) this.#flood = { id, events: 0, frames: 0 };
    this.#flood.events += floods.filter((flood) => flood === id).length;
    this.#flood.frames += 1;
    const { events, frames } = this.#flood;
    this.#part('flood').hidden = false;
    say(this.#part('flood'), `flood: ${events} in ${frames} ${frames === 1 ? 'frame' : 'frames'}`);
  }

  #flash({ type, seq, data }: StreamEvent<string, any>): void {
    const note = this.#part('flash');
    const keys = Array.isArray(data?.keys) ? data.keys.join(', ') : '';
    note.textContent = type === BROADCAST ? `Drop your caches: ${keys}` : type;
    note.dataset['seq'] = String(seq);
    note.hidden = false;
    note.classList.remove('flashing');
    void note.offsetWidth; // Reading the layout restarts the animation.
    note.classList.add('flashing');
    clearTimeout(this.#flashing);
    this.#flashing = setTimeout(() => {
      note.hidden = true;
    }, FLASH_MS);
  }

  #part<Kind extends HTMLElement = HTMLElement>(role: string): Kind {
    return part<Kind>(this.root, role);
  }
}

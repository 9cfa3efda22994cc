// Several tabs share one connection. One of them leads and has the session; the others tell it what they want, and
// are told what comes. Whatever has to last is in the store, which all of them read and write, so messages between
// tabs may be lost with a tab: who leads next begins from the store and from what the tabs want.

import type { ConnectionState } from '../api.js';
import { DraftwireError, type ErrorCode } from '../errors.js';
import type { Peers } from '../store/backend.js';
import type { Link, LinkOptions } from './link.js';
import type { Outcome } from './commands.js';
import { newSession, type Session } from './session.js';
import type { TopicMessage, Want } from './subscriptions.js';
import { release } from './unpublished.js';

/** What tabs tell each other. */
export type TabMessage =
  /** For who leads: what a tab wants, also that it is there. */
  | { readonly type: 'want'; readonly tab: string; readonly wants: readonly Want[]; readonly visible: boolean; readonly drafts: boolean }
  | { readonly type: 'leave'; readonly tab: string }
  | { readonly type: 'signal'; readonly topic: string; readonly event: string; readonly data: unknown }
  | { readonly type: 'wake' | 'connect' }
  /** From who leads. `state` also says that it is alive; `began` asks everybody what they want. */
  | { readonly type: 'state'; readonly state: PlainState; readonly began?: boolean }
  | { readonly type: 'deliver'; readonly messages: readonly TopicMessage[] }
  | { readonly type: 'answered'; readonly id: string; readonly outcome: Outcome };

/** A state as a message can have it. */
type PlainState = Omit<ConnectionState, 'error'> & { readonly error?: { readonly code: string; readonly message: string } };

/** How often a tab says that it is there. In hidden tabs timers run once a minute. */
const PRESENT_MS = 2_500;
/** A tab that has not said so for this long is gone, with what it wanted. One that was frozen says it anew. */
const LEASE_MS = 150_000;
/** A visible tab that hears nothing from who leads for this long takes over: the other one is frozen. */
const SILENT_MS_MAX = 7_000;
/** The same for a tab that has just come to the front. */
const WAKE_MS = 1_000;

interface Other {
  seenAt: number;
  visible: boolean;
}

export class Tabs implements Link {
  readonly #peers: Peers;
  readonly #options: LinkOptions;
  readonly #ended = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;
  /** Ends the present election. */
  #waiting = new AbortController();
  /** Where this tab leads. */
  #session: Session | null = null;
  /** Ends this tab's lead. */
  #resign: () => void = () => {};
  #wants: readonly Want[] = [];
  /** When this tab began to lead. */
  #ledAt = 0;
  /** Who else is there, as far as who leads has to know. */
  readonly #others = new Map<string, Other>();
  /** When something was heard from who leads. */
  #leaderAt = performance.now();
  #state: PlainState = { status: 'connecting' };

  constructor(peers: Peers, options: LinkOptions) {
    this.#peers = peers;
    this.#options = options;
    this.#timer = setInterval(() => this.#tick(), PRESENT_MS);
    this.#post({ type: 'connect' });
    this.#elect(false);
  }

  want(wants: readonly Want[]): void {
    this.#wants = wants;
    if (this.#session) this.#session.want(this.#options.tab, wants);
    else this.#present();
  }

  signal(topic: string, event: string, data: unknown): void {
    if (this.#session) this.#session.signal(topic, event, data);
    else this.#post({ type: 'signal', topic, event, data });
  }

  pump(): void {
    this.#session?.pump();
  }

  wake(): void {
    if (this.#session) return this.#session.wake();
    const wokenAt = performance.now();
    this.#post({ type: 'wake' });
    this.#present();
    setTimeout(() => {
      if (this.#leaderAt < wokenAt) this.#takeOver();
    }, WAKE_MS);
  }

  userStateArrived(): void {
    if (this.#session) this.#session.userStateArrived();
    else this.#present();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#post({ type: 'leave', tab: this.#options.tab });
    this.#ended.abort();
    this.#waiting.abort();
    this.#resign();
  }

  hear(message: TabMessage): void {
    const session = this.#session;
    switch (message.type) {
      case 'state':
        if (!session) this.#heardState(message.state, message.began ?? false);
        return;
      case 'deliver':
        if (!session) void this.#options.events.deliver(message.messages);
        return;
      case 'answered':
        return this.#options.events.answered(message.id, message.outcome);
      case 'want':
        return this.#heardWant(message);
      case 'leave':
        return this.#gone(message.tab);
      case 'signal':
        return session?.signal(message.topic, message.event, message.data);
      case 'wake':
        return session?.wake();
      case 'connect':
        return session?.connect();
    }
  }

  // --- leading ----------------------------------------------------------------------------------------------------

  #elect(steal: boolean): void {
    this.#waiting.abort();
    this.#waiting = new AbortController();
    this.#peers.elect((stolen) => this.#lead(stolen), { steal, stop: this.#waiting.signal });
  }

  async #lead(stolen: AbortSignal): Promise<void> {
    if (this.#ended.signal.aborted) return;
    const { events, isVisible, tab } = this.#options;
    const over = new Promise<void>((resolve) => {
      this.#resign = resolve;
      stolen.addEventListener('abort', () => resolve());
    });
    this.#others.clear();
    this.#ledAt = performance.now();
    const session = newSession({
      ...this.#options,
      // The timers and the connection of a hidden tab serve a visible one, too.
      isVisible: () => isVisible() || [...this.#others.values()].some(({ visible }) => visible),
      events: {
        state: (state) => {
          this.#state = plain(state);
          this.#post({ type: 'state', state: this.#state });
          events.state(state);
        },
        deliver: (messages) => {
          this.#post({ type: 'deliver', messages });
          return events.deliver(messages);
        },
        answered: (id, outcome) => {
          this.#post({ type: 'answered', id, outcome });
          events.answered(id, outcome);
        },
        failed: events.failed,
        isThere: (name) => this.#others.has(name),
      },
    });
    this.#session = session;
    session.connect();
    session.want(tab, this.#wants);
    this.#post({ type: 'state', state: this.#state, began: true });
    await over;
    this.#session = null;
    session.disconnect();
    if (this.#ended.signal.aborted) return;
    // Another tab leads, or shall.
    this.#leaderAt = performance.now();
    events.state({ status: 'connecting' });
    this.#elect(false);
    this.#present();
  }

  #heardWant({ tab, wants, visible, drafts }: Extract<TabMessage, { type: 'want' }>): void {
    if (!this.#session) return;
    // Only who keeps drafts can keep them for others.
    if (drafts && !this.#options.userState()) return this.#resign();
    const isNew = !this.#others.has(tab);
    this.#others.set(tab, { seenAt: performance.now(), visible });
    if (isNew || visible) this.#post({ type: 'state', state: this.#state });
    this.#session.want(tab, wants);
    // The timers of a hidden tab are slow, those of the visible one are not.
    this.#session.tick();
  }

  #tick(): void {
    const now = performance.now();
    if (!this.#session) {
      this.#present();
      if (now - this.#leaderAt > SILENT_MS_MAX) this.#takeOver();
      return;
    }
    for (const [tab, { seenAt }] of this.#others) if (now - seenAt >= LEASE_MS) this.#gone(tab);
    // Who was asked when this tab began to lead, and has not answered since, was gone before.
    if (now - this.#ledAt >= SILENT_MS_MAX) this.#release();
  }

  #gone(tab: string): void {
    if (!this.#session || !this.#others.delete(tab)) return;
    this.#session.want(tab, []);
    this.#release();
  }

  /** What was refused while its tab seemed to be there, and was gone. */
  #release(): void {
    const { records } = this.#options;
    if (records.count('unpublished') > 0) void records.run((edit) => release(edit, (tab) => this.#others.has(tab)));
  }

  // --- following --------------------------------------------------------------------------------------------------

  #present(): void {
    const { tab, isVisible, userState } = this.#options;
    if (this.#session || this.#ended.signal.aborted) return;
    this.#post({ type: 'want', tab, wants: this.#wants, visible: isVisible(), drafts: userState() !== null });
  }

  #heardState(state: PlainState, began: boolean): void {
    const { events } = this.#options;
    this.#leaderAt = performance.now();
    if (began) {
      // What the one before had sent may not all have come: everything goes on from here.
      events.state({ status: 'connecting' });
      this.#present();
    }
    if (!began && JSON.stringify(state) === JSON.stringify(this.#state)) return;
    this.#state = state;
    events.state(revived(state));
  }

  /** Who leads says nothing, although its lock is held: its tab is frozen, or hangs. */
  #takeOver(): void {
    if (this.#session || this.#ended.signal.aborted || !this.#options.isVisible()) return;
    this.#leaderAt = performance.now();
    this.#elect(true);
  }

  #post(message: TabMessage): void {
    this.#peers.post(message);
  }
}

function plain(state: ConnectionState): PlainState {
  if (!('error' in state)) return state;
  return { ...state, error: { code: state.error.code, message: state.error.message } };
}

function revived(state: PlainState): ConnectionState {
  const { error } = state;
  return (error ? { ...state, error: new DraftwireError(error.code as ErrorCode, error.message) } : state) as ConnectionState;
}

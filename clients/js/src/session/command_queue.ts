// Sends the commands that wait in the store: in their order, each until it is answered, always under the same id.
// What is in the store is the queue; this keeps only what the present connection knows.

import { backoff } from '../connection/backoff.js';
import type { Connection } from '../connection/connection.js';
import type { Refused } from '../protocol.js';
import type { RecordsEdit, RecordsView, Records } from '../store/records.js';

/** A command in the store, under `commandKey`. Once it was sent it is not changed any more. */
export interface Command<Payload = any> {
  /** Under which it is repeated. */
  readonly id: string;
  /** Its place in the queue. */
  readonly order: number;
  readonly type: string;
  readonly payload: Payload;
  /** The tab that waits for what becomes of it. */
  readonly tab: string;
  /** When it was about to be sent for the first time, in Unix milliseconds. */
  readonly sentAt?: number;
}

/** What the commands of one kind do to the records. All of it is pure, and runs in steps. */
export interface CommandRules {
  /** What may have only one command without an answer, or undefined. */
  lane(command: Command): string | undefined;
  /** Whether it has its answer, and stays in the queue for another reason. */
  isAnswered(command: Command): boolean;
  acknowledged(records: RecordsEdit, command: Command, payload: any): void;
  refused(records: RecordsEdit, command: Command, error: Refused): void;
}

export type Outcome = { readonly seq?: number } | { readonly error: Refused };

/** Commands that are sent without waiting for answers; the server reads no more than 64. */
const WINDOW = 32;
/** The most that waits for answers of the server, or of the user, on this device. */
export const QUEUE_MAX = 10_000;
/** For how long the server certainly remembers a command (`COMMAND_MEMORY`, 24 h), less an hour for clocks. */
const MEMORY_MS = 23 * 3_600_000;

export function commandKey({ order }: Pick<Command, 'order'>): string {
  return `command/${String(order).padStart(12, '0')}`;
}

/** The command with this id. */
export function findCommand(records: RecordsView, id: string): Command | undefined {
  for (const command of records.list<Command>('command')) if (command.id === id) return command;
  return undefined;
}

/** Puts a command at the end of the queue. */
export function enqueue(records: RecordsEdit, command: Omit<Command, 'order'>): void {
  const order = (records.get<number>('meta/order') ?? 0) + 1;
  records.put('meta/order', order);
  records.put(commandKey({ order }), { ...command, order });
}

export interface CommandQueueOptions {
  readonly records: Records;
  readonly connection: Connection;
  /** The rules for commands of this type; undefined where nothing here knows them. */
  readonly rules: (type: string) => CommandRules | undefined;
  readonly answered: (command: Command, outcome: Outcome) => void;
}

export class CommandQueue {
  readonly #options: CommandQueueOptions;
  /** What was sent on this connection and has no answer. */
  readonly #inFlight = new Map<string, Command>();
  /** What this connection has refused for the moment, and waits for before it takes anything else. */
  readonly #expected = new Set<string>();
  #open = false;
  #pausing = false;
  /** Pauses since a command was carried out. */
  #pauses = 0;

  constructor(options: CommandQueueOptions) {
    this.#options = options;
  }

  /** From now on this connection takes commands. */
  open(): void {
    this.#open = true;
    this.#release();
    this.pump();
  }

  lost(): void {
    this.#open = this.#pausing = false;
    this.#inFlight.clear();
    this.#expected.clear();
  }

  /** Sends what may go out now. */
  pump(): void {
    const { records, rules } = this.#options;
    if (!this.#open || this.#pausing) return;
    const lanes = new Set<string>();
    const unmarked: Command[] = [];
    let count = 0;
    for (const command of records.list<Command>('command')) {
      const rule = rules(command.type);
      if (!rule) continue;
      const lane = rule.lane(command);
      // Nothing overtakes: what has to wait for another one keeps back what is behind it.
      if (lane !== undefined && lanes.has(lane)) break;
      if (lane !== undefined) lanes.add(lane);
      if (rule.isAnswered(command)) continue;
      if ((count += 1) > WINDOW) break;
      if (this.#inFlight.has(command.id)) continue;
      if (!records.isCommitted(commandKey(command))) break;
      if (command.sentAt === undefined) unmarked.push(command);
      else if (unmarked.length > 0) break;
      else this.#send(command);
    }
    if (unmarked.length > 0) this.#mark(unmarked);
  }

  receive(id: string, outcome: Outcome & { payload?: unknown }): boolean {
    const command = this.#inFlight.get(id);
    if (!command) return false;
    this.#inFlight.delete(id);
    if ('error' in outcome && outcome.error.code === 'unavailable') {
      this.#expected.add(id);
      this.#pause();
      return true;
    }
    this.#pauses = 0;
    this.#expected.delete(id);
    this.#conclude(command, outcome);
    return true;
  }

  /** The server has closed the connection because of a message that is too large. */
  tooLarge(message: string): void {
    const bytes = (command: Command) => JSON.stringify(command.payload).length;
    const largest = [...this.#inFlight.values()].sort((a, b) => bytes(b) - bytes(a))[0];
    if (largest) this.#conclude(largest, { error: { code: 'too_large', message } });
  }

  /** Lets the server know of commands that it waits for, and that are not in the queue any more. */
  #release(): void {
    for (const id of this.#expected) {
      if (this.#inFlight.has(id) || findCommand(this.#options.records, id)) continue;
      this.#expected.delete(id);
      this.#options.connection.send({ type: 'PING', id });
    }
  }

  #send(command: Command): void {
    const { id, type, payload, sentAt } = command;
    if (type === 'PUBLISH' && !this.#expected.has(id) && Date.now() - sentAt! > MEMORY_MS) {
      return this.#conclude(command, { error: { code: 'unknown_outcome', message: 'the server may have forgotten its id' } });
    }
    this.#inFlight.set(id, command);
    const error = this.#options.connection.send({ type, id, payload });
    if (!error) return;
    this.#inFlight.delete(id);
    this.#conclude(command, { error });
  }

  /** Notes in the store that commands are about to be sent: from then on they stay as they are. */
  #mark(commands: readonly Command[]): void {
    const ids = new Set(commands.map(({ id }) => id));
    const marked = this.#options.records.run((records) => {
      for (const command of records.list<Command>('command')) {
        if (ids.has(command.id) && command.sentAt === undefined) records.put(commandKey(command), { ...command, sentAt: Date.now() });
      }
    });
    void marked.then(() => this.pump());
  }

  #conclude(command: Command, outcome: Outcome & { payload?: unknown }): void {
    const { records, rules, answered } = this.#options;
    const rule = rules(command.type);
    void records.run((records) => {
      const queued = findCommand(records, command.id);
      if (!queued || !rule) return;
      if ('error' in outcome) rule.refused(records, queued, outcome.error);
      else rule.acknowledged(records, queued, outcome.payload);
    });
    answered(command, outcome);
    this.pump();
  }

  /** What was refused for the moment goes out again together, in its order, and what came up meanwhile behind it:
   *  the server takes it in no other. */
  #pause(): void {
    if (this.#pausing) return;
    this.#pausing = true;
    this.#options.connection.after('repeat', backoff(this.#pauses), () => {
      this.#pausing = false;
      this.pump();
    });
    this.#pauses += 1;
  }
}

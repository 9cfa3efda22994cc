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
  readonly answered: (id: string, outcome: Outcome) => void;
}

export interface CommandQueue {
  /** From now on this connection takes commands. */
  open(): void;
  lost(): void;
  /** Sends what may go out now. */
  pump(): void;
  /** The answer to a command, if it is one of the queue's. */
  receive(id: string, outcome: Outcome & { payload?: unknown }): boolean;
  /** The server has closed the connection because of a message that is too large. */
  tooLarge(message: string): void;
}

export function newCommandQueue({ records, connection, rules, answered }: CommandQueueOptions): CommandQueue {
  /** What was sent on this connection and has no answer. */
  const inFlight = new Map<string, Command>();
  /** What this connection has refused for the moment, and waits for before it takes anything else. */
  const expected = new Set<string>();
  let isOpen = false;
  let isPausing = false;
  /** Pauses since a command was carried out. */
  let pauses = 0;

  function open(): void {
    isOpen = true;
    // The server waits for commands that it has refused for the moment; some may not be in the queue any more.
    for (const id of expected) {
      if (inFlight.has(id) || findCommand(records, id)) continue;
      expected.delete(id);
      connection.send({ type: 'PING', id });
    }
    pump();
  }

  function lost(): void {
    isOpen = isPausing = false;
    inFlight.clear();
    expected.clear();
  }

  function pump(): void {
    if (!isOpen || isPausing) return;
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
      if (inFlight.has(command.id)) continue;
      if (!records.isCommitted(commandKey(command))) break;
      if (command.sentAt === undefined) unmarked.push(command);
      else if (unmarked.length > 0) break;
      else send(command);
    }
    if (unmarked.length > 0) mark(unmarked);
  }

  function receive(id: string, outcome: Outcome & { payload?: unknown }): boolean {
    const command = inFlight.get(id);
    if (!command) return false;
    inFlight.delete(id);
    if ('error' in outcome && outcome.error.code === 'unavailable') {
      expected.add(id);
      pause();
    } else {
      pauses = 0;
      expected.delete(id);
      conclude(command, outcome);
    }
    return true;
  }

  function tooLarge(message: string): void {
    const bytes = (command: Command) => JSON.stringify(command.payload).length;
    const largest = [...inFlight.values()].sort((a, b) => bytes(b) - bytes(a))[0];
    if (largest) conclude(largest, { error: { code: 'too_large', message } });
  }

  function send(command: Command): void {
    const { id, type, payload, sentAt } = command;
    if (type === 'PUBLISH' && !expected.has(id) && Date.now() - sentAt! > MEMORY_MS) {
      return conclude(command, { error: { code: 'unknown_outcome', message: 'the server may have forgotten its id' } });
    }
    inFlight.set(id, command);
    const error = connection.send({ type, id, payload });
    if (!error) return;
    inFlight.delete(id);
    conclude(command, { error });
  }

  /** Notes in the store that commands are about to be sent: from then on they stay as they are. */
  function mark(commands: readonly Command[]): void {
    const ids = new Set(commands.map(({ id }) => id));
    const marked = records.run((edit) => {
      for (const command of edit.list<Command>('command')) {
        if (ids.has(command.id) && command.sentAt === undefined) edit.put(commandKey(command), { ...command, sentAt: Date.now() });
      }
    });
    void marked.then(pump);
  }

  function conclude(command: Command, outcome: Outcome & { payload?: unknown }): void {
    const rule = rules(command.type);
    void records.run((edit) => {
      const queued = findCommand(edit, command.id);
      if (!queued || !rule) return;
      if ('error' in outcome) rule.refused(edit, queued, outcome.error);
      else rule.acknowledged(edit, queued, outcome.payload);
    });
    answered(command.id, outcome);
    pump();
  }

  /** What was refused for the moment goes out again together, in its order, and what came up meanwhile behind it:
   *  the server takes it in no other. */
  function pause(): void {
    if (isPausing) return;
    isPausing = true;
    connection.after('repeat', backoff(pauses), () => {
      isPausing = false;
      pump();
    });
    pauses += 1;
  }

  return { open, lost, pump, receive, tooLarge };
}

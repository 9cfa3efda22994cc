// Sends the commands that wait in the store: in their order, each until it is answered, always under the same id.
// What is in the store is the queue; this keeps only what the present connection knows. It is loaded late where only
// topics are followed, and is given what it has in common with the rest: bundlers cut that out of both otherwise.

import type { Connection } from '../connection/connection.js';
import { MEMORY_MS, WINDOW } from '../limits.js';
import type { Records, RecordsView } from '../store/records.js';
import type { Command, CommandRules, Outcome } from './commands.js';
import { publishRules } from './publishing.js';

export interface CommandQueueOptions {
  readonly records: Records;
  readonly connection: Connection;
  /** The record of a command. */
  readonly keyOf: (command: Command) => string;
  /** The rules for commands that are no PUBLISH, if somebody here knows them. */
  readonly userState: () => CommandRules | null;
  readonly answered: (id: string, outcome: Outcome) => void;
  /** Whether another tab with this name is there, to be told of a refusal. */
  readonly isThere: (tab: string) => boolean;
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

export function newCommandQueue({ records, connection, keyOf, userState, answered, isThere }: CommandQueueOptions): CommandQueue {
  const publishing = publishRules(keyOf, isThere);
  const rules = (type: string) => (type === 'PUBLISH' ? publishing : userState());
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
      const lane = rule.lane?.(command);
      // Nothing overtakes: what has to wait for another one keeps back what is behind it.
      if (lane && lanes.has(lane)) break;
      if (lane) lanes.add(lane);
      if (rule.isAnswered?.(command)) continue;
      if ((count += 1) > WINDOW) break;
      if (inFlight.has(command.id)) continue;
      if (!records.isCommitted(keyOf(command))) break;
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
    if (outcome.error?.code === 'unavailable') {
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
      return conclude(command, { error: { code: 'unknown_outcome', message: 'no answer came for 23 hours, so the server may have forgotten the id of the event' } });
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
        if (ids.has(command.id) && command.sentAt === undefined) edit.put(keyOf(command), { ...command, sentAt: Date.now() });
      }
    });
    void marked.then(pump);
  }

  function conclude(command: Command, outcome: Outcome & { payload?: unknown }): void {
    const rule = rules(command.type);
    const concluded = records.run((edit) => {
      const queued = findCommand(edit, command.id);
      if (!queued || !rule) return;
      if (outcome.error) rule.refused(edit, queued, outcome.error);
      else rule.acknowledged(edit, queued, outcome.payload, outcome.seq);
    });
    // What a tab does about it is stored after this, whichever of them has the connection.
    void concluded.then(() => answered(command.id, outcome));
    pump();
  }

  /** What was refused for the moment goes out again together, in its order, and what came up meanwhile behind it:
   *  the server takes it in no other. */
  function pause(): void {
    if (isPausing) return;
    isPausing = true;
    connection.pause('repeat', pauses, () => {
      isPausing = false;
      pump();
    });
    pauses += 1;
  }

  return { open, lost, pump, receive, tooLarge };
}

/** The command with this id. */
function findCommand(records: RecordsView, id: string): Command | undefined {
  for (const command of records.list<Command>('command')) if (command.id === id) return command;
  return undefined;
}

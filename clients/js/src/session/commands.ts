// What waits in the store to be sent.

import { DraftwireError } from '../errors.js';
import { QUEUE_MAX } from '../limits.js';
import type { Refused } from '../protocol.js';
import type { Records, RecordsEdit } from '../store/records.js';

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
  /** What may have only one command without an answer. Without, commands do not wait for each other. */
  lane?(command: Command): string;
  /** Whether it has its answer, and stays in the queue for another reason. */
  isAnswered?(command: Command): boolean;
  /** `seq`: the number of its event, where it has changed something. */
  acknowledged(records: RecordsEdit, command: Command, payload: any, seq: number | undefined): void;
  refused(records: RecordsEdit, command: Command, error: Refused): void;
}

export interface Outcome {
  /** The number of the event that it has caused. */
  readonly seq?: number | undefined;
  readonly error?: Refused | undefined;
}

export function commandKey({ order }: Pick<Command, 'order'>): string {
  return `command/${String(order).padStart(12, '0')}`;
}

/** Puts a command at the end of the queue. */
export function enqueue(records: RecordsEdit, command: Omit<Command, 'order'>): void {
  const order = (records.get<number>('meta/order') ?? 0) + 1;
  records.put('meta/order', order);
  records.put(commandKey({ order }), { ...command, order });
}

/** Refuses another command where too many wait. @throws DraftwireError `queue_full` */
export function checkQueue(records: Records): void {
  const count = records.count('command') + records.count('outcome') + records.count('unpublished');
  if (count >= QUEUE_MAX) throw new DraftwireError('queue_full', `${QUEUE_MAX} changes wait for answers`);
}

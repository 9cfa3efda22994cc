// What becomes of a published event: it leaves the queue. One that is refused while nobody waits for it any more is
// kept until somebody is told.

import type { Refused } from '../protocol.js';
import { commandKey, type Command, type CommandRules } from './command_queue.js';

export interface PublishPayload {
  readonly topic: string;
  readonly event: string;
  readonly data: unknown;
  readonly priority?: string;
}

/** A refused event, under `unpublished/<id>`. */
export interface UnpublishedRecord {
  readonly id: string;
  readonly payload: PublishPayload;
  readonly error: Refused;
}

/** @param isWaiting whether somebody waits for what becomes of the command */
export function publishRules(isWaiting: (command: Command) => boolean): CommandRules {
  return {
    lane: () => undefined,
    isAnswered: () => false,
    acknowledged: (records, command) => records.remove(commandKey(command)),
    refused: (records, command, error) => {
      records.remove(commandKey(command));
      if (isWaiting(command)) return;
      const record: UnpublishedRecord = { id: command.id, payload: command.payload, error };
      records.put(`unpublished/${command.id}`, record);
    },
  };
}

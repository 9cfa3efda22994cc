// What becomes of a published event: it leaves the queue. One that is refused while nobody waits for it any more is
// kept until somebody is told.

import type { Refused } from '../protocol.js';
import type { Command, CommandRules } from './commands.js';

export interface PublishPayload {
  readonly topic: string;
  readonly event: string;
  readonly data: unknown;
  readonly priority?: string;
}

/** A refused event, under `unpublished/<id>`. */
export interface UnpublishedRecord extends Command<PublishPayload> {
  readonly error: Refused;
}

/**
 * @param keyOf the record of a command
 * @param isWaiting whether somebody waits for what becomes of the command
 */
export function publishRules(keyOf: (command: Command) => string, isWaiting: (command: Command) => boolean): CommandRules {
  return {
    acknowledged: (records, command) => records.remove(keyOf(command)),
    refused: (records, command, error) => {
      records.remove(keyOf(command));
      if (isWaiting(command)) return;
      records.put(`unpublished/${command.id}`, { ...command, error } satisfies UnpublishedRecord);
    },
  };
}

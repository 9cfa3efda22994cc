// What becomes of a published event: it leaves the queue. One that is refused is kept until somebody is told.

import type { Command, CommandRules } from './commands.js';
import type { UnpublishedRecord } from './unpublished.js';

export interface PublishPayload {
  readonly topic: string;
  readonly event: string;
  readonly data: unknown;
  readonly priority?: string;
}

/**
 * @param keyOf the record of a command
 * @param isThere whether another tab with this name is there
 */
export function publishRules(keyOf: (command: Command) => string, isThere: (tab: string) => boolean): CommandRules {
  return {
    acknowledged: (records, command) => records.remove(keyOf(command)),
    refused: (records, command, error) => {
      records.remove(keyOf(command));
      const tab = isThere(command.tab) ? command.tab : null;
      records.put(`unpublished/${command.id}`, { ...command, tab, error } satisfies UnpublishedRecord);
    },
  };
}

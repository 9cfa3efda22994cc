// Published events that were refused. Each is kept until somebody was told: the tab that waits for it; once that one is
// gone, whoever handles them in any tab.

import type { Refused } from '../protocol.js';
import type { RecordsEdit } from '../store/records.js';
import type { Command } from './commands.js';
import type { PublishPayload } from './publishing.js';

/** A refused event, under `unpublished/<id>`. */
export interface UnpublishedRecord extends Omit<Command<PublishPayload>, 'tab'> {
  /** The tab that waits for it; null once it is gone. */
  readonly tab: string | null;
  readonly error: Refused;
}

/** Lets every tab tell of events whose own tab is gone. */
export function release(records: RecordsEdit, isThere: (tab: string) => boolean): void {
  for (const refused of [...records.list<UnpublishedRecord>('unpublished')]) {
    const { id, tab } = refused;
    if (tab !== null && !isThere(tab)) records.put(`unpublished/${id}`, { ...refused, tab: null });
  }
}

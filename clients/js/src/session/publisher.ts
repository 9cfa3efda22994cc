// What this tab has published: who waits for what becomes of it, and who is told where nobody does any more.

import type { Acknowledgement, PublishOptions, Unpublished, Unsubscribe } from '../api.js';
import { DraftwireError, errorOf } from '../errors.js';
import { randomId, toJson } from '../json.js';
import { Listeners } from '../listeners.js';
import type { Records } from '../store/records.js';
import { Deferred, quiet, waitFor } from '../wait.js';
import { enqueue, QUEUE_MAX, type Outcome } from './command_queue.js';
import type { PublishPayload, UnpublishedRecord } from './publishing.js';

export interface Publisher {
  publish(topic: string, type: string, data?: unknown, options?: PublishOptions): Promise<Acknowledgement>;
  /** What has become of a command, of this tab or another. */
  answered(id: string, outcome: Outcome): void;
  onUnpublished(handler: (unpublished: Unpublished) => void): Unsubscribe;
  /** Tells of refused events that nobody waits for, and forgets them. */
  tellUnpublished(): void;
  close(error: DraftwireError): void;
}

export function newPublisher(records: Records, tab: string, onError: (error: unknown) => void): Publisher {
  /** By the id of the command. */
  const waiting = new Map<string, Deferred<Acknowledgement>>();
  const unpublished = new Listeners<[Unpublished]>(onError);

  async function publish(topic: string, type: string, data: unknown = null, options: PublishOptions = {}): Promise<Acknowledgement> {
    const { priority } = options;
    const payload: PublishPayload = { topic, event: type, data: toJson(data), ...(priority && { priority }) };
    checkQueue(records);
    const command = { id: randomId(), type: 'PUBLISH', payload, tab };
    const deferred = new Deferred<Acknowledgement>();
    waiting.set(command.id, deferred);
    void records.run((edit) => enqueue(edit, command));
    return waitFor(deferred.promise, options);
  }

  function tellUnpublished(): void {
    const refused = [...records.list<UnpublishedRecord>('unpublished')];
    if (unpublished.size === 0 || refused.length === 0) return;
    void records.run((edit) => {
      for (const { id } of refused) edit.remove(`unpublished/${id}`);
    });
    for (const { payload: { topic, event, data }, error } of refused) {
      unpublished.call({ topic, type: event, data, error: errorOf(error) });
    }
  }

  return {
    publish: (...event) => quiet(publish(...event)),
    answered(id, outcome) {
      const deferred = waiting.get(id);
      waiting.delete(id);
      if ('error' in outcome) deferred?.reject(errorOf(outcome.error));
      else deferred?.resolve(outcome.seq === undefined ? {} : { seq: outcome.seq });
    },
    onUnpublished(handler) {
      const remove = unpublished.add(handler);
      tellUnpublished();
      return remove;
    },
    tellUnpublished,
    close(error) {
      for (const deferred of waiting.values()) deferred.reject(error);
      waiting.clear();
      unpublished.clear();
    },
  };
}

/** Refuses another command where too many wait. @throws DraftwireError `queue_full` */
export function checkQueue(records: Records): void {
  const count = records.count('command') + records.count('outcome') + records.count('unpublished');
  if (count >= QUEUE_MAX) throw new DraftwireError('queue_full', `${QUEUE_MAX} changes wait for answers`);
}

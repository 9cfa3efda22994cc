// What this tab has published: who waits for what becomes of it, and who is told where nobody does any more.

import type { Acknowledgement, PublishOptions, Unpublished, Unsubscribe } from '../api.js';
import { DraftwireError, errorOf } from '../errors.js';
import { randomId, toJson } from '../json.js';
import { newListeners } from '../listeners.js';
import type { Records } from '../store/records.js';
import { quiet, waitFor } from '../wait.js';
import { checkQueue, enqueue, type Outcome } from './commands.js';
import type { PublishPayload } from './publishing.js';
import type { UnpublishedRecord } from './unpublished.js';

export interface Publisher {
  publish(topic: string, type: string, data?: unknown, options?: PublishOptions): Promise<Acknowledgement>;
  /** What has become of a command, of this tab or another. */
  answered(id: string, outcome: Outcome): void;
  onUnpublished(handler: (unpublished: Unpublished) => void): Unsubscribe;
  /** Tells of refused events, who waits for them or the handlers where nobody does any more, and forgets them. */
  tellUnpublished(): void;
  close(error: DraftwireError): void;
}

export function newPublisher(records: Records, tab: string, onError: (error: unknown) => void): Publisher {
  /** Who waits for what has become of a command, by its id. */
  const waiting = new Map<string, (outcome: Outcome) => void>();
  const unpublished = newListeners<[Unpublished]>(onError);
  /** Once the client is closed. */
  let closed: DraftwireError | undefined;

  async function publish(topic: string, type: string, data: unknown = null, options: PublishOptions = {}): Promise<Acknowledgement> {
    const { priority } = options;
    const payload: PublishPayload = { topic, event: type, data: toJson(data), ...(priority && { priority }) };
    if (closed) throw closed;
    checkQueue(records);
    const command = { id: randomId(), type: 'PUBLISH', payload, tab };
    const acknowledged = new Promise<Acknowledgement>((resolve, reject) => {
      waiting.set(command.id, ({ seq, error }) => (error ? reject(errorOf(error)) : resolve({ seq })));
    });
    void records.run((edit) => enqueue(edit, command));
    return waitFor(quiet(acknowledged), options);
  }

  function answered(id: string, outcome: Outcome): void {
    waiting.get(id)?.(outcome);
    if (waiting.delete(id) && outcome.error) forget([{ id }]);
  }

  function tellUnpublished(): void {
    const refused = [...records.list<UnpublishedRecord>('unpublished')]
      .filter((record) => waiting.has(record.id) || (record.tab === null && unpublished.size > 0));
    forget(refused);
    for (const { id, payload: { topic, event, data }, error } of refused) {
      const tell = waiting.get(id) ?? (() => unpublished.call({ topic, type: event, data, error: errorOf(error) }));
      waiting.delete(id);
      tell({ error });
    }
  }

  function forget(refused: readonly { readonly id: string }[]): void {
    void records.run((edit) => {
      for (const { id } of refused) edit.remove(`unpublished/${id}`);
    });
  }

  return {
    publish: (...event) => quiet(publish(...event)),
    answered,
    onUnpublished(handler) {
      const remove = unpublished.add(handler);
      tellUnpublished();
      return remove;
    },
    tellUnpublished,
    close(error) {
      closed = error;
      for (const tell of waiting.values()) tell({ error });
      waiting.clear();
      unpublished.clear();
    },
  };
}

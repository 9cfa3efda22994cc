// What this tab has published: who waits for what becomes of it, and who is told where nobody does any more.

import type { Acknowledgement, PublishOptions, Unpublished, Unsubscribe } from '../api.js';
import { DraftwireError } from '../errors.js';
import { randomId, toJson } from '../json.js';
import { Listeners } from '../listeners.js';
import type { Records } from '../store/records.js';
import { Deferred, quiet, waitFor } from '../wait.js';
import { enqueue, QUEUE_MAX, type Outcome } from './command_queue.js';
import type { PublishPayload, UnpublishedRecord } from './publishing.js';
import { errorOf } from './session.js';

export class Publisher {
  readonly #records: Records;
  readonly #tab: string;
  /** By the id of the command. */
  readonly #waiting = new Map<string, Deferred<Acknowledgement>>();
  readonly #unpublished: Listeners<[Unpublished]>;

  constructor(records: Records, tab: string, onError: (error: unknown) => void) {
    this.#records = records;
    this.#tab = tab;
    this.#unpublished = new Listeners(onError);
  }

  publish(topic: string, type: string, data?: unknown, options?: PublishOptions): Promise<Acknowledgement> {
    return quiet(this.#publish(topic, type, data, options));
  }

  async #publish(topic: string, type: string, data: unknown = null, options: PublishOptions = {}): Promise<Acknowledgement> {
    const { priority } = options;
    const payload: PublishPayload = { topic, event: type, data: toJson(data), ...(priority && { priority }) };
    checkQueue(this.#records);
    const command = { id: randomId(), type: 'PUBLISH', payload, tab: this.#tab };
    const deferred = new Deferred<Acknowledgement>();
    this.#waiting.set(command.id, deferred);
    void this.#records.run((records) => enqueue(records, command));
    return waitFor(deferred.promise, options);
  }

  /** What has become of a command, of this tab or another. */
  answered(id: string, outcome: Outcome): void {
    const deferred = this.#waiting.get(id);
    if (!deferred) return;
    this.#waiting.delete(id);
    if ('error' in outcome) deferred.reject(errorOf(outcome.error));
    else deferred.resolve(outcome.seq === undefined ? {} : { seq: outcome.seq });
  }

  onUnpublished(handler: (unpublished: Unpublished) => void): Unsubscribe {
    const remove = this.#unpublished.add(handler);
    this.tellUnpublished();
    return remove;
  }

  /** Tells of refused events that nobody waits for, and forgets them. */
  tellUnpublished(): void {
    if (this.#unpublished.size === 0) return;
    const records = [...this.#records.list<UnpublishedRecord>('unpublished')];
    if (records.length === 0) return;
    void this.#records.run((edit) => {
      for (const { id } of records) edit.remove(`unpublished/${id}`);
    });
    for (const { payload, error } of records) {
      const { topic, event: type, data } = payload;
      this.#unpublished.call({ topic, type, data, error: errorOf(error) });
    }
  }

  close(error: DraftwireError): void {
    for (const deferred of this.#waiting.values()) deferred.reject(error);
    this.#waiting.clear();
    this.#unpublished.clear();
  }
}

/** Refuses another command where too many wait. @throws DraftwireError `queue_full` */
export function checkQueue(records: Records): void {
  const count = records.count('command') + records.count('outcome') + records.count('unpublished');
  if (count >= QUEUE_MAX) throw new DraftwireError('queue_full', `${QUEUE_MAX} changes wait for answers`);
}

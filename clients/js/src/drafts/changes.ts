// Makes changes, and tells what has become of each.

import type { WaitOptions } from '../api.js';
import { errorOf, type DraftwireError } from '../errors.js';
import { randomId } from '../json.js';
import { checkQueue } from '../session/commands.js';
import type { RecordsEdit, Records } from '../store/records.js';
import { Deferred, quiet, waitFor } from '../wait.js';
import type { Change } from './api.js';
import type { Author } from './edits.js';
import type { IndexByDraft } from './index_by_draft.js';

interface Waiting {
  /** The commands that carry the change. */
  ids: readonly string[];
  readonly deferred: Deferred<void>;
}

export class Changes {
  readonly #records: Records;
  readonly #index: IndexByDraft;
  readonly #tab: string;
  readonly #waiting = new Set<Waiting>();
  readonly #conditions = new Set<{ isTrue: () => boolean; deferred: Deferred<void> }>();
  /** Once the client is closed. */
  #closed: DraftwireError | null = null;

  constructor(records: Records, index: IndexByDraft, tab: string) {
    this.#records = records;
    this.#index = index;
    this.#tab = tab;
  }

  /**
   * Makes a change of a draft. Where the client is closed there is none, and its promises say so.
   * @param step as of a records; returns the ids of the commands that carry the change
   * @throws DraftwireError `queue_full`
   */
  make(step: (records: RecordsEdit, author: Author) => readonly string[]): Change {
    if (this.#closed) {
      const refused = quiet(Promise.reject<void>(this.#closed));
      return { stored: refused, acknowledged: () => refused };
    }
    checkQueue(this.#records);
    const author: Author = { id: randomId(), tab: this.#tab };
    const waiting: Waiting = { ids: [author.id], deferred: new Deferred() };
    const stored = this.#records.run((records) => {
      waiting.ids = step(records, author);
    });
    this.#waiting.add(waiting);
    this.look();
    return {
      stored,
      acknowledged: (options?: WaitOptions) => waitFor(waiting.deferred.promise, options),
    };
  }

  /** Makes a change that the server does not hear of. */
  run(step: (records: RecordsEdit) => void): void {
    if (!this.#closed) void this.#records.run(step);
  }

  /** @throws DraftwireError `closed` */
  checkOpen(): void {
    if (this.#closed) throw this.#closed;
  }

  /** Resolves once it is true, looked at after every change of the records. */
  until(isTrue: () => boolean, options?: WaitOptions): Promise<void> {
    const condition = { isTrue, deferred: new Deferred<void>() };
    if (this.#closed) condition.deferred.reject(this.#closed);
    this.#conditions.add(condition);
    this.look();
    return quiet(waitFor(condition.deferred.promise, options).finally(() => this.#conditions.delete(condition)));
  }

  /** The records have changed. */
  look(): void {
    for (const waiting of this.#waiting) {
      const outcome = waiting.ids.map((id) => this.#index.outcomeOf(id)).find(Boolean);
      if (!outcome && waiting.ids.some((id) => this.#index.isQueued(id))) continue;
      this.#waiting.delete(waiting);
      if (outcome) waiting.deferred.reject(errorOf({ ...outcome.error, payload: outcome.theirs }));
      else waiting.deferred.resolve();
    }
    for (const { isTrue, deferred } of this.#conditions) if (isTrue()) deferred.resolve();
  }

  close(error: DraftwireError): void {
    this.#closed = error;
    for (const { deferred } of [...this.#waiting, ...this.#conditions]) deferred.reject(error);
  }
}

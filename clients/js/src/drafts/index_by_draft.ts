// What is in the records about each draft, kept up with every change of them.

import type { Records } from '../store/records.js';
import { commandKey, draftKey, idsOf, type DraftCommand, type DraftRecord, type OutcomeRecord } from './records.js';

/** All records of one draft. */
export interface DraftState {
  readonly draft: DraftRecord | undefined;
  readonly commands: readonly DraftCommand[];
  readonly outcomes: readonly OutcomeRecord[];
  /** Whether the store has all of it. */
  readonly committed: boolean;
}

export class IndexByDraft {
  readonly #records: Records;
  /** Keys of commands and outcomes, by draft. */
  readonly #keys = new Map<string, Set<string>>();
  /** What was last seen under a key: its draft, and the commands that it is or was. */
  readonly #seen = new Map<string, { readonly draftId: string; readonly ids: readonly string[] }>();
  /** The keys of commands by their ids, and those of outcomes by the ids of the commands that came to them. */
  readonly #commands = new Map<string, string>();
  readonly #outcomes = new Map<string, string>();

  constructor(records: Records) {
    this.#records = records;
  }

  /** Takes in changed records, and returns the drafts that they are about. */
  update(keys: Iterable<string>): Set<string> {
    const drafts = new Set<string>();
    for (const key of keys) {
      const table = key.slice(0, key.indexOf('/'));
      if (table === 'draft') drafts.add(key.slice('draft/'.length));
      else if (table === 'command' || table === 'outcome') this.#updateEntry(key, table, drafts);
    }
    return drafts;
  }

  stateOf(draftId: string): DraftState {
    const keys = [...(this.#keys.get(draftId) ?? [])].sort();
    const values = <T>(table: string) => keys.filter((key) => key.startsWith(table)).map((key) => this.#records.get<T>(key)!);
    const commands = values<DraftCommand>('command/');
    return {
      draft: this.#records.get(draftKey(draftId)),
      commands,
      outcomes: values('outcome/'),
      committed: commands.every((command) => this.#records.isCommitted(commandKey(command))),
    };
  }

  /** Whether a command is still in the queue. */
  isQueued(id: string): boolean {
    return this.#commands.has(id);
  }

  /** What a command has come to, where the server did not take it. */
  outcomeOf(id: string): OutcomeRecord | undefined {
    const key = this.#outcomes.get(id);
    return key === undefined ? undefined : this.#records.get(key);
  }

  #updateEntry(key: string, table: 'command' | 'outcome', drafts: Set<string>): void {
    const ids = table === 'command' ? this.#commands : this.#outcomes;
    const before = this.#seen.get(key);
    if (before) {
      drafts.add(before.draftId);
      this.#keys.get(before.draftId)?.delete(key);
      for (const id of before.ids) ids.delete(id);
      this.#seen.delete(key);
    }
    const value = this.#records.get<DraftCommand | OutcomeRecord>(key);
    const now = value && ('draftId' in value
      ? { draftId: value.draftId, ids: value.commands }
      : { draftId: value.payload.draftId, ids: idsOf(value) });
    // What was published is in the same queue.
    if (now?.draftId === undefined) return;
    drafts.add(now.draftId);
    this.#seen.set(key, now);
    this.#keys.set(now.draftId, (this.#keys.get(now.draftId) ?? new Set()).add(key));
    for (const id of now.ids) ids.set(id, key);
  }
}

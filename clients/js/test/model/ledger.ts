// What the pages of a run have done and shown, in the order in which it happened.

import type { Conflict, Refusal } from '../../src/drafts/index.js';

/** A moment: everything that is done or shown has another one, and what is later has a greater one. */
export type Moment = number;
export const NEVER: Moment = Infinity;

/** A page's place: what opens after a kill has the same one, and the same user in front of it. */
export interface Seat {
  readonly name: string;
  readonly device: string;
  /** When each value was first shown here, as content or as the other side of a conflict. */
  readonly knownSince: ReadonlyMap<string, Moment>;
}

/** A value for a field of a draft. No other edit has it. */
export interface Edit {
  readonly draftId: string;
  readonly field: string;
  readonly value: string;
  /** Where and when it was made, and where and when it was decided for last. */
  readonly first: { readonly seat: Seat; readonly at: Moment };
  seat: Seat;
  at: Moment;
  /** When it was said to be in the store. */
  storedAt: Moment;
  /** The last change that it was a part of. */
  change: EditedChange | null;
}

export interface EditedChange {
  readonly edits: readonly Edit[];
  /** What its promise has said; null where the page was gone before. */
  result: 'acknowledged' | 'conflict' | 'not_found' | 'other' | null;
}

/** A draft that was deleted at a seat. */
export interface Removal {
  readonly seat: Seat;
  readonly draftId: string;
  readonly at: Moment;
  storedAt: Moment;
}

/** A conflict or refusal, as it was first shown on its device, and what has become of it. */
export interface Outcome {
  readonly id: string;
  readonly device: string;
  readonly draftId: string;
  readonly kind: 'create' | 'update' | 'delete';
  readonly result: 'conflict' | string;
  readonly fields: readonly string[];
  readonly shownAt: Moment;
  /** All values that it ever held for the user. */
  readonly held: Set<string>;
  /** The values that it held when somebody decided it, and those that somebody gave up; null before. */
  decided: Set<string> | null;
  readonly dropped: Set<string>;
}

/** A user's choice of this device's value, which may take up what another tab adds until it is stored. */
export interface Decision {
  readonly seat: Seat;
  readonly draftId: string;
  readonly fields: readonly string[];
  readonly at: Moment;
  storedAt: Moment;
}

/** A seat has shown `before` in a field, and then `after`. */
export interface Replacement {
  readonly seat: Seat;
  readonly draftId: string;
  readonly field: string;
  readonly before: string;
  readonly after: string;
  /** Whether one of them is or was shown there as in conflict or refused: the user is asked. */
  readonly isHeld: boolean;
}

export class Ledger {
  readonly edits = new Map<string, Edit>();
  readonly removals: Removal[] = [];
  readonly decisions: Decision[] = [];
  readonly outcomes = new Map<string, Outcome>();
  readonly replacements: Replacement[] = [];
  /** In words, for whoever looks into a failure. */
  readonly story: string[] = [];
  /** Drafts in the order in which they were made: their ids are random. */
  readonly #numbers = new Map<string, number>();
  #now: Moment = 0;
  #values = 0;

  /** The next moment. */
  tick(): Moment {
    this.#now += 1;
    return this.#now;
  }

  tell(seat: Seat, words: string): void {
    this.story.push(`${this.#now} ${seat.name} ${words}`);
  }

  number(draftId: string): number {
    let number = this.#numbers.get(draftId);
    if (number === undefined) this.#numbers.set(draftId, number = this.#numbers.size);
    return number;
  }

  /** Numbers the values of a run. */
  nextValue(): number {
    this.#values += 1;
    return this.#values;
  }

  edit(edit: Omit<Edit, 'at' | 'first' | 'storedAt' | 'change'>): Edit {
    const at = this.tick();
    const made: Edit = { ...edit, first: { seat: edit.seat, at }, at, storedAt: NEVER, change: null };
    this.edits.set(edit.value, made);
    this.tell(edit.seat, `edits ${this.number(edit.draftId)}/${edit.field} = ${edit.value}`);
    return made;
  }

  /** A conflict or refusal is shown. */
  show(seat: Seat, draftId: string, shown: Conflict<any> | Refusal<any>): void {
    const key = `${seat.device}/${shown.id}`;
    const values = valuesOf(shown);
    let outcome = this.outcomes.get(key);
    if (!outcome) {
      outcome = {
        id: shown.id,
        device: seat.device,
        draftId,
        kind: shown.kind,
        result: 'error' in shown ? shown.error.code : 'conflict',
        fields: 'fields' in shown ? shown.fields.map((pointer) => pointer.slice(1)) : [],
        shownAt: this.tick(),
        held: new Set(),
        decided: null,
        dropped: new Set(),
      };
      this.outcomes.set(key, outcome);
      this.tell(seat, `shows ${outcome.result} ${shown.id} of ${outcome.kind} ${this.number(draftId)}/${outcome.fields}: ${values.join()} against ${JSON.stringify('theirs' in shown ? shown.theirs : null)}`);
    }
    for (const value of values) outcome.held.add(value);
  }

  /** Somebody has decided it. */
  decide(seat: Seat, shown: Conflict<any> | Refusal<any>, choice: string): void {
    const outcome = this.outcomes.get(`${seat.device}/${shown.id}`)!;
    outcome.decided = new Set([...(outcome.decided ?? []), ...valuesOf(shown)]);
    if (choice !== 'keepMine') for (const value of valuesOf(shown)) outcome.dropped.add(value);
    this.tell(seat, `${choice} ${shown.id} of ${this.number(outcome.draftId)}: ${valuesOf(shown).join()}`);
  }

  /** Whether the device has shown the value as in conflict or refused. */
  wasHeld(device: string, value: string): boolean {
    return this.#some(device, ({ held }) => held.has(value));
  }

  /** Whether its user has given the value up. */
  wasDropped(device: string, value: string): boolean {
    return this.#some(device, ({ dropped }) => dropped.has(value));
  }

  #some(device: string, is: (outcome: Outcome) => boolean): boolean {
    for (const outcome of this.outcomes.values()) if (outcome.device === device && is(outcome)) return true;
    return false;
  }
}

function valuesOf({ mine }: Conflict<any> | Refusal<any>): string[] {
  return Object.values((mine ?? {}) as Record<string, string>);
}

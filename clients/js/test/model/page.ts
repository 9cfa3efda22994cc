// A page of a device, with a user in front of it who does things at random and sees everything that is shown.

import { drafts, type Change, type Conflict, type Draft, type DraftCollection } from '../../src/drafts/index.js';
import type { Draftwire } from '../../src/index.js';
import type { Store } from '../../src/store/index.js';
import { client, Network } from '../support/client.js';
import type { Node } from '../support/node.js';
import type { Random } from '../support/random.js';
import type { Edit, EditedChange, Ledger, Moment, Seat } from './ledger.js';

const FIELDS = ['title', 'quantity', 'note'];

export type Note = Record<string, string | null>;

/** What a page runs in. */
export interface Surroundings {
  readonly store: Store;
  /** Ends it, with everything that it has not done. */
  kill(): void;
  /** Keeps messages of other tabs back, and lets them through again. Absent where there are no other tabs. */
  readonly freeze?: () => void;
  readonly thaw?: () => void;
}

export interface PageOptions {
  readonly node: Node;
  readonly name: string;
  readonly device: string;
  readonly user: string;
  readonly random: Random;
  readonly ledger: Ledger;
  readonly open: () => Surroundings;
}

export class Page implements Seat {
  readonly #options: PageOptions;
  readonly knownSince = new Map<string, Moment>();
  /** What was last shown, by draft and field. A page that is opened anew has shown nothing. */
  #shown = new Map<string, Note>();
  #surroundings!: Surroundings;
  #network!: Network;
  #wake!: () => void;
  dw!: Draftwire;
  notes!: DraftCollection<Note>;

  constructor(options: PageOptions) {
    this.#options = options;
    this.start();
  }

  get name(): string {
    return this.#options.name;
  }

  get device(): string {
    return this.#options.device;
  }

  /** Whether nothing is left to be sent or decided. */
  get isSettled(): boolean {
    return this.dw.state.status === 'live' && this.dw.pendingCount === 0 && this.notes.list.every(({ status }) => status === 'synced');
  }

  // --- what happens to it -----------------------------------------------------------------------------------------

  start(): void {
    const { device, node, open, user } = this.#options;
    this.#surroundings = open();
    this.#network = new Network();
    this.#shown = new Map();
    this.dw = client(node, user, {
      device,
      store: this.#surroundings.store,
      network: this.#network,
      environment: {
        onWake: (wake) => {
          this.#wake = wake;
          return () => {};
        },
      },
    });
    this.notes = drafts<Note>(this.dw, 'note');
    this.notes.subscribe(() => this.#look());
  }

  kill(): void {
    this.#options.ledger.tell(this, 'is killed');
    this.#network.cut();
    this.#surroundings.kill();
    this.dw.disconnect();
  }

  cut(): void {
    this.#options.ledger.tell(this, 'has no network');
    this.#network.cut();
  }

  mend(): void {
    this.#options.ledger.tell(this, 'has a network');
    this.#network.mend();
    this.#wake();
  }

  freeze(): void {
    this.#surroundings.freeze?.();
  }

  thaw(): void {
    this.#surroundings.thaw?.();
  }

  // --- what its user does -----------------------------------------------------------------------------------------

  create(): void {
    const { random } = this.#options;
    const field = random.pick(FIELDS);
    const value = this.#value();
    const draft = this.notes.create({ [field]: value });
    const edit = this.#edit(draft.id, field, value);
    this.#follow([edit], draft.update({}));
  }

  edit(): void {
    const draft = this.#any();
    if (!draft) return;
    const patch = this.#patch(FIELDS);
    const edits = Object.entries(patch).map(([field, value]) => this.#edit(draft.id, field, value));
    this.#follow(edits, draft.update(patch));
  }

  remove(): void {
    const draft = this.#any();
    if (draft) this.#remove(draft.id, () => draft.delete());
  }

  /** Decides one conflict or refusal. Returns whether there was any. */
  decide(): boolean {
    const { ledger, random } = this.#options;
    for (const { id, snapshot } of this.#inOrder()) {
      const [conflict] = snapshot.conflicts;
      if (conflict) {
        const choice = random.pick(['keepMine', 'keepTheirs', 'merge'] as const);
        ledger.decide(this, conflict, choice);
        if (choice === 'keepMine') this.#keepMine(id, conflict);
        else if (choice === 'merge') this.#merge(id, conflict);
        else conflict.keepTheirs();
        return true;
      }
      const [refusal] = snapshot.refusals;
      if (refusal) {
        ledger.decide(this, refusal, 'dismiss');
        refusal.dismiss();
        return true;
      }
    }
    return false;
  }

  #keepMine(draftId: string, conflict: Conflict<Note>): void {
    if (conflict.kind === 'delete') return this.#remove(draftId, () => conflict.keepMine());
    const { ledger } = this.#options;
    const values = Object.values(conflict.mine ?? {}) as string[];
    const edits = values.map((value) => ledger.edits.get(value)!);
    const at = ledger.tick();
    for (const edit of edits) Object.assign(edit, { seat: this, at });
    const decision = { seat: this, draftId, fields: conflict.fields.map((pointer) => pointer.slice(1)), at, storedAt: Infinity };
    ledger.decisions.push(decision);
    const change = conflict.keepMine();
    void change.stored.then(() => {
      decision.storedAt = ledger.tick();
    });
    this.#follow(edits, change);
  }

  #merge(draftId: string, conflict: Conflict<Note>): void {
    const patch = this.#patch(FIELDS);
    const edits = Object.entries(patch).map(([field, value]) => this.#edit(draftId, field, value));
    this.#follow(edits, conflict.merge(patch));
  }

  #remove(draftId: string, remove: () => Change): void {
    const { ledger } = this.#options;
    const removal = { seat: this, draftId, at: ledger.tick(), storedAt: Infinity };
    ledger.tell(this, `deletes ${ledger.number(draftId)}`);
    ledger.removals.push(removal);
    void remove().stored.then(() => {
      removal.storedAt = ledger.tick();
    });
  }

  /** Not by their ids, which are random: a seed picks the same ones again. */
  #inOrder(): Draft<Note>[] {
    const { ledger } = this.#options;
    return [...this.notes.list].sort((a, b) => ledger.number(a.id) - ledger.number(b.id));
  }

  #any(): Draft<Note> | undefined {
    return this.notes.list.length > 0 ? this.#options.random.pick(this.#inOrder()) : undefined;
  }

  /** At least one of the fields. */
  #patch(fields: readonly string[]): Record<string, string> {
    const { random } = this.#options;
    const chosen = fields.filter(() => random.chance(40));
    return Object.fromEntries((chosen.length > 0 ? chosen : [random.pick(fields)]).map((field) => [field, this.#value()]));
  }

  #value(): string {
    const { ledger, name } = this.#options;
    return `${name}-${ledger.nextValue()}`;
  }

  #edit(draftId: string, field: string, value: string): Edit {
    return this.#options.ledger.edit({ seat: this, draftId, field, value });
  }

  #follow(edits: readonly Edit[], change: Change): void {
    const { ledger } = this.#options;
    void change.stored.then(() => {
      for (const edit of edits) edit.storedAt = ledger.tick();
    });
    const followed: EditedChange = { edits, result: null };
    for (const edit of edits) edit.change = followed;
    change.acknowledged().then(() => {
      followed.result = 'acknowledged';
    }, ({ code }) => {
      if (code !== 'closed') followed.result = code === 'conflict' || code === 'not_found' ? code : 'other';
    });
  }

  // --- what its user sees -----------------------------------------------------------------------------------------

  #look(): void {
    const { ledger } = this.#options;
    for (const { id, snapshot } of this.notes.list) {
      const { conflicts, content, refusals } = snapshot;
      for (const shown of [...conflicts, ...refusals]) ledger.show(this, id, shown);
      for (const shown of [content, ...conflicts.map(({ theirs }) => theirs)]) {
        for (const value of Object.values(shown)) if (value && !this.knownSince.has(value)) this.knownSince.set(value, ledger.tick());
      }
      const before = this.#shown.get(id) ?? {};
      for (const [field, value] of Object.entries(before)) {
        const after = content[field];
        if (!value || value === after) continue;
        ledger.tell(this, `shows ${after} instead of ${value}`);
        ledger.replacements.push({ seat: this, draftId: id, field, before: value, after: after ?? '', isHeld: [value, after].some((each) => each && ledger.wasHeld(this.device, each)) });
      }
      this.#shown.set(id, content);
    }
  }
}

// The form of one order on one device: its fields, and what has to be decided about them.

import type { Conflict, Draft } from 'draftwire/drafts';
import { copy, highlight, part, say } from './dom.js';

export interface Order {
  title?: string;
  customer?: string;
  quantity?: number;
  note?: string;
}

type Field = keyof Order;
type Value = string | number | null;
type Input = HTMLInputElement | HTMLTextAreaElement;
type Choice = 'mine' | 'theirs';

/** What the buttons choose. */
const CHOICES: Record<string, Choice> = {
  'keep-mine': 'mine', 'take-theirs': 'theirs', 'delete-anyway': 'mine', 'keep-draft': 'theirs',
};

export class OrderForm {
  readonly #root: HTMLElement;
  readonly #inputs = new Map<Field, Input>();
  #draft: Draft<Order> | null = null;
  /** The field that the person is typing in. */
  #typing: Field | null = null;
  /** The field whose text another device has changed while the person was typing in it. */
  #overtaken: Field | null = null;
  /** Choices in conflicts of several fields, by conflict; one decision ends all of it. */
  readonly #choices = new Map<string, Map<Field, Choice>>();
  /** Whether what changes is this device's doing. */
  #acting = false;

  /** @param index of the device, for ids that the page has once */
  constructor(root: HTMLElement, index: number) {
    this.#root = root;
    for (const box of root.querySelectorAll<HTMLElement>('.field')) {
      const field = box.dataset['field'] as Field;
      const input = box.querySelector<Input>('input, textarea')!;
      input.id = `${field}-${index}`;
      box.querySelector('label')!.htmlFor = input.id;
      this.#inputs.set(field, input);
    }
    root.addEventListener('submit', (event) => event.preventDefault());
    root.addEventListener('input', ({ target }) => this.#type((target as Input).name as Field));
    root.addEventListener('focusout', () => {
      this.#typing = null;
    });
    root.addEventListener('click', ({ target }) => this.#click(target as HTMLElement));
  }

  /** Whether what changes is this device's doing. */
  get isActing(): boolean {
    return this.#acting;
  }

  focus(field: Field): void {
    this.#inputs.get(field)!.focus();
  }

  /** Shows a draft as it is now, or none. */
  show(draft: Draft<Order> | null): void {
    const isAnother = draft !== this.#draft;
    if (isAnother) this.#typing = this.#overtaken = null;
    this.#draft = draft;
    this.#root.hidden = !draft;
    if (!draft) return;
    for (const [field, input] of this.#inputs) this.#showField(draft, field, input, isAnother);
    this.#showDeletion(draft);
    say(part(this.#root, 'version'), String(draft.snapshot.version || '–'));
  }

  /** Does something to the draft in the name of this device. */
  act(action: () => void): void {
    this.#acting = true;
    try {
      action();
    } finally {
      this.#acting = false;
    }
  }

  // --- what the person does -----------------------------------------------------------------------------------------

  #type(field: Field): void {
    this.#typing = field;
    if (this.#overtaken !== field) this.#save(field);
  }

  /** Null removes a field. */
  #save(field: Field): void {
    this.act(() => this.#draft?.update({ [field]: valueOf(this.#inputs.get(field)!) }));
  }

  #click(target: HTMLElement): void {
    const choice = CHOICES[target.dataset['role'] ?? ''];
    const box = target.closest<HTMLElement>('.field');
    if (!choice) return;
    if (box) this.#choose(box.dataset['field'] as Field, choice);
    else this.act(() => decide(this.#deletion, choice));
  }

  #choose(field: Field, choice: Choice): void {
    const conflict = this.#draft && this.#openConflict(this.#draft, field);
    if (conflict) this.#chooseIn(conflict, field, choice);
    else this.#endOvertaking(choice);
    this.show(this.#draft);
    this.focus(field);
  }

  #chooseIn(conflict: Conflict<Order>, field: Field, choice: Choice): void {
    const choices = this.#choices.get(conflict.id) ?? new Map<Field, Choice>();
    this.#choices.set(conflict.id, choices.set(field, choice));
    const fields = fieldsOf(conflict);
    if (fields.some((each) => !choices.has(each))) return;
    this.#choices.delete(conflict.id);
    const mine = fields.filter((each) => choices.get(each) === 'mine');
    if (mine.length === 0 || mine.length === fields.length) return this.act(() => decide(conflict, choice));
    const patch = Object.fromEntries(mine.map((each) => [each, conflict.mine?.[each] ?? null]));
    this.act(() => conflict.merge(patch));
  }

  #endOvertaking(choice: Choice): void {
    const field = this.#overtaken;
    this.#overtaken = this.#typing = null;
    if (field && choice === 'mine') this.#save(field);
  }

  // --- what is shown ------------------------------------------------------------------------------------------------

  #showField(draft: Draft<Order>, field: Field, input: Input, isAnother: boolean): void {
    const box = input.closest<HTMLElement>('.field')!;
    const value = draft.content[field] ?? null;
    const conflict = this.#openConflict(draft, field);
    const differs = valueOf(input) !== value && !(value === null && input.value === '');
    if (conflict || !differs) {
      if (this.#overtaken === field) this.#overtaken = null;
    } else if (this.#typing === field && !this.#acting) {
      // Text is not replaced under the cursor.
      this.#overtaken = field;
    }
    if (differs && this.#overtaken !== field) {
      input.value = String(value ?? '');
      if (!isAnother && !this.#acting && !conflict) highlight(box);
    }
    const theirs = conflict ? conflict.theirs[field] : this.#overtaken === field ? value : undefined;
    this.#showConflict(box, input, conflict !== undefined || this.#overtaken === field, theirs ?? null);
  }

  #showConflict(root: HTMLElement, input: Input, isOne: boolean, theirs: Value): void {
    let box = part(root, 'conflict');
    if (!isOne) {
      box?.remove();
      input.removeAttribute('aria-describedby');
      return;
    }
    if (!box) {
      box = copy('conflict-template');
      box.id = `${input.id}-conflict`;
      root.append(box);
      input.setAttribute('aria-describedby', box.id);
    }
    say(part(box, 'theirs'), String(theirs ?? '') || '(empty)');
  }

  #showDeletion(draft: Draft<Order>): void {
    part(this.#root, 'deletion').hidden = !draft.snapshot.conflicts.some(isDeletion);
  }

  get #deletion(): Conflict<Order> | undefined {
    return this.#draft?.snapshot.conflicts.find(isDeletion);
  }

  /** The conflict of this field, unless the person has chosen and others of its fields are open. */
  #openConflict({ snapshot }: Draft<Order>, field: Field): Conflict<Order> | undefined {
    return snapshot.conflicts.find((conflict) => {
      return !isDeletion(conflict) && fieldsOf(conflict).includes(field) && !this.#choices.get(conflict.id)?.has(field);
    });
  }
}

function isDeletion({ kind }: Conflict<Order>): boolean {
  return kind === 'delete';
}

function decide(conflict: Conflict<Order> | undefined, choice: Choice): void {
  if (choice === 'mine') conflict?.keepMine();
  else conflict?.keepTheirs();
}

/** The fields of a conflict are JSON pointers; those of an order are flat. */
function fieldsOf({ fields }: Conflict<Order>): Field[] {
  return fields.map((pointer) => pointer.slice(1) as Field);
}

/** What an input holds, as the draft has it: numbers as numbers, an empty number as nothing, whole characters. */
function valueOf(input: Input): Value {
  if (input.type !== 'number') return input.value.toWellFormed();
  return input.value === '' ? null : Number(input.value);
}

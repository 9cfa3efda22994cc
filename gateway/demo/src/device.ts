// A device of the user: a client of its own, a list of orders, and the form of one of them.

import { Draftwire } from 'draftwire';
import { drafts, type Draft, type DraftCollection, type Refusal } from 'draftwire/drafts';
import { address, copy, highlight, part, say } from './dom.js';
import { watchedWebSocket } from './frames.js';
import { MessageLog } from './message_log.js';
import { OrderForm, type Order } from './order_form.js';
import { seqOf, Standing } from './states.js';
import type { Tokens } from './tokens.js';

export interface DeviceOptions {
  /** Its place on the page. */
  readonly index: number;
  readonly name: string;
  readonly shape: string;
  /** Names it to the server. */
  readonly id: string;
  readonly tokens: Tokens;
}

export class Device {
  readonly root = copy('device-template');
  readonly #dw: Draftwire;
  readonly #orders: DraftCollection<Order>;
  readonly #form: OrderForm;
  readonly #standing = new Standing(this.root);
  #selected: string | null = null;
  /** What the orders looked like, to see what another device changes; null before they are loaded. */
  #seen: Map<string, string> | null = null;

  constructor({ index, name, shape, id, tokens }: DeviceOptions) {
    const log = new MessageLog(this.root);
    Object.assign(this.root.dataset, { device: index, shape });
    this.root.setAttribute('aria-label', name);
    say(this.#part('name'), name);
    // Its store is its own, in memory: these are several devices, not tabs of one.
    this.#dw = new Draftwire(address(), {
      device: id,
      getToken: ({ stale }) => tokens.get(stale),
      connect: false,
      environment: { WebSocket: watchedWebSocket((frame) => log.add(frame)) },
      onError: (error) => this.#standing.notice(String(error)),
    });
    this.#orders = drafts<Order>(this.#dw, 'order');
    this.#form = new OrderForm(this.#part('form'), index);
    this.#dw.subscribe(() => this.#renderState());
    this.#orders.subscribe(() => this.#renderOrders());
    // It was out of sight.
    this.#orders.on('conflict', ({ kind }, { id }) => kind === 'delete' && this.#select(id));
    this.#orders.on('refused', (refusal, draft) => this.#standing.notice(inWords(refusal, draft)));
    this.#listenToPerson();
    this.#renderState();
  }

  /** Connects, unless the person has switched the device offline. */
  show(): void {
    if (this.#part<HTMLInputElement>('offline').checked) this.#dw.disconnect();
    else this.#dw.connect();
  }

  /** Ends the connection; the view can be shown again. */
  hide(): void {
    this.#dw.disconnect();
  }

  /** Ends everything. */
  close(): void {
    this.#dw.close();
    this.root.remove();
  }

  #listenToPerson(): void {
    this.#part('offline').addEventListener('change', () => this.show());
    this.#part('create').addEventListener('click', () => {
      this.#form.act(() => this.#select(this.#orders.create({ title: '' }).id));
      this.#form.focus('title');
    });
    this.#part('delete').addEventListener('click', () => {
      this.#form.act(() => this.#order?.delete());
    });
    this.#part('dismiss').addEventListener('click', () => {
      this.#standing.notice('');
      for (const { snapshot } of this.#orders.list) for (const refusal of snapshot.refusals) refusal.dismiss();
    });
    this.#part('draft-list').addEventListener('click', ({ target }) => {
      const item = (target as HTMLElement).closest('li');
      if (item) this.#select(item.dataset['draft']!);
    });
  }

  // --- showing ------------------------------------------------------------------------------------------------------

  get #order(): Draft<Order> | null {
    return (this.#selected !== null && this.#orders.get(this.#selected)) || null;
  }

  #select(id: string): void {
    this.#selected = id;
    this.#renderOrders();
  }

  #renderState(): void {
    const { state } = this.#dw;
    this.#standing.show(state.status, 'error' in state ? state.error : undefined, state, this.#orders.cursor);
    this.#renderOrders();
  }

  #renderOrders(): void {
    // Newest first.
    const orders = this.#orders.list.filter(isThere).reverse();
    if (!orders.some(({ id }) => id === this.#selected)) this.#selected = orders[0]?.id ?? null;
    const list = this.#part('draft-list');
    const known = new Map(Array.from(list.querySelectorAll('li'), (item) => [item.dataset['draft'], item]));
    const items = orders.map((order) => this.#renderItem(order, known.get(order.id) ?? (copy('draft-template') as HTMLLIElement)));
    // Moving an element takes the focus from it, so the list is touched only where its order differs.
    if (items.length !== list.children.length || items.some((item, i) => item !== list.children[i])) {
      list.replaceChildren(...items);
    }
    const { cursor } = this.#orders;
    if (cursor !== null) this.#seen = new Map(orders.map(({ id, content }) => [id, JSON.stringify(content)]));
    say(this.#part('seq'), cursor === null ? '–' : String(seqOf(cursor)));
    this.#part('empty').hidden = orders.length > 0;
    this.#form.show(this.#order);
    this.#renderSaved();
  }

  #renderItem(order: Draft<Order>, item: HTMLLIElement): HTMLElement {
    const { id, content } = order;
    item.dataset['draft'] = id;
    item.querySelector('button')!.ariaCurrent = id === this.#selected ? 'true' : null;
    say(part(item, 'draft-title'), content.title || 'Untitled order');
    say(part(item, 'draft-sub'), `${this.#remark(order)}${content.quantity === undefined ? '' : `${content.quantity} × `}${content.customer || 'no customer yet'}`);
    if (this.#seen && !this.#form.isActing && this.#seen.get(id) !== JSON.stringify(content)) highlight(item);
    return item;
  }

  #remark({ snapshot: { conflicts, pendingCount } }: Draft<Order>): string {
    if (conflicts.length > 0) return 'Conflict · ';
    return pendingCount > 0 && this.#dw.state.status !== 'live' ? 'Not sent · ' : '';
  }

  #renderSaved(): void {
    const order = this.#order;
    if (!order) return;
    const { conflicts, pendingCount } = order.snapshot;
    let text = 'Saved';
    if (conflicts.length > 0) text = 'Your choice, please';
    else if (pendingCount > 0) text = this.#dw.state.status === 'live' ? 'Saving…' : `${pendingCount} kept until online`;
    const saved = this.#part('saved');
    saved.dataset['saved'] = String(conflicts.length === 0 && pendingCount === 0);
    say(saved, text);
  }

  #part<Kind extends HTMLElement = HTMLElement>(role: string): Kind {
    return part<Kind>(this.root, role);
  }
}

/** An order that is gone, or could not be made, is only in its notice. */
function isThere({ snapshot: { deleted, refusals } }: Draft<Order>): boolean {
  return !deleted && !refusals.some(({ kind }) => kind === 'create');
}

function inWords({ kind, error, mine }: Refusal<Order>, { snapshot }: Draft<Order>): string {
  if (kind === 'delete') return `Not deleted (${error.code}): ${error.message}`;
  const values = Object.entries(mine ?? {}).map(([field, value]) => `${field} “${value ?? ''}”`).join(', ');
  if (snapshot.deleted) return `The draft is gone, deleted on another device. Your edits were not saved: ${values}`;
  return `Not ${kind === 'create' ? 'created' : 'saved'} (${error.code}): ${error.message}. Not kept: ${values}`;
}

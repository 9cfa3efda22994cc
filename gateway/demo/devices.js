// The drafts view: a few devices of one user on one screen, each with a connection of its own.

import { STATE_TEXT, address, caughtUp, copy, highlight, part } from './dom.js';
import { Draftwire } from './draftwire.js';
import { Drafts } from './drafts.js';
import { Tokens } from './token.js';

const DEVICES_MAX = 6;
const KNOWN = [{ name: 'Phone', shape: 'phone' }, { name: 'Laptop', shape: 'laptop' }];
const MESSAGES_MAX = 50;
const KIND = 'order';

class DeviceView {
  #client;
  #drafts;
  #selected = null;
  #messages = 0;

  constructor({ index, name, shape, id, tokens }) {
    this.root = copy('device-template');
    this.root.dataset.device = index;
    this.root.dataset.shape = shape;
    this.root.setAttribute('aria-label', name);
    this.#part('name').textContent = name;
    for (const field of this.root.querySelectorAll('.field')) {
      const input = field.querySelector('input, textarea');
      input.id = `${field.dataset.field}-${index}`;
      field.querySelector('label').htmlFor = input.id;
    }

    const url = address('ws/realtime');
    url.protocol = url.protocol.replace('http', 'ws');
    this.#client = new Draftwire({ url, device: id, getToken: (spent) => tokens.get(spent) });
    this.#drafts = new Drafts(this.#client);
    this.#listenToClient();
    this.#listenToDrafts();
    this.#listenToPerson();
    this.#renderAll();
  }

  /** Connects, unless the person has switched the device offline. */
  show() {
    if (!this.#part('offline').checked) this.#client.connect();
  }

  /** Ends the connection; the view can be taken off the page, or be shown again. */
  hide() {
    this.#client.disconnect();
  }

  // --- listening ------------------------------------------------------------------------------------

  #listenToClient() {
    const on = (name, act) => this.#client.addEventListener(name, ({ detail }) => act(detail));
    on('state', ({ state, reason }) => {
      const badge = this.#part('state');
      badge.textContent = STATE_TEXT[state];
      badge.title = reason ?? '';
      if (this.root.dataset.state === 'stopped') this.#part('notice').hidden = true;
      this.root.dataset.state = state;
      if (state !== 'live') this.#part('replayed').hidden = true;
      if (state === 'stopped') this.#notice(`Stopped: ${reason}. Switch offline and back to try again.`);
      this.#renderList(null);
      this.#renderSaved();
    });
    on('welcome', ({ node }) => {
      this.#part('node').textContent = node;
    });
    on('snapshot', () => this.#renderSeq());
    on('event', () => this.#renderSeq());
    on('synced', ({ resumed, replayed, snapshot }) => {
      const badge = this.#part('replayed');
      badge.hidden = !resumed;
      if (!resumed) return;
      badge.dataset.count = replayed;
      badge.textContent = snapshot ? 'caught up from a snapshot' : caughtUp(replayed);
    });
    on('refused', ({ code, message }) => this.#notice(`${code}: ${message}`));
    on('defect', ({ stream, message }) => this.#notice(`${stream}: ${message}`));
    on('frame', ({ direction, messages, at }) => {
      for (const message of messages) this.#log(direction, message, at);
    });
  }

  #listenToDrafts() {
    this.#drafts.addEventListener('change', ({ detail: { draftId, fields } }) => {
      this.#renderList(fields.length > 0 ? draftId : null);
      if (draftId === this.#selected) this.#renderForm(fields);
    });
    this.#drafts.addEventListener('notice', ({ detail }) => this.#notice(detail.text));
  }

  #listenToPerson() {
    this.#part('offline').addEventListener('change', ({ target }) => {
      if (target.checked) this.#client.disconnect();
      else this.#client.connect();
    });
    this.#part('create').addEventListener('click', () => {
      this.#select(this.#drafts.create(KIND, { title: '' }));
      this.#input('title').focus();
    });
    this.#part('delete').addEventListener('click', () => this.#drafts.remove(this.#selected));
    this.#part('dismiss').addEventListener('click', () => {
      this.#part('notice').hidden = true;
    });
    this.#part('draft-list').addEventListener('click', ({ target }) => {
      const item = target.closest('li');
      if (item) this.#select(item.dataset.draft);
    });
    const form = this.#part('form');
    form.addEventListener('submit', (event) => event.preventDefault());
    form.addEventListener('input', ({ target }) => {
      this.#drafts.hold(this.#selected, target.name);
      this.#drafts.edit(this.#selected, target.name, valueOf(target));
    });
    form.addEventListener('focusout', () => this.#drafts.release(this.#selected));
    form.addEventListener('click', ({ target }) => {
      const choice = { 'keep-mine': 'mine', 'take-theirs': 'theirs' }[target.dataset.role];
      if (!choice) return;
      const { field } = target.closest('.field').dataset;
      this.#drafts.resolve(this.#selected, field, choice);
      this.#input(field).focus();
    });
  }

  // --- showing --------------------------------------------------------------------------------------

  #select(draftId) {
    if (this.#selected) this.#drafts.release(this.#selected);
    this.#selected = draftId;
    this.#renderAll();
  }

  #renderAll() {
    this.#renderList(null);
    this.#renderForm([]);
    this.#renderSeq();
  }

  #renderSeq() {
    this.#part('seq').textContent = this.#client.epoch === null ? '–' : this.#client.seq;
  }

  /** @param {?string} touched the draft that another device has just changed */
  #renderList(touched) {
    const drafts = this.#drafts.list();
    if (!drafts.some(({ draftId }) => draftId === this.#selected)) {
      this.#selected = drafts[0]?.draftId ?? null;
      this.#renderForm([]);
    }
    const list = this.#part('draft-list');
    const known = new Map(Array.from(list.children, (item) => [item.dataset.draft, item]));
    const items = drafts.map((draft) => {
      const item = known.get(draft.draftId) ?? copy('draft-template');
      item.dataset.draft = draft.draftId;
      item.dataset.version = draft.version;
      item.querySelector('button').ariaCurrent = draft.draftId === this.#selected ? 'true' : null;
      part(item, 'draft-title').textContent = draft.content.title || 'Untitled order';
      part(item, 'draft-sub').textContent = subtitle(draft, this.#client.state);
      if (draft.draftId === touched) highlight(item);
      return item;
    });
    // Moving a node takes the focus from it, so the list is touched only where its order differs.
    if (items.length !== list.children.length || items.some((item, i) => item !== list.children[i])) {
      list.replaceChildren(...items);
    }
    this.#part('empty').hidden = drafts.length > 0;
  }

  /** @param {string[]} fields what another device has just changed */
  #renderForm(fields) {
    const draft = this.#selected && this.#drafts.get(this.#selected);
    this.#part('form').hidden = !draft;
    if (!draft) return;
    for (const field of this.root.querySelectorAll('.field')) {
      const { field: name } = field.dataset;
      const input = this.#input(name);
      const value = draft.content[name] ?? null;
      // Setting an equal value would still move the caret.
      if (valueOf(input) !== value && !(value === null && input.value === '')) input.value = value ?? '';
      const conflict = draft.conflicts[name];
      this.#renderConflict(field, input, conflict);
      if (fields.includes(name) && !conflict) highlight(field);
    }
    this.#part('version').textContent = draft.version || '–';
    this.#renderSaved();
  }

  #renderConflict(field, input, conflict) {
    let box = part(field, 'conflict');
    if (!conflict) {
      box?.remove();
      input.removeAttribute('aria-describedby');
      return;
    }
    if (!box) {
      box = copy('conflict-template');
      box.id = `${input.id}-conflict`;
      field.append(box);
      input.setAttribute('aria-describedby', box.id);
    }
    const text = String(conflict.theirs ?? '') || '(empty)';
    if (part(box, 'theirs').textContent !== text) part(box, 'theirs').textContent = text;
  }

  #renderSaved() {
    const draft = this.#selected && this.#drafts.get(this.#selected);
    if (!draft) return;
    const conflicts = Object.keys(draft.conflicts).length;
    let text = 'Saved';
    if (conflicts > 0) text = 'Your choice, please';
    else if (draft.unsent > 0) text = this.#client.state === 'live' ? 'Saving…' : `${draft.unsent} kept until online`;
    const saved = this.#part('saved');
    saved.dataset.saved = String(conflicts === 0 && draft.unsent === 0);
    if (saved.textContent !== text) saved.textContent = text;
  }

  #notice(text) {
    this.#part('notice-text').textContent = text;
    this.#part('notice').hidden = false;
  }

  #log(direction, message, at) {
    const { type, seq, code, payload } = message;
    const row = document.createElement('li');
    row.dataset.direction = direction;
    const time = new Date(at).toLocaleTimeString([], { hour12: false });
    const way = direction === 'in' ? '↓' : '↑';
    // What tells most comes first: the line is cut where the panel ends. The title has all of it.
    const { draftId, ...rest } = payload ?? {};
    const said = [code, Object.keys(rest).length > 0 && JSON.stringify(rest)].filter(Boolean).join(' ');
    const parts = { time, way, type, seq: seq ?? '', rest: said };
    row.title = JSON.stringify(message);
    for (const [name, text] of Object.entries(parts)) {
      const span = document.createElement('span');
      span.className = name;
      span.textContent = text;
      row.append(span);
    }
    const log = this.#part('log');
    log.prepend(row);
    if (log.children.length > MESSAGES_MAX) log.lastElementChild.remove();
    this.#messages += 1;
    this.#part('log-count').textContent = this.#messages;
  }

  #part(role) {
    return part(this.root, role);
  }

  #input(name) {
    return this.root.querySelector(`[name="${name}"]`);
  }
}

/** What an input holds, as the draft stores it: numbers as numbers, an empty number as nothing. */
function valueOf(input) {
  if (input.type !== 'number') return input.value;
  return input.value === '' ? null : Number(input.value);
}

function subtitle({ content, unsent, conflicts }, state) {
  let status = '';
  if (Object.keys(conflicts).length > 0) status = 'Conflict · ';
  else if (unsent > 0 && state !== 'live') status = 'Not sent · ';
  const quantity = content.quantity === undefined ? '' : `${content.quantity} × `;
  return `${status}${quantity}${content.customer || 'no customer yet'}`;
}

/** The devices, as long as the view is shown. */
export class DevicesView {
  #root;
  #tokens;
  #tab;
  #made = 0;
  #devices = new Set();

  /** @param {{ root: HTMLElement, user: string, tab: string, panel: TokenPanel }} options */
  constructor({ root, user, tab, panel }) {
    this.#root = root;
    this.#tab = tab;
    this.#tokens = new Tokens({ user, panel });
    KNOWN.forEach(() => this.#add());
    part(root, 'add-device').addEventListener('click', () => this.#add().show());
  }

  show() {
    for (const device of this.#devices) device.show();
  }

  hide() {
    for (const device of this.#devices) device.hide();
  }

  #add() {
    const index = this.#made++;
    const { name, shape } = KNOWN[index] ?? { name: `Phone ${index}`, shape: 'phone' };
    const view = new DeviceView({ index, name, shape, id: `${shape}-${index}-${this.#tab}`, tokens: this.#tokens });
    this.#devices.add(view);
    // On a small screen the devices themselves are what one wants to see.
    view.root.querySelector('.log').open = matchMedia('(min-width: 60rem)').matches;
    const stage = part(this.#root, 'stage');
    const addButton = part(this.#root, 'add-device');
    const remove = part(view.root, 'remove-device');
    remove.hidden = index < KNOWN.length;
    remove.addEventListener('click', () => {
      view.hide();
      view.root.remove();
      this.#devices.delete(view);
      addButton.disabled = false;
    });
    stage.append(view.root);
    addButton.disabled = stage.children.length >= DEVICES_MAX;
    return view;
  }
}

// The drafts view: a few devices of one user on one screen, each with a connection of its own.

import { Device } from './device.js';
import { part } from './dom.js';
import { Tokens, type TokenPanel } from './tokens.js';

const DEVICES_MAX = 6;
const KNOWN = [{ name: 'Phone', shape: 'phone' }, { name: 'Laptop', shape: 'laptop' }];

/** What a view is made of. */
export interface ViewOptions {
  readonly root: HTMLElement;
  readonly user: string;
  /** Names this tab among those of the browser. */
  readonly tab: string;
  readonly panel: TokenPanel;
}

export class DraftsView {
  readonly #root: HTMLElement;
  readonly #tab: string;
  readonly #tokens: Tokens;
  readonly #devices = new Set<Device>();
  #made = 0;
  #shown = false;

  constructor({ root, user, tab, panel }: ViewOptions) {
    this.#root = root;
    this.#tab = tab;
    this.#tokens = new Tokens(user, '', panel);
    KNOWN.forEach(() => this.#add());
    part(root, 'add-device').addEventListener('click', () => this.#add().show());
    panel.onToken(() => {
      if (this.#shown) this.show();
    });
  }

  show(): void {
    this.#shown = true;
    for (const device of this.#devices) device.show();
  }

  hide(): void {
    this.#shown = false;
    for (const device of this.#devices) device.hide();
  }

  #add(): Device {
    const index = this.#made++;
    const { name, shape } = KNOWN[index] ?? { name: `Phone ${index}`, shape: 'phone' };
    const device = new Device({ index, name, shape, id: `${shape}-${index}-${this.#tab}`, tokens: this.#tokens });
    this.#devices.add(device);
    // On a small screen the devices themselves are what one wants to see.
    device.root.querySelector('details')!.open = matchMedia('(min-width: 60rem)').matches;
    const stage = part(this.#root, 'stage');
    const addButton = part<HTMLButtonElement>(this.#root, 'add-device');
    const remove = part(device.root, 'remove-device');
    remove.hidden = index < KNOWN.length;
    remove.addEventListener('click', () => {
      device.close();
      this.#devices.delete(device);
      addButton.disabled = false;
    });
    stage.append(device.root);
    addButton.disabled = stage.children.length >= DEVICES_MAX;
    return device;
  }
}

// The demo page: who is here, and which of its views is shown.

import { part, randomId } from './dom.js';
import { DraftsView, type ViewOptions } from './drafts_view.js';
import { MatchView } from './match_view.js';
import { TokenPanel } from './tokens.js';

interface View {
  show(): void;
  hide(): void;
}

/** By the address after `#`; the first is shown when it names none. */
const VIEWS: Record<string, new (options: ViewOptions) => View> = { drafts: DraftsView, match: MatchView };

function remembered(storage: Storage, key: string, make: () => string): string {
  const value = storage.getItem(key) ?? make();
  storage.setItem(key, value);
  return value;
}

const asked = new URLSearchParams(location.search).get('user')?.trim();
if (asked) localStorage.setItem('draftwire.user', asked);
const user = remembered(localStorage, 'draftwire.user', () => `guest-${randomId().slice(0, 6)}`);
document.querySelector<HTMLInputElement>('#user')!.value = user;

// Two tabs are two sets of devices, and a tab keeps its devices when it is loaded again.
const tab = remembered(sessionStorage, 'draftwire.tab', () => randomId().slice(0, 8));
const panel = new TokenPanel(part(document, 'token-panel'));
const sections = Array.from(document.querySelectorAll<HTMLElement>('[data-view]'));
const views = new Map<string, View>();
let shown = '';

/** Shows the view that the address names. Only what is shown is connected. */
function show(): void {
  const wanted = location.hash.slice(1);
  const name = Object.hasOwn(VIEWS, wanted) ? wanted : Object.keys(VIEWS)[0]!;
  if (name === shown) return;
  views.get(shown)?.hide();
  shown = name;
  for (const section of sections) section.hidden = section.dataset['view'] !== name;
  for (const link of document.querySelectorAll<HTMLAnchorElement>('.views a')) {
    link.ariaCurrent = link.hash === `#${name}` ? 'page' : null;
  }
  // Another user sees the same view.
  document.querySelector<HTMLFormElement>('.user')!.action = `#${name}`;
  const root = sections.find((section) => section.dataset['view'] === name)!;
  document.title = `Draftwire: ${root.dataset['title']}`;
  let view = views.get(name);
  if (!view) views.set(name, (view = new VIEWS[name]!({ root, user, tab, panel })));
  view.show();
}

addEventListener('hashchange', show);
show();

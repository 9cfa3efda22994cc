// The demo page: who is here, and which of its views is shown.

import { DevicesView } from './devices.js';
import { part } from './dom.js';
import { randomId } from './draftwire.js';
import { MatchView } from './match.js';
import { TokenPanel } from './token.js';

/** By the address after `#`; the first is shown when it names none. */
const VIEWS = { drafts: DevicesView, match: MatchView };

function remembered(storage, key, make) {
  const value = storage.getItem(key) ?? make();
  storage.setItem(key, value);
  return value;
}

const asked = new URLSearchParams(location.search).get('user')?.trim();
if (asked) localStorage.setItem('draftwire.user', asked);
const user = remembered(localStorage, 'draftwire.user', () => `guest-${randomId().slice(0, 6)}`);
document.getElementById('user').value = user;

// Two tabs are two sets of devices, and a tab keeps its devices when it is loaded again.
const tab = remembered(sessionStorage, 'draftwire.tab', () => randomId().slice(0, 8));
const panel = new TokenPanel(part(document, 'token-panel'));
const sections = Array.from(document.querySelectorAll('[data-view]'));
const views = new Map();
let shown = null;

/** Shows the view that the address names. Only what is shown is connected. */
function show() {
  const wanted = location.hash.slice(1);
  const name = Object.hasOwn(VIEWS, wanted) ? wanted : Object.keys(VIEWS)[0];
  if (name === shown) return;
  views.get(shown)?.hide();
  shown = name;
  for (const section of sections) section.hidden = section.dataset.view !== name;
  for (const link of document.querySelectorAll('.views a')) {
    link.ariaCurrent = link.hash === `#${name}` ? 'page' : null;
  }
  // Another user sees the same view.
  document.querySelector('.user').action = `#${name}`;
  const root = sections.find((section) => section.dataset.view === name);
  document.title = `Draftwire: ${root.dataset.title}`;
  if (!views.has(name)) views.set(name, new VIEWS[name]({ root, user, tab, panel }));
  views.get(name).show();
}

addEventListener('hashchange', show);
show();

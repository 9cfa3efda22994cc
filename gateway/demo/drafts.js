// Drafts as a person edits them: what the server confirmed, with this device's own edits on top.
//
// An edit shows at once and is sent when the connection is live. Each field of it remembers the
// version that the person saw when beginning to type; the server merges by field against that, so an
// edit made offline never silently overwrites what another device did meanwhile. Where both changed
// the same field, both values are kept until the person chooses.
//
// Contents are treated as flat: one edit is one member of the content, a string, number or boolean;
// null removes it. Nothing is stored: edits that were not sent end with the page.

import { applyPatch } from './merge.js';
import { DraftwireError, randomId, wellFormed } from './draftwire.js';

/** Edits are collected this long, so that typing is one change per moment and not one per key. */
const COLLECT_MS = 250;

/**
 * Emits:
 *   change  { draftId, fields }              a draft is new, gone or shows something else. `fields` were
 *                                            changed by another device
 *   notice  { draftId, text }                something that the person has to know
 */
export class Drafts extends EventTarget {
  #client;
  /** draftId to its record; see #record. */
  #records = new Map();
  #timers = new Map();

  constructor(client) {
    super();
    this.#client = client;
    client.addEventListener('snapshot', ({ detail }) => this.#replace(detail));
    client.addEventListener('event', ({ detail }) => this.#apply(detail));
    client.addEventListener('state', ({ detail }) => {
      if (detail.state === 'live') for (const id of this.#records.keys()) this.#flush(id);
    });
  }

  /** All drafts, newest first. */
  list() {
    return Array.from(this.#records.keys(), (id) => this.get(id))
      .filter(Boolean)
      .sort((a, b) => (a.draftId < b.draftId ? 1 : -1));
  }

  /** One draft as the person sees it, or null. `unsent` counts the edits that no server has yet. */
  get(draftId) {
    const record = this.#records.get(draftId);
    if (!record || record.removed) return null;
    const conflicts = {};
    for (const [field, conflict] of record.conflicts) {
      conflicts[field] = { mine: conflict.mine, theirs: theirs(record, field, conflict) };
    }
    return {
      draftId,
      kind: record.kind,
      version: record.version,
      content: shown(record),
      conflicts,
      unsent: record.edits.size + Object.keys(record.flight?.fields ?? {}).length + (record.version ? 0 : 1),
    };
  }

  /** Makes a draft. It shows at once, with version 0 until the server has it. */
  create(kind, content) {
    content = wellFormed(content);
    // Ids that begin with the time sort by age.
    const draftId = `d-${Date.now().toString(36)}-${randomId().slice(0, 8)}`;
    const record = this.#record(draftId, { version: 0, kind, content });
    record.wanted = { kind, content };
    this.#changed(draftId);
    this.#flush(draftId);
    return draftId;
  }

  /** Sets one field to what the person typed. */
  edit(draftId, field, value) {
    // What is compared with the server's word must be what the server is sent.
    value = wellFormed(value);
    const record = this.#records.get(draftId);
    if (!record || record.removed) return;
    const conflict = record.conflicts.get(field);
    if (conflict) {
      conflict.mine = value;
      if (same(value, theirs(record, field, conflict))) record.conflicts.delete(field);
    } else {
      const began = record.edits.get(field);
      record.edits.set(field, { value, base: began?.base ?? seenVersion(record, field) });
      this.#flushSoon(draftId);
    }
    this.#changed(draftId);
  }

  /** Says that the person is in the middle of typing in a field: another device's change of it is then
   *  offered as a conflict instead of replacing the text under the cursor. */
  hold(draftId, field) {
    const record = this.#records.get(draftId);
    if (record) record.held = field;
  }

  /** The person has left the field. */
  release(draftId) {
    const record = this.#records.get(draftId);
    if (record) record.held = null;
  }

  /** Ends a conflict. @param {'mine'|'theirs'} choice */
  resolve(draftId, field, choice) {
    const record = this.#records.get(draftId);
    const conflict = record?.conflicts.get(field);
    if (!conflict) return;
    record.conflicts.delete(field);
    if (choice === 'mine') {
      record.edits.set(field, { value: conflict.mine, base: Math.max(record.version, conflict.version) });
      this.#flush(draftId);
    }
    this.#changed(draftId);
  }

  /** Deletes a draft, unless another device has changed it in a way not seen here. */
  remove(draftId) {
    const record = this.#records.get(draftId);
    if (!record || record.removed) return;
    // Changes of this device that are accepted, but whose events are on the way, were seen as well.
    let base = record.version;
    while (Object.values(record.ownVersions).includes(base + 1)) base += 1;
    record.removed = { base, done: false };
    record.edits.clear();
    record.conflicts.clear();
    this.#changed(draftId);
    this.#flush(draftId);
  }

  // --- what the server says -------------------------------------------------------------------------

  #replace({ drafts, reset }) {
    const before = this.#records;
    this.#records = new Map();
    for (const draft of drafts) {
      const known = before.get(draft.draftId);
      const record = this.#record(draft.draftId, draft);
      if (!known) continue;
      record.held = known.held;
      if (reset) {
        // Versions of the old history prove nothing in the new one: ask, rather than guess.
        keepAsConflicts(known, record);
      } else {
        const { landed, flight, edits, conflicts, wanted, removed, ownVersions } = known;
        Object.assign(record, { landed, flight, edits, conflicts, wanted, removed, ownVersions });
      }
    }
    for (const [draftId, record] of before) {
      if (this.#records.has(draftId)) continue;
      if (record.wanted) {
        // Not confirmed yet, so still to be made.
        this.#records.set(draftId, record);
        if (reset) record.flight = null;
      } else {
        this.#reportLoss(draftId, record);
      }
    }
    for (const draftId of new Set([...before.keys(), ...this.#records.keys()])) this.#changed(draftId);
  }

  #apply({ type, origin, payload }) {
    // What backends send to the user comes on the same stream, and holds whatever they like.
    const { draftId, version } = payload ?? {};
    const record = this.#records.get(draftId);
    const foreign = origin !== this.#client.device;
    if (type === 'DRAFT_DELETED') {
      if (!record) return;
      this.#records.delete(draftId);
      if (foreign) this.#reportLoss(draftId, record);
      this.#changed(draftId);
    } else if (type === 'DRAFT_CREATED') {
      const confirmed = record ?? this.#record(draftId, {});
      Object.assign(confirmed, { version, kind: payload.kind, content: payload.content, wanted: null });
      this.#changed(draftId, foreign ? Object.keys(payload.content) : []);
    } else if (type === 'DRAFT_UPDATED' && record) {
      const before = shown(record);
      const typedOver = foreign && record.held !== null && Object.hasOwn(payload.patch, record.held);
      record.content = applyPatch(record.content, payload.patch);
      record.version = version;
      const after = shown(record);
      const fields = Object.keys(payload.patch).filter((field) => !same(before[field], after[field]));
      if (typedOver && fields.includes(record.held)) {
        record.conflicts.set(record.held, { mine: before[record.held] ?? null, version });
      }
      this.#changed(draftId, foreign ? fields : []);
    }
  }

  // --- what this device wants -----------------------------------------------------------------------

  #flushSoon(draftId) {
    if (this.#timers.has(draftId)) return;
    this.#timers.set(draftId, setTimeout(() => this.#flush(draftId), COLLECT_MS));
  }

  /** Sends what is next for a draft. One command at a time: the base of the second would have to be the
   *  version that the first makes. */
  #flush(draftId) {
    clearTimeout(this.#timers.get(draftId));
    this.#timers.delete(draftId);
    const record = this.#records.get(draftId);
    if (!record || record.flight || this.#client.state !== 'live') return;
    if (record.wanted) {
      this.#fly(draftId, record, { type: 'DRAFT_CREATE', fields: {} }, { draftId, ...record.wanted });
    } else if (record.removed) {
      if (record.removed.done) return;
      const payload = { draftId, baseVersion: record.removed.base };
      this.#fly(draftId, record, { type: 'DRAFT_DELETE', fields: {} }, payload);
    } else if (record.edits.size > 0) {
      // Edits begun on different versions go one after the other, oldest first: put together they
      // would have to claim the oldest base, and meet conflicts that are none.
      const base = Math.min(...Array.from(record.edits.values(), (edit) => edit.base));
      const fields = {};
      for (const [field, edit] of record.edits) {
        if (edit.base !== base) continue;
        fields[field] = edit.value;
        record.edits.delete(field);
      }
      const payload = { draftId, baseVersion: base, patch: fields };
      this.#fly(draftId, record, { type: 'DRAFT_UPDATE', fields, base }, payload);
    }
  }

  async #fly(draftId, record, flight, payload) {
    record.flight = flight;
    // A snapshot puts another record in place and takes the flight along, or drops it.
    const current = () => {
      const now = this.#records.get(draftId);
      return now?.flight === flight ? now : null;
    };
    try {
      const { payload: answer } = await this.#client.send(flight.type, payload);
      const now = current();
      if (!now) return;
      now.flight = null;
      this.#landed(now, flight, answer.version);
    } catch (error) {
      if (!(error instanceof DraftwireError)) throw error;
      const now = current();
      if (!now) return;
      now.flight = null;
      this.#refused(draftId, now, flight, error);
    }
    this.#changed(draftId);
    this.#flush(draftId);
  }

  #landed(record, flight, version) {
    if (flight.type === 'DRAFT_CREATE') {
      record.wanted = null;
      record.version = Math.max(record.version, version);
      for (const edit of record.edits.values()) edit.base = Math.max(edit.base, version);
      if (record.removed) record.removed.base = Math.max(record.removed.base, version);
    }
    if (flight.type === 'DRAFT_DELETE') record.removed.done = true;
    if (flight.type !== 'DRAFT_UPDATE') return;
    if (record.removed?.base === version - 1) record.removed.base = version;
    for (const [field, value] of Object.entries(flight.fields)) {
      record.ownVersions[field] = version;
      // Shown until the event, which may come after the answer, makes it part of the content.
      record.landed.set(field, { value, version });
      // Typed on since: those edits were made on top of what has just been accepted.
      const edit = record.edits.get(field);
      if (edit) edit.base = Math.max(edit.base, version);
    }
  }

  #refused(draftId, record, flight, { code, message, payload }) {
    const gone = code === 'not_found' || (code === 'conflict' && !payload?.draft);
    if (flight.type === 'DRAFT_UPDATE' && code === 'conflict' && !gone) {
      const named = new Set(payload.fields.filter(Boolean).map(firstToken));
      for (const [field, value] of Object.entries(flight.fields)) {
        const later = record.edits.get(field);
        if (named.size === 0 || named.has(field)) {
          record.edits.delete(field);
          const { content, version } = payload.draft;
          record.conflicts.set(field, { mine: later?.value ?? value, theirs: content[field] ?? null, version });
        } else if (!later) {
          // Refused only for the company it was in.
          record.edits.set(field, { value, base: flight.base });
        }
      }
      return;
    }
    if (flight.type === 'DRAFT_DELETE') {
      if (gone) {
        record.removed.done = true;
        return;
      }
      record.removed = null;
      this.#notice(draftId, code === 'conflict' ? 'Not deleted: another device has changed it.' : message);
      return;
    }
    if (flight.type === 'DRAFT_UPDATE' && !gone) {
      // Only what was sent is refused. What was typed meanwhile is sent next.
      const values = Object.keys(flight.fields).join(', ');
      this.#notice(draftId, `Not saved (${code}): ${values}. ${message}`);
      return;
    }
    if (flight.type === 'DRAFT_CREATE') this.#records.delete(draftId);
    if (gone) {
      this.#reportLoss(draftId, { ...record, flight });
    } else {
      const lost = Object.keys({ ...record.wanted?.content, ...fromMap(record.edits, 'value') }).join(', ');
      this.#notice(draftId, `Not created (${code}): ${message}${lost && `. Not saved: ${lost}`}`);
    }
    record.edits.clear();
  }

  // --- records --------------------------------------------------------------------------------------

  #record(draftId, { version = 0, kind = 'draft', content = {} }) {
    const record = {
      // What the server confirmed.
      version,
      kind,
      content,
      // What this device wants beyond that. Shown in this order, the later on top.
      landed: new Map(), // field to { value, version }: accepted, its event is on the way
      flight: null, // { type, fields, base }: sent, no answer yet
      edits: new Map(), // field to { value, base }: not sent
      conflicts: new Map(), // field to { mine, theirs?, version }: the person has to choose
      wanted: null, // { kind, content } until the server has confirmed the draft
      removed: null, // { base, done } once the person has deleted it; done: the server knows
      ownVersions: {}, // field to the version of this device's last accepted change of it
      held: null, // the field that the person is typing in
    };
    this.#records.set(draftId, record);
    return record;
  }

  #reportLoss(draftId, record) {
    const lost = { ...record.flight?.fields, ...fromMap(record.edits, 'value'), ...fromMap(record.conflicts, 'mine') };
    if (record.removed || Object.keys(lost).length === 0) return;
    const values = Object.entries(lost).map(([field, value]) => `${field} “${value ?? ''}”`);
    this.#notice(draftId, `The draft is gone, deleted on another device. Your edits were not saved: ${values.join(', ')}`);
  }

  #changed(draftId, fields = []) {
    this.dispatchEvent(new CustomEvent('change', { detail: { draftId, fields } }));
  }

  #notice(draftId, text) {
    this.dispatchEvent(new CustomEvent('notice', { detail: { draftId, text } }));
  }
}

function shown(record) {
  const landed = new Map([...record.landed].filter(([, { version }]) => version > record.version));
  record.landed = landed;
  return applyPatch(record.content, {
    ...fromMap(landed, 'value'),
    ...record.flight?.fields,
    ...fromMap(record.edits, 'value'),
    ...fromMap(record.conflicts, 'mine'),
  });
}

/** The version of a field that the person has before their eyes. */
function seenVersion(record, field) {
  return Math.max(record.version, record.ownVersions[field] ?? 0);
}

/** The other device's value: from the stream once that has come so far, else from the refusal. */
function theirs(record, field, conflict) {
  if (record.version >= conflict.version) return record.content[field] ?? null;
  return conflict.theirs ?? null;
}

function keepAsConflicts(known, record) {
  const mine = { ...known.flight?.fields, ...fromMap(known.edits, 'value'), ...fromMap(known.conflicts, 'mine') };
  for (const [field, value] of Object.entries(mine)) {
    if (!same(value, record.content[field])) {
      record.conflicts.set(field, { mine: value, version: record.version });
    }
  }
}

function fromMap(map, member) {
  return Object.fromEntries(Array.from(map, ([field, entry]) => [field, entry[member]]));
}

/** Null and absent are the same to a merge patch. */
function same(a, b) {
  return (a ?? null) === (b ?? null);
}

/** The member of the content that a JSON pointer (RFC 6901) leads into. */
function firstToken(pointer) {
  return pointer.split('/')[1].replaceAll('~1', '/').replaceAll('~0', '~');
}

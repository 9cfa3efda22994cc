// A draft as the user sees it. Pure.

import type { DraftStatus } from './api.js';
import type { DraftState } from './index_by_draft.js';
import { applyPatch, type JsonObject } from './merge.js';
import { applyAll, theirsOf, type DraftCommand, type OutcomeRecord } from './records.js';

export interface DraftView {
  readonly kind: string;
  readonly version: number;
  readonly content: JsonObject;
  readonly status: DraftStatus;
  /** The user has deleted it; the server may not know yet. */
  readonly hidden: boolean;
  /** It is gone on the server. */
  readonly deleted: boolean;
  readonly updatedAt: number;
  readonly pendingCount: number;
  /** What is on top of what the server has. */
  readonly commands: readonly DraftCommand[];
  readonly conflicts: readonly OutcomeRecord[];
  readonly refusals: readonly OutcomeRecord[];
}

/** Null where there is no such draft. */
export function viewOf({ draft, commands, outcomes, committed }: DraftState): DraftView | null {
  // The other value may have changed since: who decides has to see the present one.
  const conflicts = outcomes
    .filter(({ result }) => result === 'conflict')
    .map((outcome): OutcomeRecord => ({ ...outcome, theirs: theirsOf(draft, outcome) }));
  const refusals = outcomes.filter(({ result }) => result === 'refused');
  let kind = draft?.kind ?? outcomes[0]?.kind;
  // A creation that was refused shows what could not be made.
  let content = draft?.content ?? refusals.find(({ change }) => change === 'create')?.patches[0] ?? {};
  let hidden = false;
  for (const command of commands) {
    kind ??= command.kind;
    if (command.type === 'DRAFT_CREATE') {
      if (!draft) content = command.payload.content;
    } else if (command.type === 'DRAFT_UPDATE') {
      content = applyPatch(content, command.payload.patch);
    } else {
      hidden = true;
    }
  }
  if (kind === undefined) return null;
  for (const { patches } of conflicts) content = applyAll(content, patches);
  const pendingCount = commands.filter(({ landed }) => landed === undefined).length;
  return {
    kind,
    version: draft?.version ?? 0,
    content,
    status: statusOf(conflicts.length, refusals.length, pendingCount, committed),
    hidden,
    deleted: draft?.gone ?? false,
    updatedAt: draft?.updatedAt ?? 0,
    pendingCount,
    commands,
    conflicts,
    refusals,
  };
}

function statusOf(conflicts: number, refusals: number, pending: number, committed: boolean): DraftStatus {
  if (conflicts > 0) return 'conflict';
  if (refusals > 0) return 'refused';
  if (!committed) return 'saving';
  return pending > 0 ? 'pending' : 'synced';
}

import type { Member, Presence } from '../api.js';
import type { StreamMessage } from '../protocol.js';

/** What comes about who is present. The whole state, or one who comes or goes. */
export type PresenceMessage = Extract<StreamMessage, { type: 'PRESENCE' | 'JOIN' | 'LEAVE' }>;

export function isPresence(message: { readonly type: string }): message is PresenceMessage {
  return ['PRESENCE', 'JOIN', 'LEAVE'].includes(message.type);
}

/** Who is present after a message. */
export function nextPresence(before: Presence | null | undefined, { type, payload }: PresenceMessage): Presence {
  const { users, devices, members, ...member } = payload as Partial<Presence> & Presence & Member;
  if (type === 'PRESENCE') return { members: members ?? null, users, devices };
  const others = before?.members?.filter(({ userId, device }) => userId !== member.userId || device !== member.device);
  return { members: (type === 'JOIN' && others ? [...others, member] : others) ?? null, users, devices };
}

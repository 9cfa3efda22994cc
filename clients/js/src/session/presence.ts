import type { Member, Presence } from '../api.js';
import type { StreamMessage } from '../protocol.js';

/** Who is present after a message, one of PRESENCE, JOIN and LEAVE. */
export function nextPresence(before: Presence | null, message: Extract<StreamMessage, { type: 'PRESENCE' | 'JOIN' | 'LEAVE' }>): Presence {
  const { users, devices } = message.payload;
  if (message.type === 'PRESENCE') return { members: message.payload.members ?? null, users, devices };
  const { userId, device } = message.payload;
  const members = before?.members?.filter((member) => member.userId !== userId || member.device !== device) ?? null;
  const member: Member = userId === undefined ? { device } : { userId, device };
  return { members: members && message.type === 'JOIN' ? [...members, member] : members, users, devices };
}

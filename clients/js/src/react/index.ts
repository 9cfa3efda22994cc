// React 18 and 19: what a client knows, as hooks.

// For frameworks with server components: what is here has state, so it belongs to pages.
'use client';

export { useConnection, type Connection } from './connection.js';
export { useDraft, useDrafts, type UsedDraft, type UsedDrafts } from './drafts.js';
export { DraftwireProvider, useDraftwire } from './provider.js';
export { usePresence, useTopic, type EventHandlers, type SignalHandlers, type UsedTopic, type UseTopicOptions } from './topic.js';

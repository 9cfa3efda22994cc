// React 18 and 19: what a client knows, as hooks. They render nothing by themselves and change nothing while rendering.

export { useConnection, type Connection } from './connection.js';
export { useDraft, useDrafts, type UsedDraft, type UsedDrafts } from './drafts.js';
export { DraftwireProvider, useDraftwire } from './provider.js';
export { usePresence, useTopic, type EventHandlers, type SignalHandlers, type UsedTopic, type UseTopicOptions } from './topic.js';

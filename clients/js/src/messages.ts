// The messages of docs/protocol.md, version 1: what a client sends (Command) and what the server sends (ServerMessage).
// Made from docs/schemas by `npm run messages`; a test says when it is out of date.

/**
 * Any message.
 */
export type Message = Command | ServerMessage;
/**
 * A message of a client.
 */
export type Command =
  | DraftCreateCommand
  | DraftUpdateCommand
  | DraftDeleteCommand
  | DraftListCommand
  | SubscribeCommand
  | UnsubscribeCommand
  | PublishCommand
  | AuthCommand
  | PingCommand;
/**
 * The client's own name for a command, under which it is safe to repeat.
 */
export type CommandId = string;
/**
 * A draft, unique within its user; not `.` or `..`.
 */
export type DraftId = string;
/**
 * What a draft is (`order`, `note`): chosen by the application.
 */
export type DraftKind = string;
/**
 * The version of a draft: 1 when created, one more at every change, its deletion included.
 */
export type Version = number;
/**
 * Nothing.
 */
export type NoPayload = {} | null;
/**
 * A topic; not `.` or `..`.
 */
export type TopicName = string;
/**
 * A position on a stream, `<epoch>:<seq>`: everything up to it has been seen.
 */
export type Cursor = string;
/**
 * The type of what is published: the publisher's own word, none of the server's message types.
 */
export type EventType = string;
/**
 * Any JSON value of the application.
 */
export type JsonValue = unknown;
/**
 * How urgent an event is: `high` and `critical` end the batch windows of followers.
 */
export type Priority = 'normal' | 'high' | 'critical';
/**
 * A message of the server.
 */
export type ServerMessage =
  | WelcomeMessage
  | DraftCreatedEvent
  | DraftUpdatedEvent
  | DraftDeletedEvent
  | PublishedEvent
  | SyncedMessage
  | MissedMessage
  | SnapshotMessage
  | SignalMessage
  | PresenceMessage
  | JoinMessage
  | LeaveMessage
  | UnsubscribedMessage
  | PlainAck
  | DraftAck
  | DraftListAck
  | SubscribeAck
  | SubscribeListAck
  | AuthAck
  | ErrorMessage
  | PongMessage
  | TokenExpiringMessage
  | ReconnectMessage;
/**
 * Names a connection in the server's logs.
 */
export type ConnectionId = string;
/**
 * A user: the `sub` of the token. Opaque, compared byte by byte.
 */
export type UserId = string;
/**
 * A stable id of a device; the `origin` of the events that it causes.
 */
export type DeviceId = string;
/**
 * Names a node of the cluster.
 */
export type NodeId = string;
/**
 * The history that a `seq` counts in. Under another epoch the same number may be another event.
 */
export type Epoch = string;
/**
 * The number of an event in its stream: 1, 2, 3, … without gaps. Zero stands before the first.
 */
export type Seq = number;
/**
 * A time span, in milliseconds.
 */
export type Milliseconds = number;
/**
 * A moment, in Unix milliseconds.
 */
export type UnixMs = number;
/**
 * A stream as clients call it: `user`, `all`, or `topic:` and the topic's name.
 */
export type StreamName = string;
/**
 * What kind of refusal. docs/errors.md has the causes of each, and what to do.
 */
export type ErrorCode =
  | 'bad_request'
  | 'unauthorized'
  | 'forbidden'
  | 'not_found'
  | 'conflict'
  | 'too_large'
  | 'rate_limited'
  | 'unavailable';

/**
 * Creates a draft.
 */
export interface DraftCreateCommand {
  type: 'DRAFT_CREATE';
  id: CommandId;
  payload: NewDraft;
}
/**
 * A draft to be created.
 */
export interface NewDraft {
  /**
   * Follows from user, device and `id` when absent.
   */
  draftId?: DraftId | null;
  /**
   * `draft` when absent.
   */
  kind?: DraftKind | null;
  content: JsonObject;
}
/**
 * Any JSON object of the application.
 */
export interface JsonObject {
  [k: string]: unknown;
}
/**
 * Changes a draft.
 */
export interface DraftUpdateCommand {
  type: 'DRAFT_UPDATE';
  id: CommandId;
  payload: DraftUpdate;
}
/**
 * A merge patch (RFC 7396), and the version that it was made on.
 */
export interface DraftUpdate {
  draftId: DraftId;
  baseVersion: Version;
  patch: JsonObject;
}
/**
 * Deletes a draft.
 */
export interface DraftDeleteCommand {
  type: 'DRAFT_DELETE';
  id: CommandId;
  payload: DraftDeletion;
}
/**
 * With `baseVersion`, a draft that has changed since is kept, and the answer is `conflict`.
 */
export interface DraftDeletion {
  draftId: DraftId;
  baseVersion?: Version | null;
}
/**
 * Asks for all drafts that are not deleted.
 */
export interface DraftListCommand {
  type: 'DRAFT_LIST';
  id: CommandId;
  payload?: NoPayload;
}
/**
 * Follows one topic, or a list of them.
 */
export interface SubscribeCommand {
  type: 'SUBSCRIBE';
  id: CommandId;
  payload: Subscription | SubscriptionList;
}
/**
 * A topic to follow, and how.
 */
export interface Subscription {
  topic: TopicName;
  topics?: null;
  /**
   * Where the client stopped; from the head on when absent.
   */
  cursor?: Cursor | null;
  /**
   * To be seen among those who are here, and to see them.
   */
  presence?: boolean | null;
  /**
   * How long events may wait for others.
   */
  batchMs?: number | null;
  /**
   * How many waiting events end the wait; 100 when absent. Only with `batchMs`.
   */
  batchMax?: number | null;
  /**
   * A JWT that gives rights for this topic.
   */
  token?: string | null;
}
/**
 * Topics to follow, each answered for itself.
 */
export interface SubscriptionList {
  topic?: null;
  /**
   * @minItems 1
   * @maxItems 10000
   */
  topics: [Subscription, ...Subscription[]];
}
/**
 * Ends following one topic, or a list of them.
 */
export interface UnsubscribeCommand {
  type: 'UNSUBSCRIBE';
  id: CommandId;
  payload: TopicReference | TopicReferenceList;
}
/**
 * One topic.
 */
export interface TopicReference {
  topic: TopicName;
  topics?: null;
}
/**
 * Several topics.
 */
export interface TopicReferenceList {
  topic?: null;
  /**
   * @maxItems 10000
   */
  topics: TopicName[];
}
/**
 * Publishes an event or a signal to a topic.
 */
export interface PublishCommand {
  type: 'PUBLISH';
  id: CommandId;
  payload: Publication;
}
/**
 * What is published, and where.
 */
export interface Publication {
  topic: TopicName;
  event: EventType;
  data?: JsonValue;
  priority?: Priority | null;
  /**
   * Whether it is true only now: not numbered, not stored, sent at most once.
   */
  signal?: boolean | null;
}
/**
 * Goes on with a fresh token of the same user.
 */
export interface AuthCommand {
  type: 'AUTH';
  id: CommandId;
  payload: FreshToken;
}
/**
 * A JWT.
 */
export interface FreshToken {
  token: string;
}
/**
 * Asks for a sign of life; or, under the id of a command that was refused for the moment, gives that command up.
 */
export interface PingCommand {
  type: 'PING';
  id?: CommandId | null;
  payload?: NoPayload;
}
/**
 * The first message, always.
 */
export interface WelcomeMessage {
  type: 'WELCOME';
  payload: Welcome;
}
/**
 * Where the client is, and what holds there.
 */
export interface Welcome {
  connectionId: ConnectionId;
  /**
   * The token's `sub`; absent without a token.
   */
  userId?: UserId;
  /**
   * This device; made up when the client gave none.
   */
  device: DeviceId;
  node: NodeId;
  epoch: Epoch;
  /**
   * The head of the user's stream; absent without a token.
   */
  seq?: Seq;
  /**
   * The head of the stream `all`.
   */
  allSeq: Seq;
  /**
   * The longest time between two signs of life of the server.
   */
  heartbeatMs: Milliseconds;
  /**
   * The largest message that the server takes.
   */
  maxMessageBytes: number;
  /**
   * The server's clock.
   */
  serverTime: UnixMs;
}
/**
 * A draft was created.
 */
export interface DraftCreatedEvent {
  type: 'DRAFT_CREATED';
  stream: 'user';
  seq: Seq;
  timestamp: UnixMs;
  origin: DeviceId;
  payload: DraftCreated;
}
/**
 * The new draft.
 */
export interface DraftCreated {
  draftId: DraftId;
  version: Version;
  kind: DraftKind;
  content: JsonObject;
}
/**
 * A draft was changed.
 */
export interface DraftUpdatedEvent {
  type: 'DRAFT_UPDATED';
  stream: 'user';
  seq: Seq;
  timestamp: UnixMs;
  origin: DeviceId;
  payload: DraftUpdated;
}
/**
 * A merge patch (RFC 7396), and the version that it applies to: the one before.
 */
export interface DraftUpdated {
  draftId: DraftId;
  version: Version;
  baseVersion: Version;
  patch: JsonObject;
}
/**
 * A draft was deleted.
 */
export interface DraftDeletedEvent {
  type: 'DRAFT_DELETED';
  stream: 'user';
  seq: Seq;
  timestamp: UnixMs;
  origin: DeviceId;
  payload: DraftDeleted;
}
/**
 * The draft, and the version before its deletion.
 */
export interface DraftDeleted {
  draftId: DraftId;
  version: Version;
  baseVersion: Version;
}
/**
 * What a client or a backend has published: to a topic, to the user, or to all.
 */
export interface PublishedEvent {
  type: EventType;
  stream: StreamName;
  seq: Seq;
  timestamp: UnixMs;
  origin: DeviceId;
  /**
   * `normal` when absent.
   */
  priority?: Priority;
  payload: JsonValue;
}
/**
 * Everything missed has been sent; what follows is live.
 */
export interface SyncedMessage {
  type: 'SYNCED';
  stream: StreamName;
  seq: Seq;
}
/**
 * The cursor moves to `<epoch>:<seq>`: of the events before `missedBefore`, those that the client has not seen are gone. A SYNCED without it follows.
 */
export interface MissedMessage {
  type: 'SYNCED';
  stream: StreamName;
  epoch: Epoch;
  seq: Seq;
  missedBefore: Seq;
}
/**
 * All drafts as they stand at `seq`, instead of missed events that cannot be had.
 */
export interface SnapshotMessage {
  type: 'SNAPSHOT';
  stream: 'user';
  epoch: Epoch;
  seq: Seq;
  payload: Snapshot;
}
/**
 * All drafts that there are.
 */
export interface Snapshot {
  drafts: Draft[];
}
/**
 * A draft as it stands.
 */
export interface Draft {
  draftId: DraftId;
  version: Version;
  kind: DraftKind;
  content: JsonObject;
  updatedAt: UnixMs;
}
/**
 * Something that is true only now: not numbered, not stored.
 */
export interface SignalMessage {
  type: 'SIGNAL';
  stream: StreamName;
  event: EventType;
  origin: DeviceId;
  payload: JsonValue;
}
/**
 * Who is here: replaces what the client knew.
 */
export interface PresenceMessage {
  type: 'PRESENCE';
  stream: StreamName;
  payload: Presence;
}
/**
 * Everyone who is here; without `members` where they are too many for a list.
 */
export interface Presence {
  members?: Member[];
  users: number;
  devices: number;
}
/**
 * A device that is present. Without a token there is no `userId`.
 */
export interface Member {
  userId?: UserId;
  device: DeviceId;
}
/**
 * Somebody came.
 */
export interface JoinMessage {
  type: 'JOIN';
  stream: StreamName;
  payload: MemberChange;
}
/**
 * Who came or left, and how many are here after that.
 */
export interface MemberChange {
  userId?: UserId;
  device: DeviceId;
  users: number;
  devices: number;
}
/**
 * Somebody left.
 */
export interface LeaveMessage {
  type: 'LEAVE';
  stream: StreamName;
  payload: MemberChange;
}
/**
 * The connection no longer follows the topic, because its rights have changed.
 */
export interface UnsubscribedMessage {
  type: 'UNSUBSCRIBED';
  stream: StreamName;
  payload: Unsubscription;
}
/**
 * Why.
 */
export interface Unsubscription {
  code: ErrorCode;
  message: string;
}
/**
 * Answers PUBLISH, with the number of the event unless it was a signal; and UNSUBSCRIBE.
 */
export interface PlainAck {
  type: 'ACK';
  id: CommandId;
  seq?: Seq;
}
/**
 * Answers DRAFT_CREATE, DRAFT_UPDATE and DRAFT_DELETE; without `seq` where nothing had to change.
 */
export interface DraftAck {
  type: 'ACK';
  id: CommandId;
  seq?: Seq;
  payload: DraftVersion;
}
/**
 * A draft and the version that it is at.
 */
export interface DraftVersion {
  draftId: DraftId;
  version: Version;
}
/**
 * Answers DRAFT_LIST.
 */
export interface DraftListAck {
  type: 'ACK';
  id: CommandId;
  payload: DraftList;
}
/**
 * All drafts of the user that are not deleted, as they stand at `seq`.
 */
export interface DraftList {
  drafts: Draft[];
  epoch: Epoch;
  seq: Seq;
}
/**
 * Answers a SUBSCRIBE to one topic.
 */
export interface SubscribeAck {
  type: 'ACK';
  id: CommandId;
  payload: TopicPosition;
}
/**
 * Where a topic stands: events come from the next number on, unless a cursor was given.
 */
export interface TopicPosition {
  topic: TopicName;
  epoch: Epoch;
  seq: Seq;
}
/**
 * Answers a SUBSCRIBE to a list of topics.
 */
export interface SubscribeListAck {
  type: 'ACK';
  id: CommandId;
  payload: SubscribedList;
}
/**
 * Each topic for itself, in the order of the list.
 */
export interface SubscribedList {
  topics: (TopicPosition | TopicRefusal)[];
}
/**
 * Why a topic of a list is not followed.
 */
export interface TopicRefusal {
  topic: TopicName;
  code: ErrorCode;
  message: string;
}
/**
 * Answers AUTH.
 */
export interface AuthAck {
  type: 'ACK';
  id: CommandId;
  payload: TokenAccepted;
}
/**
 * When the new token ends.
 */
export interface TokenAccepted {
  expiresAt: UnixMs;
}
/**
 * A command was refused; without `id`, a message in which none could be read.
 */
export interface ErrorMessage {
  type: 'ERROR';
  id?: CommandId;
  code: ErrorCode;
  /**
   * For developers; it may change.
   */
  message: string;
  /**
   * Of a `conflict`: what the change met.
   */
  payload?: DraftConflict;
}
/**
 * What a change met: the draft as it stands, null when it was deleted, and the JSON pointers of the fields that changed since the base version.
 */
export interface DraftConflict {
  draftId: DraftId;
  fields: string[];
  draft: Draft | null;
}
/**
 * Answers PING.
 */
export interface PongMessage {
  type: 'PONG';
  id?: CommandId;
  payload: Pong;
}
/**
 * The server's clock.
 */
export interface Pong {
  serverTime: UnixMs;
}
/**
 * The token ends soon: send AUTH, or, where a topic's stream is named, SUBSCRIBE with a fresh token of the topic.
 */
export interface TokenExpiringMessage {
  type: 'TOKEN_EXPIRING';
  stream?: StreamName;
  payload: Countdown;
}
/**
 * How soon.
 */
export interface Countdown {
  inMs: Milliseconds;
}
/**
 * The node is about to stop: connect again after that time.
 */
export interface ReconnectMessage {
  type: 'RECONNECT';
  payload: Countdown;
}

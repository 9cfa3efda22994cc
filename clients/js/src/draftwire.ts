import type {
  Acknowledgement, ConnectionState, DraftwireOptions, EventMap, PublishOptions, StorageState, StreamEvent, TopicOptions,
  Unsubscribe, WaitOptions,
} from './api.js';
import type { Topic } from './topics/topic.js';

const missing = (): never => {
  throw new Error('not there yet');
};

/** The connection of one device, its topics, and what it has not yet been able to send. */
export class Draftwire {
  /**
   * @param _url where the server is, `https://sync.example.com` or `wss://sync.example.com/ws/realtime`
   * @throws TypeError where that is no address
   */
  constructor(_url: string | URL, _options: DraftwireOptions) {}

  /** What the connection is doing. */
  get state(): ConnectionState {
    return { status: 'offline' };
  }

  /** Where changes are kept. */
  get storage(): StorageState {
    return { kind: 'memory' };
  }

  /** How many changes and published events the server has not answered yet. */
  get pendingCount(): number {
    return 0;
  }

  /** Calls the listener whenever `state`, `storage` or `pendingCount` has changed. */
  readonly subscribe = (_listener: () => void): Unsubscribe => missing();

  /** Resolves once the state is `live`; rejects where it becomes `stopped`. */
  ready(_options?: WaitOptions): Promise<void> {
    return missing();
  }

  /** Goes online, and stays so through every loss until `disconnect()`. */
  connect(): void {}

  /** Goes offline. Everything that is unsent is kept. */
  disconnect(): void {}

  /** Follows a topic, through every loss, until its `close()`. Each call has a position and handlers of its own. */
  topic<Events extends EventMap = EventMap>(_name: string, _options?: TopicOptions): Topic<Events> {
    return missing();
  }

  /** Publishes an event, which is kept until the server has answered; resolves with its number. */
  publish(_topic: string, _type: string, _data?: unknown, _options?: PublishOptions): Promise<Acknowledgement> {
    return missing();
  }

  /** Handles what backends broadcast to everybody: events of one type, or all with `*`. */
  onBroadcast<Data = unknown>(_type: string, _handler: (event: StreamEvent<string, Data>) => void): Unsubscribe {
    return missing();
  }

  /** Handles what backends send to this user: events of one type, or all with `*`. */
  onUserEvent<Data = unknown>(_type: string, _handler: (event: StreamEvent<string, Data>) => void): Unsubscribe {
    return missing();
  }

  /** Forgets everything of this user, on this device, unsent changes included, and closes the client. */
  logout(): Promise<void> {
    return missing();
  }

  /** Ends the connection and every listener. What is stored stays. */
  close(): void {}
}

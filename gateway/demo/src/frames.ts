// What goes over a WebSocket, for those who show it. The client is given this class as its `WebSocket`.

/** A message of docs/protocol.md, as far as the page shows it. */
export interface Message {
  readonly type: string;
  readonly stream?: string;
  readonly seq?: number;
  readonly code?: string;
  readonly payload?: any;
}

/** A frame holds a message, or several. Tokens are left out. */
export interface Frame {
  readonly direction: 'in' | 'out';
  readonly messages: readonly Message[];
}

/** A WebSocket that tells of every frame. */
export function watchedWebSocket(tell: (frame: Frame) => void): typeof WebSocket {
  return class extends WebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols);
      this.addEventListener('message', ({ data }) => {
        // The client does not read what comes after it has closed the connection.
        if (this.readyState === WebSocket.OPEN) tell({ direction: 'in', messages: [JSON.parse(data)].flat() });
      });
    }

    override send(data: string): void {
      super.send(data);
      const message = JSON.parse(data) as Message;
      tell({ direction: 'out', messages: [message.type === 'AUTH' ? { ...message, payload: { token: '…' } } : message] });
    }
  };
}

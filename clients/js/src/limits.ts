// The bounds of the client, in one file that imports nothing: bundlers put such numbers where they are used.

/** How long one answer of `getToken` may take. */
export const TOKEN_MS_MAX = 10_000;

/** How long an attempt to connect may take until WELCOME. */
export const CONNECT_MS_MAX = 15_000;
/** A connection that lived this long counts as good: the next loss starts the backoff anew. */
export const STABLE_MS = 10_000;
/** Attempts in a row that end without a word of the server, after which the next transport is tried. */
export const SILENT_ATTEMPTS = 2;
/** How long a transport that did not get through is not tried first again. */
export const BLOCKED_MS = 300_000;
/** The silence of a WebSocket after which the server is asked for a sign of life. */
export const QUIET_MS = 10_000;

/** Commands that are sent without waiting for answers; the server reads no more than 64. */
export const WINDOW = 32;
/** The most that waits for answers of the server, or of the user, on this device. */
export const QUEUE_MAX = 10_000;
/** For how long the server certainly remembers a command (`COMMAND_MEMORY`, 24 h), less an hour for clocks. */
export const MEMORY_MS = 23 * 3_600_000;

/** How many events of a topic wait for each other where an application does not say: the server's default. */
export const BATCH_MAX = 100;

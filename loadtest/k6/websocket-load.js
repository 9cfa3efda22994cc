// As many users as a tier has come, work and leave:
//
//     k6 run -e JWT_SECRET=… -e URL=ws://10.0.0.1:8080,ws://10.0.0.2:8080 -e TIER=medium websocket-load.js
//
// TIER (light, medium, heavy, beyond), RAMP, HOLD, DOWN (10s, 20s, 5s), FULL=1 (5m, 10m, 5m), and what
// draftwire.js reads: URL, JWT_SECRET or TOKEN, DEVICES (3), USER_RATE (1 a second), STAY (10s), SETTLE (3s).

import { run, thresholds, tier, user } from './draftwire.js';

const of = tier(__ENV.TIER || 'light');
const [ramp, hold, down] = __ENV.FULL ? ['5m', '10m', '5m'] : ['10s', '20s', '5s'];

export const options = {
  scenarios: {
    users: {
      executor: 'ramping-vus',
      startVUs: 0,
      stages: [
        { duration: __ENV.RAMP || ramp, target: of.users },
        { duration: __ENV.HOLD || hold, target: of.users },
        { duration: __ENV.DOWN || down, target: 0 },
      ],
      gracefulRampDown: '1m',
      gracefulStop: '1m',
    },
  },
  thresholds: thresholds(of),
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
};

export const setup = run;

export default user;

// Too many users: all of a sudden, for long, or ever more of them.
//
//     k6 run -e JWT_SECRET=… -e URL=ws://10.0.0.1:8080 -e SCENARIO=spike stress-test.js
//
// SCENARIO: spike (USERS 50 within RAMP 30s, for DURATION 10s, then 5 for AFTER 10s), soak (USERS 20 for
// DURATION 30m), breakpoint (to USERS 500 over DURATION 5m; ends where a threshold breaks, with exit code 99).
// Otherwise as websocket-load.js. The memory of the nodes is not k6's to see: `draftwire-loadtest stress` does.

import { TIERS, run, thresholds, user } from './draftwire.js';

const scenario = __ENV.SCENARIO || 'spike';
const or = (name, otherwise) => __ENV[name] || otherwise;

const STAGES = {
  spike: () => {
    const users = Number(or('USERS', 50));
    return [
      { duration: or('RAMP', '30s'), target: users },
      { duration: or('DURATION', '10s'), target: users },
      { duration: '0s', target: 5 },
      { duration: or('AFTER', '10s'), target: 5 },
    ];
  },
  soak: () => {
    const users = Number(or('USERS', 20));
    return [
      { duration: or('RAMP', '10s'), target: users },
      { duration: or('DURATION', '30m'), target: users },
    ];
  },
  breakpoint: () => [{ duration: or('DURATION', '5m'), target: Number(or('USERS', 500)) }],
};

if (!STAGES[scenario]) throw new Error(`no scenario ${scenario}: one of ${Object.keys(STAGES).join(', ')}`);

export const options = {
  scenarios: {
    users: {
      executor: 'ramping-vus',
      startVUs: 0,
      stages: STAGES[scenario](),
      // After a spike most are gone at once.
      gracefulRampDown: scenario === 'spike' ? '0s' : '1m',
      gracefulStop: '1m',
    },
  },
  thresholds: thresholds(scenario === 'soak' ? TIERS.medium : TIERS.beyond, scenario === 'breakpoint'),
  summaryTrendStats: ['med', 'p(95)', 'p(99)', 'max'],
};

export const setup = run;

export default user;

// The calls of all clients, for those in JavaScript. See ../README.md.
'use strict';

const DEADLINE = Number(process.env.HELLO_DEADLINE || 10) * 1000;
const UNARY_WORKERS = Number(process.env.HELLO_WORKERS || 8);
const MESSAGE = 'x'.repeat(Number(process.env.HELLO_BYTES || 5));
const WATCH_WORKERS = 2;
const WATCH_MESSAGES = 3;
const CHAT_MESSAGES = 10;

// hi makes a unary call and checks its answer.
async function hi(caller) {
  const answer = await caller.hi(MESSAGE, DEADLINE);
  if (answer !== MESSAGE) throw new Error(`answered ${answer.slice(0, 20)}`);
}

// load makes calls with caller {hi, watch, chat} for the given seconds and returns the result. In a
// browser there is no chat.
async function load(client, version, caller, seconds) {
  const result = { client, version, calls: 0, failed: 0, errors: {} };
  const end = Date.now() + seconds * 1000;
  const loop = async (what, call) => {
    do {
      result.calls++;
      try {
        await call();
      } catch (err) {
        result.failed++;
        const key = `${what}: ${err.message}`;
        result.errors[key] = (result.errors[key] || 0) + 1;
      }
    } while (Date.now() < end);
  };
  const workers = [];
  for (let i = 0; i < UNARY_WORKERS; i++) workers.push(loop('hi', () => hi(caller)));
  for (let i = 0; i < WATCH_WORKERS; i++) workers.push(loop('watch', () => caller.watch(WATCH_MESSAGES)));
  if (caller.chat) workers.push(loop('chat', () => caller.chat(CHAT_MESSAGES, DEADLINE)));
  // At one message a second, this stream ends shortly after the other calls.
  workers.push(loop('long watch', () => caller.watch(seconds + 1)));
  await Promise.all(workers);
  return result;
}

// run makes the calls of load and prints the result. The process exits when standard input ends.
async function run(client, version, caller, seconds) {
  console.log(JSON.stringify(await load(client, version, caller, seconds)));
  process.stdin.resume();
  process.stdin.on('end', () => process.exit(0));
}

module.exports = { load, run };

// The client for grpc-js: node steady.js POLICY TARGET...
// It opens one channel per target and calls five times a second on each. On SIGTERM it stops
// and prints its result.
'use strict';

const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const EVERY = 200;
const DEADLINE = 10_000;

const [policy, ...targets] = process.argv.slice(2);
const definition = loader.loadSync(process.env.HELLO_PROTO, { keepCase: true });
const { HelloService } = grpc.loadPackageDefinition(definition).hello.v1;

const result = { calls: 0, failed: 0, errors: {} };
let open = 0;
let over = false;

function finish() {
  if (!over || open > 0) return;
  console.log(JSON.stringify(result));
  process.exit(0);
}

function call(stub) {
  open++;
  result.calls++;
  stub.Hi({ to_who: 'you', message: 'hi' }, { deadline: Date.now() + DEADLINE }, (err) => {
    open--;
    if (err) {
      result.failed++;
      result.errors[err.message] = (result.errors[err.message] || 0) + 1;
    }
    finish();
  });
}

const options = {
  'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ [policy]: {} }] }),
  // Each channel has its own connections, as in separate processes.
  'grpc.use_local_subchannel_pool': 1,
};
const timers = targets.map((target) => {
  const stub = new HelloService(target, grpc.credentials.createInsecure(), options);
  return setInterval(() => call(stub), EVERY);
});
process.on('SIGTERM', () => {
  over = true;
  timers.forEach(clearInterval);
  finish();
});

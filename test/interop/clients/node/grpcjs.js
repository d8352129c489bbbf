// The client for grpc-js: node grpcjs.js TARGETS POLICY SECONDS [CA.pem]. See ../README.md.
// GRPC_JS names the package, for another version than the newest.
'use strict';

const fs = require('node:fs');
const loader = require('@grpc/proto-loader');
const { run } = require('./load.js');

const name = process.env.GRPC_JS || '@grpc/grpc-js';
const grpc = require(name);
const { version } = require(`${name}/package.json`);

const [targets, policy, seconds, ca] = process.argv.slice(2);
const definition = loader.loadSync(process.env.HELLO_PROTO, { keepCase: true });
const { HelloService } = grpc.loadPackageDefinition(definition).hello.v1;

const options = { 'grpc.service_config': JSON.stringify({ loadBalancingConfig: [{ [policy]: {} }] }) };
let creds = grpc.credentials.createInsecure();
if (ca) {
  creds = grpc.credentials.createSsl(fs.readFileSync(ca));
  options['grpc.ssl_target_name_override'] = 'hello.test';
  options['grpc.default_authority'] = 'hello.test';
}
const target = targets.startsWith('dns:') ? targets : `ipv4:${targets}`;
const stub = new HelloService(target, creds, options);

function hi(message, deadline) {
  return new Promise((resolve, reject) => {
    stub.Hi({ to_who: 'you', message }, { deadline: Date.now() + deadline }, (err, res) => {
      if (err) reject(err);
      else resolve(res.message);
    });
  });
}

function watch(want) {
  return new Promise((resolve, reject) => {
    let got = 0;
    const call = stub.Watch({ to_who: 'you' });
    call.on('data', () => {
      got++;
      if (got >= want) {
        resolve();
        call.cancel();
      }
    });
    call.on('error', reject); // has no effect after resolve
    call.on('end', () => reject(new Error('ended early')));
  });
}

function chat(messages, deadline) {
  return new Promise((resolve, reject) => {
    let got = 0;
    const call = stub.Chat({ deadline: Date.now() + deadline });
    const send = () => call.write({ message: String(got) });
    call.on('data', () => {
      got++;
      if (got < messages) send();
      else call.end();
    });
    call.on('error', reject);
    call.on('end', () => (got === messages ? resolve() : reject(new Error('ended early'))));
    send();
  });
}

run('grpc-js', version, { hi, watch, chat }, Number(seconds));

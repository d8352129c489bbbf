// The client for connect-node with gRPC: node connectnode.js TARGETS POLICY SECONDS. See
// ../README.md. connect-node has no load balancing, so there is one transport per server, used
// round robin.
'use strict';

const fs = require('node:fs');
const { createFileRegistry, fromBinary } = require('@bufbuild/protobuf');
const { FileDescriptorSetSchema } = require('@bufbuild/protobuf/wkt');
const { createClient } = require('@connectrpc/connect');
const { createGrpcTransport } = require('@connectrpc/connect-node');
const calls = require('./connect.js');
const { run } = require('./load.js');

const [targets, , seconds] = process.argv.slice(2);
const files = fromBinary(FileDescriptorSetSchema, fs.readFileSync(process.env.HELLO_DESCRIPTOR));
const service = createFileRegistry(files).getService('hello.v1.HelloService');
const clients = targets.split(',').map((t) => createClient(service, createGrpcTransport({ baseUrl: `http://${t}` })));
let turn = 0;
const next = () => clients[turn++ % clients.length];

async function chat(messages, deadline) {
  let answered;
  let answer = new Promise((resolve) => (answered = resolve));
  async function* requests() {
    for (let i = 0; i < messages; i++) {
      yield { message: String(i) };
      await answer;
      answer = new Promise((resolve) => (answered = resolve));
    }
  }
  let got = 0;
  for await (const _ of next().chat(requests(), { timeoutMs: deadline })) {
    got++;
    answered();
  }
  if (got !== messages) throw new Error('ended early');
}

// The package does not export its package.json.
const main = require.resolve('@connectrpc/connect-node');
const pkg = main.slice(0, main.lastIndexOf('connect-node') + 'connect-node'.length) + '/package.json';
const { version } = JSON.parse(fs.readFileSync(pkg, 'utf8'));

run('connect-node', version, { ...calls(next), chat }, Number(seconds));

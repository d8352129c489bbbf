// An ordinary grpc-js server: server.js ADDRESS POD. It needs no generated code. An answer is the
// request with the field `pod` (3) added, because HiRequest and HiResponse have the same first
// fields.
const grpc = require('@grpc/grpc-js');

const [address, pod] = process.argv.slice(2);
const suffix = Buffer.concat([Buffer.from([(3 << 3) | 2, pod.length]), Buffer.from(pod)]);
const same = (b) => b;
const method = (path, requestStream, responseStream) => ({
  path: `/hello.v1.HelloService/${path}`,
  requestStream,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
});
const answer = (request) => Buffer.concat([request, suffix]);

const server = new grpc.Server();
server.addService(
  { Hi: method('Hi', false, false), Watch: method('Watch', false, true), Chat: method('Chat', true, true) },
  {
    Hi: (call, done) => done(null, answer(call.request)),
    Watch: (call) => {
      call.write(answer(call.request));
      const timer = setInterval(() => call.write(answer(call.request)), 1000);
      call.on('cancelled', () => clearInterval(timer));
    },
    Chat: (call) => {
      call.on('data', (request) => call.write(answer(request)));
      call.on('end', () => call.end());
    },
  },
);
server.bindAsync(address, grpc.ServerCredentials.createInsecure(), (err) => {
  if (err) throw err;
});
process.on('SIGTERM', () => server.tryShutdown(() => process.exit(0)));

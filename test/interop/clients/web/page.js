// The calls of the client for connect-es in a browser, with gRPC-Web to the origin of the page. See
// ../README.md. They wait until the page has loaded, and their result goes to its console.
import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { createClient } from '@connectrpc/connect';
import { createGrpcWebTransport } from '@connectrpc/connect-web';
import { version } from './node_modules/@connectrpc/connect-web/package.json';
import calls from './connect.js';
import { load } from './load.js';
import descriptor from './hello.binpb';

const files = createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptor));
const transport = createGrpcWebTransport({ baseUrl: location.origin });
const client = createClient(files.getService('hello.v1.HelloService'), transport);

addEventListener('load', async () => {
  const browser = navigator.userAgent.match(/Chrome\/(\d+)/);
  const result = await load('connect-web', `${version} in Chromium ${browser[1]}`, calls(() => client), Number(process.env.HELLO_SECONDS));
  console.log(JSON.stringify(result));
});

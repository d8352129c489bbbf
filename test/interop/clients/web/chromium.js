// The client for connect-es in Chromium: node chromium.js TARGET POLICY SECONDS CA.pem. See
// ../README.md. It opens the page that a proxy serves, prints the result that the page writes to its
// console, and keeps the page open until standard input ends. HELLO_NET_LOG names a file for
// Chromium's own trace.
'use strict';

const { spawn } = require('node:child_process');
const crypto = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const readline = require('node:readline');

const [target, , seconds, ca] = process.argv.slice(2);
const env = Object.entries(process.env).filter(([name]) => name.startsWith('HELLO_'));
const query = new URLSearchParams([...env, ['HELLO_SECONDS', seconds]]);
const key = new crypto.X509Certificate(fs.readFileSync(ca)).publicKey.export({ type: 'spki', format: 'der' });
const profile = fs.mkdtempSync(path.join(os.tmpdir(), 'chromium'));
const log = process.env.HELLO_NET_LOG;
const args = [
  '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', `--user-data-dir=${profile}`,
  // It trusts this certificate, and asks nobody else.
  `--ignore-certificate-errors-spki-list=${crypto.createHash('sha256').update(key).digest('base64')}`,
  '--no-proxy-server', '--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.*',
  // It writes the console to its standard error, and exits when its pipe closes, so even when this
  // process is killed.
  '--enable-logging=stderr', '--remote-debugging-pipe',
  ...(log ? [`--log-net-log=${log}`, '--net-log-capture-mode=IncludeSensitive'] : []),
  `https://${target}/?${query}`,
];
const browser = spawn('chromium', args, { stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'] });
readline.createInterface({ input: browser.stderr }).on('line', (line) => {
  const result = /CONSOLE:\d+\] "(\{.*\})", source: /.exec(line);
  if (result) console.log(result[1]);
  else console.error(line);
  if (/CONSOLE:\d+\] "Uncaught /.test(line)) browser.kill();
});

let ended = false;
process.stdin.resume();
process.stdin.on('end', () => {
  ended = true;
  browser.kill();
});
browser.on('exit', () => {
  fs.rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
  process.exit(ended ? 0 : 1);
});

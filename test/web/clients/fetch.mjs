// Requests with the fetch of Node, which keeps HTTP/1.1 connections alive, or of a browser. Prints calls
// and failures.
const [url, seconds] = globalThis.process?.argv.slice(2) ?? ['/plain', location.search.slice(1)];
const end = Date.now() + 1000 * Number(seconds);
let calls = 0;
const errors = {};
async function caller() {
  while (Date.now() < end) {
    calls++;
    try {
      const res = await fetch(url, { method: 'POST', body: 'hi' });
      await res.text();
      if (res.status !== 200) throw new Error(res.status);
    } catch (err) {
      const text = String(err.cause?.message ?? err.message);
      errors[text] = (errors[text] ?? 0) + 1;
    }
    await new Promise((done) => setTimeout(done, 2));
  }
}
await Promise.all(Array.from({ length: 8 }, caller));
const failed = Object.values(errors).reduce((a, b) => a + b, 0);
console.log(`calls ${calls} failed ${failed} ${JSON.stringify(errors)}`);

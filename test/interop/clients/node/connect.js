// The calls of the clients in connect-es, of Node and of browsers. next returns the client of the
// next call.
'use strict';

module.exports = (next) => ({
  async hi(message, deadline) {
    const res = await next().hi({ toWho: 'you', message }, { timeoutMs: deadline });
    return res.message;
  },

  async watch(want) {
    const stop = new AbortController();
    let got = 0;
    try {
      for await (const _ of next().watch({ toWho: 'you' }, { signal: stop.signal })) {
        got++;
        if (got >= want) break;
      }
    } finally {
      stop.abort();
    }
    if (got < want) throw new Error('ended early');
  },
});

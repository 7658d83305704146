// The `ws` library as a client: `sockets_client.mjs LABEL URL`, checks through the proxy.

import http from 'node:http';
import { createRequire } from 'node:module';
import { judge, leave, pattern, same, sleep } from './common.mjs';

const { WebSocket } = createRequire(process.env.JUDGES_WS)('ws');
const [label, url] = process.argv.slice(2);
const sizes = [0, 1, 125, 126, 127, 65535, 65536, 1 << 20];

// A socket whose messages are a queue that can be waited for.
function open(path, options = {}) {
  return new Promise((resolve, reject) => {
    const plain = { maxPayload: 2 << 20, perMessageDeflate: false };
    const ws = new WebSocket(url + path, { ...plain, ...options });
    const queue = [];
    let wake = () => {};
    const push = (entry) => {
      queue.push(entry);
      wake();
    };
    ws.on('message', (data, binary) => push({ data, binary }));
    ws.on('pong', (data) => push({ pong: String(data) }));
    ws.on('close', (code, reason) => push({ code, reason: String(reason) }));
    ws.on('error', (error) => {
      push({ error: error.message });
      reject(error);
    });
    ws.on('unexpected-response', (_, response) => reject({ status: response.statusCode }));
    const next = async () => {
      if (!queue.length) await new Promise((resolve) => (wake = resolve));
      return queue.shift();
    };
    ws.on('open', () => resolve({ ws, next, text: async () => String((await next()).data) }));
  });
}

// Messages of 0 B to 1 MiB, every magnitude alike, text and bytes in turn.
function frames(count) {
  let seed = 1;
  const dice = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  return Array.from({ length: count }, (_, n) => {
    const size = n < sizes.length ? sizes[n] : Math.floor(2 ** (20 * dice()));
    const body = pattern(size, n);
    return n % 2 ? Buffer.from(body.toString('hex').slice(0, size)) : body;
  });
}

async function echoed(count, perMessageDeflate) {
  const messages = frames(count);
  const { ws, next } = await open('/echo', { perMessageDeflate });
  const sending = (async () => {
    for (const [n, message] of messages.entries()) {
      await new Promise((resolve) => ws.send(message, { binary: n % 2 === 0 }, resolve));
    }
  })();
  for (const [n, message] of messages.entries()) {
    const { data, binary, ...other } = await next();
    if (!data) throw new Error(`frame ${n}: ${JSON.stringify(other)}`);
    if (binary !== (n % 2 === 0) || !data.equals(message)) {
      throw new Error(`frame ${n}: ${data.length} of ${message.length}, or other bytes`);
    }
  }
  await sending;
  ws.close();
  return `${messages.reduce((sum, m) => sum + m.length, 0)} bytes each way`;
}

// An upgrade by hand, over a connection that is kept: status, body, and our own port.
function ask(agent, path) {
  const { hostname, port, pathname } = new URL(url);
  const headers = {
    Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
  };
  return new Promise((resolve, reject) => {
    const request = http.get({ hostname, port, path: pathname + path, headers, agent });
    let own;
    request.on('socket', (socket) => {
      const note = () => (own = socket.localPort);
      socket.connecting ? socket.once('connect', note) : note();
    });
    request.on('error', reject);
    request.on('upgrade', () => reject(new Error('it was upgraded')));
    request.on('response', (response) => {
      let text = '';
      response.on('data', (piece) => (text += piece));
      response.on('end', () => resolve([response.statusCode, text, own]));
    });
  });
}

// How the server saw the end of `/echo?NAME`, as soon as it has.
async function ended(name) {
  for (let n = 0; n < 40; n++) {
    await sleep(50);
    const seen = await (await open(`/ended?${name}`)).text();
    if (seen !== 'not yet') return seen;
  }
  throw new Error('the server did not see it within 2 s');
}

const checks = {
  '1,000 echo frames of 0 B to 1 MB': () => echoed(1000, false),
  '100 echo frames, compressed': () => echoed(100, true),
  async 'ping and pong, both ways'() {
    const { ws, next } = await open('/echo');
    for (let n = 0; n < 20; n++) {
      ws.ping(`ping ${n}`);
      same('pong', await next(), { pong: `ping ${n}` });
    }
    ws.close();
    const other = await open('/ping');
    same("the server's ping", await other.text(), 'the pong came');
    other.ws.close();
  },
  async 'the client closes: code and reason'() {
    const { ws, next } = await open('/echo?node-closes');
    ws.close(4567, 'I have seen enough');
    same('our own', (await next()).code, 4567);
    same('as the server saw it', await ended('node-closes'), '4567 I have seen enough');
  },
  async 'the server closes: code and reason'() {
    const { next } = await open('/close');
    same('close', await next(), { code: 4001, reason: 'enough' });
  },
  async 'a frame with the 101'() {
    for (let n = 0; n < 20; n++) {
      const { ws, text } = await open(`/hello?${n}`);
      same('first', await text(), 'hello');
      ws.send('after it');
      same('second', await text(), 'after it');
      ws.close();
    }
  },
  async 'an upgrade is refused, HTTP goes on'() {
    for (const status of [403, 426]) {
      const seen = await open(`/refuse/${status}`).catch((error) => error.status ?? error.message);
      same('status', seen, status);
    }
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const ports = new Set();
    for (let n = 0; n < 5; n++) {
      const [status, text, port] = await ask(agent, '/refuse/403');
      same('answer', [status, text], [403, 'not here\n']);
      ports.add(port);
    }
    same('connections', ports.size, 1);
  },
  async '100 sockets at once'() {
    const one = async (n) => {
      const { ws, text } = await open(`/echo?${n}`);
      for (let m = 0; m < 20; m++) {
        const said = `${n} ${m} `.repeat(m + 1);
        ws.send(said);
        same('back', await text(), said);
      }
      ws.close();
    };
    await Promise.all(Array.from({ length: 100 }, (_, n) => one(n)));
  },
  async 'a client vanishes'() {
    const { ws, text } = await open('/echo?node-vanishes');
    ws.send('x');
    await text();
    ws.terminate();
    same('code', (await ended('node-vanishes')).split(' ')[0], '1006');
  },
  async '8 s of idleness'() {
    const { ws, text } = await open('/echo');
    for (let n = 0; n < 2; n++) {
      await sleep(4000);
      ws.send('still here');
      same('back', await text(), 'still here');
    }
    ws.close();
  },
};

for (const [name, check] of Object.entries(checks)) {
  await judge(`websocket, node client, ${label} server, ${name}`, check, 60000);
}
leave();

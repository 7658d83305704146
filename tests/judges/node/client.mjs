// Node's http client as a judge: `client.mjs client LABEL PROXIED DIRECT` checks what comes through
// the proxy against what comes without it; `client.mjs steady LABEL URL SECONDS` asks all the time
// and counts what was lost.

import http from 'node:http';
import net from 'node:net';
import { checksum, judge, leave, pattern, same, sameBytes, sleep } from './common.mjs';

const oneConnection = () => new http.Agent({ keepAlive: true, maxSockets: 1 });

// Sends one request and gives its whole answer. `body` is a buffer; `pieces` of it go in chunks.
function ask(base, path, options = {}) {
  const { method = 'GET', headers = {}, body, pieces, trailers, agent, onSend } = options;
  const { hostname, port: to, pathname } = new URL(base);
  return new Promise((resolve, reject) => {
    const where = { hostname, port: to, path: pathname.replace(/\/$/, '') + path };
    const request = http.request({ ...where, method, headers, agent, maxHeaderSize: 65536 });
    const early = [];
    let port; // our own, which tells one connection from another
    let sent;
    request.on('information', (info) => early.push(info.statusCode));
    request.on('error', reject);
    request.on('response', (response) => {
      const got = [];
      response.on('data', (piece) => got.push({ piece, at: Date.now() }));
      response.on('error', reject);
      response.on('end', () => {
        const { statusCode: status, statusMessage: reason, rawHeaders, rawTrailers } = response;
        const whole = Buffer.concat(got.map((g) => g.piece));
        const { headers, trailers } = response;
        resolve({
          status, reason, rawHeaders, rawTrailers, headers, trailers, early, sent, port,
          body: whole, times: got.map((g) => g.at),
        });
      });
    });
    request.on('socket', (socket) => {
      const note = () => (port = socket.localPort);
      socket.connecting ? socket.once('connect', note) : note();
    });
    if (onSend) return onSend(request, (what) => (sent = what));
    if (pieces) {
      for (let at = 0; at < body.length; at += pieces) {
        request.write(body.subarray(at, at + pieces));
      }
      if (trailers) request.addTrailers(trailers);
      return request.end();
    }
    request.end(body);
  });
}

async function echo(base, path, options) {
  const answer = await ask(base, path, options);
  same('status', answer.status, 200);
  return { ...JSON.parse(answer.body), answer };
}

// Raw fields without those that may differ from one connection to the next.
function lasting(raw) {
  const kept = [];
  for (let i = 0; i < raw.length; i += 2) {
    if (!/^(date|connection|keep-alive)$/i.test(raw[i])) kept.push(`${raw[i]}: ${raw[i + 1]}`);
  }
  return kept;
}

const values = (fields, name) =>
  fields.filter(([n]) => n.toLowerCase() === name.toLowerCase()).map(([, value]) => value);

const checks = {
  async 'GET of 0 B to 5 MB'({ proxied, agent }) {
    for (const n of [0, 1, 11, 16384, 65537, 5000000]) {
      const answer = await ask(proxied, `/bytes/${n}`, { agent });
      same('status', answer.status, 200);
      sameBytes(`${n} bytes`, answer.body, pattern(n));
    }
  },
  async 'HEAD, then GET on its connection'({ proxied, agent }) {
    for (let i = 0; i < 3; i++) {
      const head = await ask(proxied, '/bytes/5000000', { method: 'HEAD', agent });
      same('length', head.headers['content-length'], '5000000');
      same('body', head.body.length, 0);
      const after = await ask(proxied, '/bytes/11', { agent });
      same('the same connection', after.port, head.port);
      sameBytes('the GET after it', after.body, pattern(11));
    }
  },
  async 'answers as without the proxy, in order and case'({ proxied, direct, agent }) {
    const paths = ['/bytes/100', '/fields', '/gzip', '/moved/301', '/status/404', '/status/204',
      '/status/304', '/chunked/30000', '/nothing'];
    for (const path of paths) {
      const one = await ask(proxied, path, { agent });
      const two = await ask(direct, path);
      same(path, [one.status, one.reason], [two.status, two.reason]);
      same(path, lasting(one.rawHeaders), lasting(two.rawHeaders));
      same(path, one.rawTrailers, two.rawTrailers);
      sameBytes(path, one.body, two.body);
    }
  },
  async 'statuses with and without a body'({ proxied, agent }) {
    for (const n of [200, 204, 304, 404, 410, 500, 503, 204, 299]) {
      const answer = await ask(proxied, `/status/${n}`, { agent });
      const body = n === 204 || n === 304 ? '' : `status ${n}\n`;
      same('answer', [answer.status, answer.body.toString()], [n, body]);
    }
  },
  async 'chunked answers and trailers'({ proxied, agent }) {
    for (const n of [0, 1, 9999, 1000000]) {
      const answer = await ask(proxied, `/chunked/${n}`, { agent });
      sameBytes('body', answer.body, pattern(n));
      same('X-Length', answer.trailers['x-length'], String(n));
      same('X-Sum', answer.trailers['x-sum'], checksum(answer.body));
    }
  },
  async 'POST with a length'({ proxied, agent }) {
    for (const n of [0, 1, 16384, 5000000]) {
      const body = pattern(n, 7);
      const headers = { 'Content-Length': n };
      const told = await echo(proxied, '/echo/post', { method: 'POST', headers, body, agent });
      same('seen', [told.method, told.length, told.sum], ['POST', n, checksum(body)]);
      const back = await ask(proxied, '/mirror', { method: 'POST', headers, body, agent });
      sameBytes('mirror', back.body, body);
    }
  },
  async 'POST in chunks, with trailers'({ proxied, agent }) {
    for (const n of [0, 1, 16384, 5000000]) {
      const [body, headers] = [pattern(n, 7), { 'Transfer-Encoding': 'chunked', Trailer: 'X-End' }];
      const more = { pieces: 7001, trailers: { 'X-End': 'of it' } };
      const options = { method: 'POST', headers, body, agent, ...more };
      const told = await echo(proxied, '/echo/post', options);
      same('seen', [told.method, told.length, told.sum], ['POST', n, checksum(body)]);
      same('trailers', told.trailers, [['X-End', 'of it']]);
    }
  },
  async methods({ proxied, agent }) {
    for (const method of ['PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND', 'SEARCH']) {
      const body = Buffer.from('a body');
      const headers = { 'Content-Length': 6 };
      const told = await echo(proxied, '/echo/m', { method, headers, body, agent });
      same('seen', [told.method, told.length, told.sum], [method, 6, checksum(body)]);
    }
  },
  async 'targets and fields arrive as sent'({ proxied, direct, agent }) {
    const targets = ['/echo/a%2Fb//c;x=1?q=%20&r=a+b&&=', '/echo/%41%c3%bc/~u/(x)!$,', '/echo/?',
      '/echo/a/./b?../x'];
    for (const target of targets) {
      const headers = ['Host', 'an.example:81', 'X-Dup', 'one', 'x-DUP', 'two, three',
        'X-Odd', 'a\tb  c;"\xe4"', 'Authorization', 'Basic eDp5'];
      const one = await echo(proxied, target, { headers, agent });
      const two = await echo(direct, target, { headers });
      same('target', one.target, target);
      const added = /^x-forwarded-(for|host|proto)$/i;
      // Go's server sorts nothing and keeps no order: so the order does not count here.
      const told = (fields) =>
        fields.filter(([name]) => !/^connection$/i.test(name)).map(String).sort();
      const own = one.fields.filter(([name]) => !added.test(name));
      same('fields', told(own), told(two.fields));
      same('added', one.fields.length - own.length, 3);
    }
  },
  async 'redirects pass'({ proxied, agent }) {
    for (const n of [301, 302, 303, 307, 308]) {
      const body = Buffer.from('x');
      const answer = await ask(proxied, `/moved/${n}`, { method: 'POST', body, agent });
      const seen = [answer.status, answer.headers.location, answer.body.toString()];
      same('answer', seen, [n, '/else/where?a=%20b#c', 'moved\n']);
    }
  },
  async ranges({ proxied, agent }) {
    const whole = pattern(1000000);
    const rows = [['0-0', 0, 1], ['500000-', 500000, 1000000], ['100-70099', 100, 70100],
      ['-10', 999990, 1000000]];
    for (const [range, start, end] of rows) {
      const headers = { Range: `bytes=${range}` };
      const answer = await ask(proxied, '/bytes/1000000', { headers, agent });
      const said = `bytes ${start}-${end - 1}/1000000`;
      same('answer', [answer.status, answer.headers['content-range']], [206, said]);
      sameBytes('part', answer.body, whole.subarray(start, end));
    }
    const beyond = await ask(proxied, '/bytes/10', { headers: { Range: 'bytes=10-' }, agent });
    same('beyond the end', beyond.status, 416);
  },
  async 'gzip untouched'({ proxied, agent }) {
    const answer = await ask(proxied, '/gzip', { headers: { 'Accept-Encoding': 'gzip' }, agent });
    same('coding', answer.headers['content-encoding'], 'gzip');
    same('sum', checksum(answer.body), answer.headers['x-sum']);
  },
  async '16 KiB of Cookie'({ proxied, agent }) {
    const cookie = 'c=' + '0123456789abcdef'.repeat(1024);
    const told = await echo(proxied, '/echo/cookie', { headers: { Cookie: cookie }, agent });
    same('cookie', values(told.fields, 'cookie'), [cookie]);
    const answer = await ask(proxied, '/fields', { agent });
    same('X-Large', answer.headers['x-large'].length, 16000);
    same('Set-Cookie', answer.headers['set-cookie'], ['a=1', 'b=2']);
  },
  async '200 requests on one connection'({ proxied }) {
    const agent = oneConnection();
    const ports = new Set();
    for (let n = 0; n < 200; n++) {
      const told = await echo(proxied, `/echo/${n}`, { agent });
      same('target', told.target, `/echo/${n}`);
      ports.add(told.answer.port);
    }
    same('connections', ports.size, 1);
  },
  async '16 clients with 50 requests each'({ proxied }) {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
    const work = async (worker) => {
      for (let n = 0; n < 50; n++) {
        const target = `/echo/${worker}/${n}`;
        const posts = n % 3 === 1;
        const body = posts ? pattern(n * 997, worker) : Buffer.alloc(0);
        const method = posts ? 'POST' : 'GET';
        const headers = posts ? { 'Content-Length': body.length } : {};
        const told = await echo(proxied, target, { method, headers, body, agent });
        same('seen', [told.target, told.method, told.sum], [target, method, checksum(body)]);
      }
    };
    await Promise.all(Array.from({ length: 16 }, (_, worker) => work(worker)));
  },
  async '100-continue'({ proxied }) {
    const agent = oneConnection();
    const body = pattern(300000, 3);
    for (let i = 0; i < 3; i++) {
      const headers = { Expect: '100-continue', 'Content-Length': body.length };
      const onSend = (request, note) => {
        request.on('continue', () => {
          note('asked');
          request.end(body);
        });
        request.flushHeaders();
      };
      const told = await echo(proxied, '/echo/expect', { method: 'POST', headers, agent, onSend });
      same('seen', [told.answer.sent, told.sum], ['asked', checksum(body)]);
      same('Expect', values(told.fields, 'expect'), ['100-continue']);
    }
  },
  async '417 instead of 100'({ proxied }) {
    const agent = oneConnection();
    for (let i = 0; i < 3; i++) {
      const headers = { Expect: '100-continue', 'Content-Length': 300000 };
      const onSend = (request, note) => {
        request.on('continue', () => note('asked'));
        request.flushHeaders();
      };
      const answer = await ask(proxied, '/never', { method: 'POST', headers, agent, onSend });
      const seen = [answer.status, answer.sent, answer.body.toString()];
      same('answer', seen, [417, undefined, 'not this\n']);
    }
    sameBytes('after it', (await ask(proxied, '/bytes/11', { agent })).body, pattern(11));
  },
  async '413 during an upload of 8 MB'({ proxied }) {
    for (let i = 0; i < 5; i++) {
      const [agent, body] = [new http.Agent({ keepAlive: true }), pattern(8000000)];
      const headers = { 'Content-Length': body.length };
      const began = Date.now();
      const answer = await ask(proxied, '/early', { method: 'POST', headers, body, agent });
      same('answer', [answer.status, answer.body.toString()], [413, 'too large\n']);
      if (Date.now() - began > 900) throw new Error(`it took ${Date.now() - began} ms`);
      sameBytes('after it', (await ask(proxied, '/bytes/11', { agent })).body, pattern(11));
    }
  },
  async '103 comes through'({ proxied, agent }) {
    const answer = await ask(proxied, '/hints', { agent });
    same('answer', [answer.early, answer.body.toString()], [[103], 'hinted\n']);
  },
  async 'a drip is not held back'({ proxied, agent }) {
    const answer = await ask(proxied, '/drip', { agent });
    const wanted = [0, 1, 2, 3, 4, 5].map((n) => `piece ${n}\n`).join('');
    same('text', answer.body.toString(), wanted);
    const spread = answer.times.at(-1) - answer.times[0];
    if (spread < 200) throw new Error(`all came within ${spread} ms`);
  },
  async 'a reset is passed on'({ proxied, agent }) {
    const count = async () => Number((await ask(proxied, '/gone', { agent })).body);
    const before = await count();
    const { hostname, port, pathname } = new URL(proxied);
    const socket = net.connect(port, hostname);
    socket.on('error', () => {});
    socket.write(`GET ${pathname}/hang HTTP/1.1\r\nHost: t\r\n\r\n`);
    await sleep(200);
    socket.resetAndDestroy();
    for (let i = 0; i < 40; i++) {
      if ((await count()) === before + 1) return;
      await sleep(50);
    }
    throw new Error('not noticed within 2 s');
  },
  async 'Connection: close'({ proxied }) {
    const agent = new http.Agent({ keepAlive: false });
    const ports = new Set();
    for (let i = 0; i < 3; i++) {
      const answer = await ask(proxied, '/bytes/16384', { agent });
      same('Connection', answer.headers.connection, 'close');
      sameBytes('body', answer.body, pattern(16384));
      ports.add(answer.port);
    }
    same('connections', ports.size, 3);
  },
};

async function client(label, proxied, direct) {
  const agent = oneConnection();
  for (const [name, check] of Object.entries(checks)) {
    await judge(`node client, ${label} server, ${name}`, () => check({ proxied, direct, agent }));
  }
}

async function steady(label, base, seconds) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
  const until = Date.now() + seconds * 1000;
  let [asked, lost, last] = [0, 0, ''];
  const work = async (worker) => {
    for (let n = 0; Date.now() < until; n++) {
      const target = `/echo/${worker}/${n}`;
      const body = n % 2 ? pattern(3000, n) : Buffer.alloc(0);
      const headers = { 'Idempotency-Key': target, 'Content-Length': body.length };
      const method = n % 2 ? 'POST' : 'GET';
      asked++;
      try {
        const told = await echo(base, target, { method, headers, body, agent });
        same('seen', [told.target, told.sum], [target, checksum(body)]);
      } catch (error) {
        lost++;
        last = error.message;
      }
      await sleep(5);
    }
  };
  await Promise.all(Array.from({ length: 16 }, (_, worker) => work(worker)));
  await judge(`node client, ${label} server, restarts in mid-run`, async () => {
    if (lost > 0 || asked < 200) throw new Error(`${lost} of ${asked} lost; ${last}`);
    return `${asked} requests, 0 lost`;
  });
}

const [what, ...rest] = process.argv.slice(2);
await (what === 'steady' ? steady : client)(...rest);
leave();

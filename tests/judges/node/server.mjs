// Node's http module as an origin: `server.mjs PORT`. What it answers is in ../ORIGIN.md.

import { createServer } from 'node:http';
import { gzipSync } from 'node:zlib';
import { checksum, pattern, sleep } from './common.mjs';

const gzipped = gzipSync(pattern(100000));
let gone = 0;

async function whole(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces);
}

// [name, value, name, value] as pairs.
const pairs = (raw) => raw.flatMap((word, i) => (i % 2 ? [] : [[word, raw[i + 1]]]));

function answer(response, status, body, fields = []) {
  response.writeHead(status, [...fields, 'Content-Length', String(body.length)]);
  response.end(body);
}

function bytes(request, response, rest) {
  const total = Number(rest);
  const asked = /^bytes=(\d*)-(\d*)$/.exec(request.headers.range ?? '');
  if (!asked || (!asked[1] && !asked[2])) {
    return answer(response, 200, pattern(total), ['Accept-Ranges', 'bytes']);
  }
  const start = asked[1] ? Number(asked[1]) : Math.max(total - Number(asked[2]), 0);
  const end = asked[1] && asked[2] ? Math.min(Number(asked[2]) + 1, total) : total;
  if (start >= total) {
    return answer(response, 416, Buffer.alloc(0), ['Content-Range', `bytes */${total}`]);
  }
  const range = `bytes ${start}-${end - 1}/${total}`;
  answer(response, 206, pattern(end - start, start), [
    'Accept-Ranges', 'bytes', 'Content-Range', range,
  ]);
}

async function chunked(response, rest) {
  const body = pattern(Number(rest));
  response.writeHead(200, { Trailer: 'X-Length, X-Sum' });
  for (let at = 0; at < body.length; at += 10000) {
    if (!response.write(body.subarray(at, at + 10000))) {
      await new Promise((resolve) => response.once('drain', resolve));
    }
  }
  response.addTrailers({ 'X-Length': String(body.length), 'X-Sum': checksum(body) });
  response.end();
}

async function drip(response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  for (let n = 0; n < 6; n++) {
    response.write(`piece ${n}\n`);
    await sleep(60);
  }
  response.end();
}

async function serve(request, response) {
  const [, first, rest] = /^\/([^/?]*)\/?(.*)$/.exec(request.url) ?? [];
  switch (first) {
    case 'early':
      response.shouldKeepAlive = false;
      return answer(response, 413, Buffer.from('too large\n'), ['Connection', 'close']);
    case 'hang':
      return request.socket.once('close', () => gone++);
  }
  const body = await whole(request);
  switch (first) {
    case 'bytes':
      return bytes(request, response, rest);
    case 'chunked':
      return chunked(response, rest);
    case 'echo': {
      const { method, url: target, rawHeaders, rawTrailers } = request;
      const seen = { method, target, length: body.length, sum: checksum(body) };
      const more = { fields: pairs(rawHeaders), trailers: pairs(rawTrailers) };
      const text = JSON.stringify({ ...seen, ...more });
      return answer(response, 200, Buffer.from(text), ['Content-Type', 'application/json']);
    }
    case 'mirror':
      return answer(response, 200, body);
    case 'status':
      if (rest === '204' || rest === '304') {
        return response.writeHead(Number(rest), { ETag: '"judge"' }).end();
      }
      return answer(response, Number(rest), Buffer.from(`status ${rest}\n`));
    case 'moved':
      return answer(response, Number(rest), Buffer.from('moved\n'), [
        'Location', '/else/where?a=%20b#c',
      ]);
    case 'never':
      return answer(response, 200, Buffer.from('asked without Expect\n'));
    case 'gzip':
      return answer(response, 200, gzipped, [
        'Content-Encoding', 'gzip', 'X-Sum', checksum(gzipped),
      ]);
    case 'fields':
      return answer(response, 200, Buffer.from('fields\n'), [
        'Set-Cookie', 'a=1', 'X-Large', 'x'.repeat(16000), 'Set-Cookie', 'b=2', 'x-lower', '1',
      ]);
    case 'hints':
      // Node 18 joins `link` itself; the callback-free form exists in all that have it.
      response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      return answer(response, 200, Buffer.from('hinted\n'));
    case 'drip':
      return drip(response);
    case 'gone':
      return answer(response, 200, Buffer.from(String(gone)));
    default:
      return answer(response, 404, Buffer.from('nothing here\n'));
  }
}

const server = createServer({ maxHeaderSize: 65536 }, (request, response) => {
  // A client that goes away ends its request with an error; that is no news here.
  serve(request, response).catch?.(() => request.socket.destroy());
});
server.on('checkContinue', (request, response) => {
  if (request.url.startsWith('/never')) {
    return answer(response, 417, Buffer.from('not this\n'), ['Connection', 'close']);
  }
  response.writeContinue();
  server.emit('request', request, response);
});
server.on('clientError', (_, socket) => socket.destroy());
server.listen({ host: '127.0.0.1', port: Number(process.argv[2]), backlog: 1024 }, () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  server.closeIdleConnections?.();
  setTimeout(() => process.exit(0), 2000).unref();
});

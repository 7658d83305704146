// The `ws` library as a server: `sockets_server.mjs PORT`. What it does is in ../ORIGIN.md.

import { createServer } from 'node:http';
import { createRequire } from 'node:module';

const { WebSocketServer } = createRequire(process.env.JUDGES_WS)('ws');
// Path to how its socket ended: a check asks for its own, others may still be ending.
const ended = new Map();
const server = createServer((_, response) => response.end('not upgraded\n'));
const maxPayload = 2 << 20;
const sockets = new WebSocketServer({ noServer: true, maxPayload, perMessageDeflate: true });

server.on('upgrade', (request, socket, head) => {
  const refused = /^\/refuse\/(\d+)/.exec(request.url);
  if (refused) {
    socket.end(
      `HTTP/1.1 ${refused[1]} No\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot here\n`,
    );
    return;
  }
  // The 101 and what is said at once leave in one packet.
  socket.cork();
  sockets.handleUpgrade(request, socket, head, (ws) => {
    serve(ws, request.url);
    socket.uncork();
  });
});

function serve(ws, path) {
  ws.on('error', () => {});
  if (path.startsWith('/hello')) ws.send('hello');
  if (path.startsWith('/close')) return ws.close(4001, 'enough');
  if (path.startsWith('/ended')) {
    ws.send(ended.get(path.replace('/ended', '/echo')) ?? 'not yet');
    return ws.close(1000);
  }
  if (path.startsWith('/ping')) {
    ws.on('pong', (data) => ws.send(String(data) === 'are you there' ? 'the pong came' : 'no'));
    ws.ping('are you there');
  }
  ws.on('message', (data, binary) => ws.send(data, { binary }));
  ws.on('close', (code, reason) => ended.set(path, `${code} ${reason}`));
}

server.listen(Number(process.argv[2]), '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${server.address().port}`);
});
process.on('SIGTERM', () => process.exit(0));

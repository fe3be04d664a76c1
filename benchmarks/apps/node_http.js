// Node's http.createServer, the reference for llhttp in a server.
'use strict';

const { once } = require('node:events');
const fs = require('node:fs');
const { parseArgs } = require('node:util');

const text = { type: 'string' };
const { values: options } = parseArgs({
  options: {
    port: text, answer: text, loop: text, processes: text, certificate: text, key: text,
    'request-size': text,
  },
});

const HELLO = 'Hello, World!';
const LARGE = Buffer.alloc(65536, 'x');
const PIECES = 1600;

const answers = {
  hello(request, response) {
    response.end(HELLO);
  },
  large(request, response) {
    response.end(LARGE);
  },
  body(request, response) {
    const chunks = [];
    request.on('data', (chunk) => chunks.push(chunk));
    request.on('end', () => response.end(String(Buffer.concat(chunks).length)));
  },
  stream(request, response) {
    let size = 0;
    request.on('data', (chunk) => { size += chunk.length; });
    request.on('end', () => response.end(String(size)));
  },
  async download(request, response) {
    response.writeHead(200, { 'Content-Length': PIECES * LARGE.length });
    for (let n = 0; n < PIECES; n++) {
      if (!response.write(LARGE)) await once(response, 'drain');
    }
    response.end();
  },
};
answers.closing = answers.hello;

const answer = answers[options.answer || 'hello'];
const server = options.certificate
  ? require('node:https').createServer({
      cert: fs.readFileSync(options.certificate), key: fs.readFileSync(options.key),
    }, answer)
  : require('node:http').createServer(answer);
// Idle connections have to stay while they are counted.
server.keepAliveTimeout = 75000;
server.listen({ host: '127.0.0.1', port: Number(options.port), backlog: 4096 });

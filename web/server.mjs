// Files over HTTP, as any plain server gives them. By itself it serves the built page: node server.mjs [PORT]

import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const TYPES = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.wasm': 'application/wasm',
};

const isFile = (path) => statSync(path, { throwIfNoEntry: false })?.isFile();

/** Serves folders under prefixes, and `pages` of text. Resolves to the server and its address. */
export async function serve(folders, pages = {}, port = 0) {
  const server = createServer((request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname));
    if (path in pages) return response.writeHead(200, { 'content-type': TYPES['.html'] }).end(pages[path]);
    const prefix = Object.keys(folders).find((prefix) => path.startsWith(prefix));
    const place = prefix && join(folders[prefix], path.slice(prefix.length));
    const file = place && [place, join(place, 'index.html')].find(isFile);
    if (!file) return response.writeHead(404).end('not found');
    response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' });
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  return { server, address: `http://localhost:${server.address().port}` };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const built = fileURLToPath(new URL('dist-demo', import.meta.url));
  const { address } = await serve({ '/': built }, {}, Number(process.argv[2] ?? 8080));
  console.log(`the demo page is at ${address}/ — Ctrl-C ends it`);
}

// A browser, a server, and what every test needs of them.

import { existsSync, mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { serve } from '../server.mjs';
import { start } from './browsers.mjs';

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

/** Where screenshots go. */
const SCREENSHOTS = process.env.TILEWISE_SCREENSHOTS ?? path('../../target/web-screenshots');

/** The list of shaders that the Rust tests wrote. */
const SHADERS = process.env.TILEWISE_WRITE_SHADERS;

/** Opens a browser and a server: the package, the tests, the fixtures, and the demo in a folder of no special name. */
export async function open(name) {
  const shaders = SHADERS !== undefined && existsSync(SHADERS);
  const folders = {
    '/package/': path('../dist'),
    '/tests/': path('.'),
    '/fixtures/': path('../../tests/fixtures'),
    '/some/folder/': path('../dist-demo'),
    ...(shaders ? { '/shaders.json': SHADERS } : {}),
  };
  const { server, address } = await serve(folders, { '/blank': '<!doctype html><title>blank</title><link rel="icon" href="data:,">' });
  const browser = await start(name);
  mkdirSync(SCREENSHOTS, { recursive: true });
  return {
    name,
    shaders,
    browser,
    /** A page at that path. What it throws fails the test run, unless it is tolerated. */
    async page(at, { before, tolerant = false } = {}) {
      const page = await browser.newPage();
      page.setDefaultTimeout(300_000);
      page.on('pageerror', (error) => {
        if (!tolerant) throw error;
      });
      if (before) await page.evaluateOnNewDocument(before);
      await page.goto(address + at);
      return page;
    },
    /** Takes a picture for people to look at. */
    shot: (page, what) => page.screenshot({ path: `${SCREENSHOTS}/${name}-${what}.png`, fullPage: true }),
    async close() {
      await browser.close();
      server.close();
    },
  };
}

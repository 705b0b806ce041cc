// The browsers of this machine, headless and with WebGPU on software adapters.

import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { launch } from 'puppeteer-core';

const BROWSERS = {
  chromium: {
    programs: ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'],
    options: {
      browser: 'chrome',
      args: [
        '--no-sandbox',
        '--enable-unsafe-webgpu',
        // Chromium's own software adapter: no f16, subgroups of 4.
        '--use-webgpu-adapter=swiftshader',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        '--no-first-run',
        '--force-color-profile=srgb',
      ],
    },
  },
  firefox: {
    programs: ['firefox-esr', 'firefox'],
    options: {
      browser: 'firefox',
      // On Mesa's lavapipe: f16, and no subgroups.
      extraPrefsFirefox: { 'dom.webgpu.enabled': true, 'gfx.webgpu.ignore-blocklist': true },
    },
  },
};

/** The program of a browser on this machine. */
function program(name) {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const places = BROWSERS[name].programs.flatMap((program) => folders.map((folder) => join(folder, program)));
  return places.find((place) => existsSync(place));
}

/** Starts a browser. */
export function start(name) {
  const executablePath = program(name);
  if (!executablePath) throw new Error(`there is no ${name} on this machine`);
  // A software adapter takes its time.
  return launch({ ...BROWSERS[name].options, executablePath, headless: true, protocolTimeout: 600_000 });
}

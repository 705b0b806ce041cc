// From what the Rust side made to the package and the demo page: optimised, typed, bundled, measured.

import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

process.chdir(fileURLToPath(new URL('.', import.meta.url)));

/** What a page downloads at most, compressed. */
const LIMIT = 400_000;

const run = (tool, ...args) => execFileSync(`node_modules/.bin/${tool}`, args, { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });

// Features that every browser with WebGPU has.
const FEATURES = ['bulk-memory', 'sign-ext', 'nontrapping-float-to-int', 'mutable-globals', 'reference-types', 'multivalue', 'gc', 'extended-const', 'simd', 'bulk-memory-opt', 'call-indirect-overlong'];

// Chosen by what remains when it is compressed: a function that is put into its one caller, or a value that is kept in a
// local, makes code shorter, but less like other code. Rust's stack lies over the lowest memory, which nobody else uses.
const SMALL = ['-Oz', '--one-caller-inline-max-function-size=0', '--skip-pass=local-cse', '--skip-pass=simplify-locals', '--low-memory-unused'];

/** Makes what wasm-bindgen wrote into a folder small, and says how small. */
function shrink(folder) {
  const file = `${folder}/tilewise_web_bg.wasm`;
  const optimise = (...passes) => run('wasm-opt', file, ...FEATURES.map((feature) => `--enable-${feature}`), ...passes, '-o', file);
  optimise(...SMALL, '--debuginfo');
  // Functions of like names are alike: side by side they compress better.
  const names = optimise('--minify-imports-and-exports-and-modules', '--reorder-functions-by-name', '--strip-debug', '--strip-producers');
  rename(folder, JSON.parse(names));
  return gzipSync(readFileSync(file), { level: 9 }).length;
}

/**
 * What leaves an export by a throw, a trap above all, left Rust's frames where they were: no promise of theirs is ever kept,
 * and nothing of the module can be relied on. Closures come through exports too, so that no throw is missed.
 */
const WATCH = `
/** Who is told of what the WebAssembly stopped by. */
export const watchers = new Set();

function watched(exports) {
    const watch = (work) => (...values) => {
        try {
            return work(...values);
        } catch (error) {
            for (const tell of watchers) tell(error);
            throw error;
        }
    };
    const all = Object.entries(exports);
    return Object.fromEntries(all.map(([name, value]) => [name, typeof value === 'function' ? watch(value) : value]));
}
`;

/** Has the JavaScript beside a module call what it shares with it by the new names. The old ones end in hashes. */
function rename(folder, { imports, exports }) {
  const taken = new Map(imports.map(([, name, short]) => [name, short]));
  const given = new Map(exports);
  edit(`${folder}/tilewise_web.js`, (text) =>
    text
      .replace('"./tilewise_web_bg.js": import0', '"a": import0')
      .replace(/^( +)([\w$]+)(?=: function)/gm, (_, indent, name) => indent + (taken.get(name) ?? name))
      .replace(/(?<=\bwasm\.)[\w$]+/g, (name) => given.get(name) ?? name)
      .replace('wasm = instance.exports;', 'wasm = watched(instance.exports);')
      .concat(WATCH),
  );
  // Which types tell of: only the module's own JavaScript uses them.
  edit(`${folder}/tilewise_web.d.ts`, (text) =>
    text
      .replace(/export interface InitOutput \{[^}]*\}/, 'export type InitOutput = object;')
      .concat('\n/** Who is told of what the WebAssembly stopped by. */\nexport const watchers: Set<(error: unknown) => void>;\n'),
  );
  rmSync(`${folder}/tilewise_web_bg.wasm.d.ts`, { force: true });
}

function edit(file, change) {
  writeFileSync(file, change(readFileSync(file, 'utf8')));
}

const [ops, lab] = ['js/wasm', 'demo/lab'].map(shrink);
run('tsc', '-p', 'tsconfig.json');
rmSync('dist', { recursive: true, force: true });
run('tsc', '-p', 'tsconfig.package.json');
mkdirSync('dist/wasm', { recursive: true });
cpSync('js/wasm', 'dist/wasm', { recursive: true });
run('vite', 'build', '--logLevel', 'warn');

console.log(`gzipped: ${ops} bytes with every operation (limit ${LIMIT}), ${lab} with oracles, grids and benchmarks too`);
if (ops >= LIMIT) {
  console.error(`the package's WebAssembly is ${ops - LIMIT} bytes over its limit`);
  process.exitCode = 1;
}

// What Node's judges share: the bytes that everybody makes, and how a verdict is said.

import { createHash } from 'node:crypto';

const BLOCK = Buffer.alloc(65521);
for (let i = 0; i < BLOCK.length; i++) BLOCK[i] = (i * 31 + (i >> 8) * 17) & 255;

// Bytes `start` to `start + n` of the pattern: 65,521 bytes in which every shift shows.
export function pattern(n, start = 0) {
  const out = Buffer.alloc(n);
  let at = 0;
  let from = start % BLOCK.length;
  while (at < n) {
    at += BLOCK.copy(out, at, from);
    from = 0;
  }
  return out;
}

export const checksum = (body) => createHash('sha256').update(body).digest('hex');

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export function same(what, seen, wanted) {
  const [a, b] = [JSON.stringify(seen), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${what}: saw ${short(a)}, not ${short(b)}`);
}

export function sameBytes(what, seen, wanted) {
  if (!seen.equals(wanted)) {
    let at = 0;
    while (at < seen.length && at < wanted.length && seen[at] === wanted[at]) at++;
    throw new Error(`${what}: ${seen.length} bytes, not ${wanted.length}; they differ at ${at}`);
  }
}

const short = (text) => ((text?.length ?? 0) < 300 ? text : text.slice(0, 300) + '...');

let failed = 0;

// Runs one check; whatever it throws is its failure, and so is taking longer than `limit_ms`.
export async function judge(name, check, limit_ms = 30000) {
  const began = Date.now();
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done after ${limit_ms} ms`)), limit_ms);
  });
  try {
    const detail = await Promise.race([check(), late]);
    const took = `${((Date.now() - began) / 1000).toFixed(2)} s`;
    console.log(`ok   ${name}: ${detail ? detail + ', ' : ''}${took}`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${name}: ${error.code ? error.code + ' ' : ''}${error.message}`);
  } finally {
    clearTimeout(timer);
  }
}

export const leave = () => process.exit(failed ? 1 : 0);

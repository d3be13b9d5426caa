// Stores photos and follows each through the platform: node demo.mjs FOLDER
//
// Needs the lines that `rouse env` prints in the environment.
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const require = createRequire(new URL('./thumbnail/index.js', import.meta.url));
const { S3Client, PutObjectCommand } = require('@aws-sdk/client-s3');

const DEADLINE = 300_000;
const { ROUSE_URL, ROUSE_TOKEN } = process.env;
const s3 = new S3Client({});

async function get(route) {
  const response = await fetch(ROUSE_URL + route, {
    headers: { authorization: `Bearer ${ROUSE_TOKEN}` },
  });
  if (!response.ok) throw new Error(`GET ${route}: ${response.status} ${await response.text()}`);
  return response.json();
}

function progress(text, last = false) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}${last ? '\n' : ''}`);
  else if (last) process.stderr.write(`${text}\n`);
}

function bar(done, all) {
  const width = 30;
  const full = Math.round((done / all) * width);
  return `${'█'.repeat(full)}${'░'.repeat(width - full)} ${done}/${all}`;
}

async function store(folder) {
  const names = fs.readdirSync(folder).filter((name) => /\.jpe?g$/i.test(name)).sort();
  if (names.length === 0) throw new Error(`${folder} has no .jpg`);
  const photos = [];
  for (const name of names) {
    const Body = fs.readFileSync(path.join(folder, name));
    const begin = performance.now();
    await s3.send(new PutObjectCommand({ Bucket: 'photos', Key: name, Body, ContentType: 'image/jpeg' }));
    photos.push({ name, size: Body.length, put: performance.now() - begin });
    progress(`   store   ${bar(photos.length, names.length)}`, photos.length === names.length);
  }
  return photos;
}

// Resolves when the catalog has both thumbnails of every photo.
async function records(photos) {
  const begin = Date.now();
  for (;;) {
    const found = new Map();
    for (const record of (await get('/svc/catalog/photos')).photos) found.set(record.name, record);
    const done = photos.filter(({ name }) => {
      const made = found.get(name)?.thumbnails ?? {};
      return made.node && made.python;
    });
    progress(`   catalog ${bar(done.length, photos.length)}`, done.length === photos.length);
    if (done.length === photos.length) return found;
    if (Date.now() - begin > DEADLINE) {
      const late = photos.filter((photo) => !done.includes(photo)).map(({ name }) => name);
      throw new Error(`no record after ${DEADLINE / 1000} s for ${late.join(', ')}; see: rouse events`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

// The life of each photo: the event that woke the function, and the one that its thumbnail raised.
async function lives(target) {
  const woken = (await get(`/_rouse/v1/events?target=${target}&limit=1000`)).events;
  const raised = (await get('/_rouse/v1/events?target=service:catalog&limit=1000')).events;
  const byCause = new Map(raised.map((event) => [event.cause, event]));
  const found = new Map();
  for (const { id } of woken) {
    const event = await get(`/_rouse/v1/events/${id}`);
    const run = event.runs.at(-1);
    const effect = byCause.get(id);
    found.set(event.subject, {
      cold: run.cold,
      wake: run.started - event.accepted,
      wait: run.timing.queued / 1000,
      run: run.timing.run / 1000,
      record: effect ? effect.ended - effect.accepted : NaN,
      total: (effect ?? event).ended - event.accepted,
      attempts: event.attempts,
    });
  }
  return found;
}

const ms = (value) => (Number.isFinite(value) ? value.toFixed(value < 10 ? 1 : 0) : '-');
const kb = (bytes) => `${(bytes / 1024).toFixed(0)} K`;
const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

function print(head, rows) {
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column].length)));
  const line = (row) => row.map((cell, n) => (n === 0 ? cell.padEnd(widths[n]) : cell.padStart(widths[n]))).join('  ');
  console.log([line(head), widths.map((width) => '─'.repeat(width)).join('──'), ...rows.map(line)].join('\n'));
}

function table(maker, photos, found, life) {
  console.log(`\n${maker}: milliseconds for each hop`);
  const rows = photos.map(({ name, size, put }) => {
    const at = life.get(name);
    const thumb = found.get(name).thumbnails[maker];
    return [name, kb(size), kb(thumb.size), at.cold ? 'cold' : 'warm', ms(put), ms(at.wake), ms(at.wait),
      ms(at.run), ms(at.record), ms(at.total)];
  });
  print(['photo', 'size', 'thumb', 'start', 'put', 'wake', 'instance', 'run', 'record', 'total'], rows);
  const all = [...life.values()];
  const cold = all.filter((one) => one.cold);
  console.log(`${all.length} photos, ${cold.length} cold and ${all.length - cold.length} warm, `
    + `${all.filter((one) => one.attempts > 1).length} retried; median run ${ms(median(all.map((one) => one.run)))} ms, `
    + `median photo to record ${ms(median(all.map((one) => one.total)))} ms`);
}

const begin = performance.now();
const photos = await store(process.argv[2]);
const found = await records(photos);
const seconds = (performance.now() - begin) / 1000;
for (const [maker, target] of [['node', 'function:thumbnail'], ['python', 'function:thumbnail-py']]) {
  table(maker, photos, found, await lives(target));
}
console.log(`\n${photos.length} photos stored, ${photos.length * 2} thumbnails made, `
  + `${found.size} records in the catalog: ${seconds.toFixed(1)} s, ${(photos.length * 2 / seconds).toFixed(1)} thumbnails a second`);
console.log('put: S3 answered, durable · wake: event to dispatch · instance: waiting for one, its start included');
console.log('run: the function · record: thumbnail stored to catalog · total: photo accepted to record');

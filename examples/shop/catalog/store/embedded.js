'use strict';
// The records of the catalog, embedded: a journal of JSON lines, replayed at the start.
// `put` resolves when the record is on disk.

const fs = require('node:fs');
const path = require('node:path');

async function open(folder) {
  await fs.promises.mkdir(folder, { recursive: true });
  const name = path.join(folder, 'records.ndjson');
  const records = await replay(name);
  const journal = await fs.promises.open(name, 'a', 0o600);
  let tail = Promise.resolve();

  // One append at a time, so that lines never mix and the order on disk is the order of the calls.
  function put(record) {
    const written = tail.then(async () => {
      await journal.appendFile(`${JSON.stringify(record)}\n`);
      await journal.datasync();
      records.set(record.name, record);
    });
    tail = written.catch(() => {});
    return written;
  }

  return {
    put,
    get: async (photo) => records.get(photo),
    list: async () => [...records.values()].sort((a, b) => (a.name < b.name ? -1 : 1)),
    close: async () => { await tail; await journal.close(); },
  };
}

// A crash can leave half a line at the end: it was never answered, and is cut off.
async function replay(name) {
  const records = new Map();
  const bytes = await fs.promises.readFile(name).catch((error) => {
    if (error.code === 'ENOENT') return Buffer.alloc(0);
    throw error;
  });
  const end = bytes.lastIndexOf(10) + 1;
  for (const line of bytes.subarray(0, end).toString('utf8').split('\n')) {
    if (line === '') continue;
    const record = JSON.parse(line);
    records.set(record.name, record);
  }
  if (end < bytes.length) await fs.promises.truncate(name, end);
  return records;
}

module.exports = { open };

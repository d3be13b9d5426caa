'use strict';
const assert = require('node:assert');
const fs = require('node:fs/promises');
const os = require('node:os');
const path = require('node:path');
const test = require('node:test');
const { open } = require('./store');

async function folder(t) {
  const made = await fs.mkdtemp(path.join(os.tmpdir(), 'catalog-'));
  t.after(() => fs.rm(made, { recursive: true }));
  return made;
}

test('records are there after a restart, the newest of each name, by name', async (t) => {
  const where = await folder(t);
  const first = await open(where);
  await Promise.all([first.put({ name: 'b', n: 1 }), first.put({ name: 'a', n: 1 }), first.put({ name: 'b', n: 2 })]);
  await first.close();
  const second = await open(where);
  assert.deepStrictEqual(await second.list(), [{ name: 'a', n: 1 }, { name: 'b', n: 2 }]);
  assert.strictEqual(await second.get('c'), undefined);
  await second.close();
});

test('half a line at the end is cut off, and the next record is whole', async (t) => {
  const where = await folder(t);
  await fs.writeFile(path.join(where, 'records.ndjson'), '{"name":"a"}\n{"name":"b"');
  const store = await open(where);
  await store.put({ name: 'c' });
  await store.close();
  const again = await open(where);
  assert.deepStrictEqual((await again.list()).map((record) => record.name), ['a', 'c']);
  await again.close();
});

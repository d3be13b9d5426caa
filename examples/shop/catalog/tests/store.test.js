'use strict';
const assert = require('node:assert');
const fs = require('node:fs/promises');
const os = require('node:os');
const path = require('node:path');
const { after, before, describe, test } = require('node:test');
const { open } = require('../store');
const mongodb = require('../store/mongodb');
const mongod = require('./mongod');

const photo = (name, width, thumbnails = {}) => ({
  name, width, height: 2, size: 3, taken: null, thumbnail: `node/${name}`,
  thumbnails: { node: { key: `node/${name}`, size: 9 }, ...thumbnails },
});

async function folder(t) {
  const made = await fs.mkdtemp(path.join(os.tmpdir(), 'catalog-'));
  t.after(() => fs.rm(made, { recursive: true }));
  return made;
}

// What each store must do; `place` gives the environment of a new, empty one.
function contract(place) {
  test('records are there after a restart, the newest of each name, by name', async (t) => {
    const where = await place(t);
    const first = await open(where);
    await Promise.all([photo('b', 1), photo('a', 1)].map((record) => first.put(record)));
    await first.put(photo('b', 2, { python: { key: 'python/b', size: 8 } }));
    await first.close();
    const second = await open(where);
    assert.deepStrictEqual(await second.list(), [photo('a', 1), photo('b', 2, { python: { key: 'python/b', size: 8 } })]);
    assert.deepStrictEqual(await second.get('a'), photo('a', 1));
    assert.strictEqual(await second.get('c'), undefined);
    await second.close();
  });

  test('a photo may have any name, and be found by that only', async (t) => {
    const store = await open(await place(t));
    const names = ['$where', 'a.b', 'folder/a b.jpg', '{"$ne":null}', 'ä'];
    for (const name of names) await store.put({ ...photo(name, 1), taken: '2026-11-22T10:00:00Z' });
    for (const name of names) assert.strictEqual((await store.get(name)).name, name);
    assert.strictEqual(await store.get('a'), undefined);
    assert.deepStrictEqual((await store.list()).map((record) => record.name), [...names].sort());
    await store.close();
  });

  test('a maker may have any name', async (t) => {
    const store = await open(await place(t));
    const record = photo('a', 1, { '$set': { key: 'x', size: 1 }, 'a.b': { key: 'y', size: 2 } });
    await store.put(record);
    assert.deepStrictEqual(await store.get('a'), record);
    await store.close();
  });

  test('more than one answer of a database holds is listed', async (t) => {
    const store = await open(await place(t));
    for (let n = 0; n < 250; n += 1) await store.put(photo(String(n).padStart(3, '0'), n));
    const widths = (await store.list()).map((record) => record.width);
    assert.deepStrictEqual(widths, [...Array(250).keys()]);
    await store.close();
  });
}

describe('embedded', () => {
  contract(async (t) => ({ STORE: await folder(t) }));

  test('half a line at the end is cut off, and the next record is whole', async (t) => {
    const STORE = await folder(t);
    await fs.writeFile(path.join(STORE, 'records.ndjson'), '{"name":"a"}\n{"name":"b"');
    const store = await open({ STORE });
    await store.put({ name: 'c' });
    await store.close();
    const again = await open({ STORE });
    assert.deepStrictEqual((await again.list()).map((record) => record.name), ['a', 'c']);
    await again.close();
  });
});

describe('MongoDB', () => {
  let server;
  before(async () => { server = await mongod.start(); });
  after(() => server.stop());

  let databases = 0;
  contract(async () => {
    databases += 1;
    return { MONGODB_URL: `mongodb://127.0.0.1:${server.port}/catalog${databases}` };
  });

  test('a record with a field that the catalog does not know is refused', async () => {
    const store = await open({ MONGODB_URL: `mongodb://127.0.0.1:${server.port}/strict` });
    await assert.rejects(store.put({ ...photo('a', 1), other: 1 }), { name: 'StrictModeError' });
    assert.deepStrictEqual(await store.list(), []);
    await store.close();
  });

  test('what cannot be reached is said', async () => {
    await assert.rejects(mongodb.open('mongodb://127.0.0.1:1/catalog', 200), /ECONNREFUSED/);
  });
});

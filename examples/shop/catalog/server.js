'use strict';
// The catalog: takes each thumbnail's event (CloudEvents 1.0 over HTTP, binary mode), keeps a record
// of the photo, and serves the records as REST and as a page.

const { GetObjectCommand, HeadObjectCommand, S3Client } = require('@aws-sdk/client-s3');
const express = require('express');
const { page } = require('./page');
const { open } = require('./store');

const THUMBS = process.env.THUMBS || 'thumbs';
const s3 = new S3Client({});

// The thumbnail's maker wrote what it found in the photo into the thumbnail's metadata.
async function record(store, thumbnail) {
  const head = await s3.send(new HeadObjectCommand({ Bucket: THUMBS, Key: thumbnail }));
  const found = head.Metadata || {};
  const name = decodeURIComponent(found.photo);
  const before = (await store.get(name)) || { thumbnails: {} };
  const thumbnails = {
    ...before.thumbnails,
    [found.maker]: { key: thumbnail, size: head.ContentLength },
  };
  return {
    name,
    width: Number(found.width),
    height: Number(found.height),
    size: Number(found.bytes),
    taken: found.taken || null,
    thumbnail: (thumbnails.node || thumbnails.python).key,
    thumbnails,
  };
}

// Two events of one photo must not overwrite each other's half: read and write one at a time.
function oneAtATime() {
  let tail = Promise.resolve();
  return (work) => {
    const done = tail.then(work);
    tail = done.catch(() => {});
    return done;
  };
}

function routes(store) {
  const app = express();
  const inTurn = oneAtATime();
  app.disable('x-powered-by');

  app.get('/health', (request, response) => response.json({ status: 'ok' }));

  app.post('/events', express.json({ type: () => true, limit: '1mb' }), async (request, response) => {
    if (request.get('ce-specversion') !== '1.0') {
      return response.status(400).json({ error: 'not a CloudEvent 1.0 in binary mode' });
    }
    for (const entry of request.body.Records || []) {
      if (!entry.eventName.startsWith('ObjectCreated:')) continue;
      const key = decodeURIComponent(entry.s3.object.key.replace(/\+/g, ' '));
      await inTurn(async () => store.put(await record(store, key)));
      console.log(`${request.get('ce-id')}: ${key}`);
    }
    return response.status(204).end();
  });

  app.get('/photos', async (request, response) => response.json({ photos: await store.list() }));

  app.get('/photos/*name', async (request, response) => {
    const found = await store.get(request.params.name.join('/'));
    return found ? response.json(found) : response.status(404).json({ error: 'no such photo' });
  });

  app.get('/thumbs/*key', async (request, response) => {
    const Key = request.params.key.join('/');
    const stored = await s3.send(new GetObjectCommand({ Bucket: THUMBS, Key }));
    response.type(stored.ContentType || 'application/octet-stream');
    stored.Body.pipe(response);
  });

  app.get('/', async (request, response) => response.type('html').send(page(await store.list())));
  return app;
}

async function main() {
  const store = await open(process.env);
  const port = Number(process.env.PORT || 8080);
  const server = routes(store).listen(port, (error) => {
    if (error) throw error;
    console.log(`catalog listens on ${port}`);
  });
  process.on('SIGTERM', () => server.close(async () => { await store.close(); process.exit(0); }));
}

main().catch((error) => { console.error(error); process.exit(1); });

'use strict';
// The records of the catalog in MongoDB, one document a photo, with the photo's name as its id.
// `put` resolves when most of the servers have the record in their journals.

const mongoose = require('mongoose');

// How long a call waits for a server that can be reached, in milliseconds.
const PATIENCE = 10_000;

// Thumbnails are a list and not an object by maker: a field's name may not be just any text.
const thumbnail = new mongoose.Schema({ maker: String, key: String, size: Number }, { _id: false });
const photo = new mongoose.Schema(
  {
    _id: String,
    width: Number,
    height: Number,
    size: Number,
    taken: String,
    thumbnail: String,
    thumbnails: [thumbnail],
  },
  { autoIndex: false, strict: 'throw', versionKey: false, writeConcern: { w: 'majority', j: true } },
);

function toDocument({ name, thumbnails, ...rest }) {
  const list = Object.entries(thumbnails).map(([maker, one]) => ({ maker, ...one }));
  return { _id: name, ...rest, thumbnails: list };
}

function toRecord({ _id, thumbnails, ...rest }) {
  const byMaker = thumbnails.map(({ maker, ...one }) => [maker, one]);
  return { name: _id, ...rest, thumbnails: Object.fromEntries(byMaker) };
}

async function open(url, serverSelectionTimeoutMS = PATIENCE) {
  const connection = await mongoose.createConnection(url, { serverSelectionTimeoutMS }).asPromise();
  const Photo = connection.model('Photo', photo);
  return {
    put: async (record) => {
      const document = toDocument(record);
      await Photo.replaceOne({ _id: document._id }, document, { upsert: true });
    },
    get: async (name) => {
      const found = await Photo.findById(name).lean();
      return found ? toRecord(found) : undefined;
    },
    list: async () => (await Photo.find().sort({ _id: 1 }).lean()).map(toRecord),
    close: () => connection.close(),
  };
}

module.exports = { open };

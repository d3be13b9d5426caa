'use strict';
// The records of the catalog: in MongoDB where `MONGODB_URL` is given, else embedded, in the folder `STORE`.
// Both have `put`, `get`, `list` and `close`; a record has the fields that server.js gives it.

function open({ MONGODB_URL, STORE }) {
  if (MONGODB_URL) return require('./store/mongodb').open(MONGODB_URL);
  return require('./store/embedded').open(STORE || './data');
}

module.exports = { open };

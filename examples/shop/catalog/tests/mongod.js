'use strict';
// Starts mongod.py for a test: MongoDB's wire protocol over mongomock, which scripts/install brings.
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const readline = require('node:readline');

const PACKAGES = path.resolve(__dirname, '../../../../.cache/test/mongomock');

async function start() {
  if (!fs.existsSync(PACKAGES)) throw new Error(`${PACKAGES} is missing: run ./test example, which installs it`);
  const server = spawn('python3.11', [path.join(__dirname, 'mongod.py')], {
    env: { ...process.env, PYTHONPATH: PACKAGES, PYTHONDONTWRITEBYTECODE: '1' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const ended = once(server, 'exit').then(([status]) => { throw new Error(`mongod.py ended with ${status}`); });
  ended.catch(() => {});
  const [port] = await Promise.race([once(readline.createInterface({ input: server.stdout }), 'line'), ended]);
  // It ends with its standard input, so also when the test is killed.
  return { port: Number(port), stop: async () => { server.stdin.end(); await once(server, 'exit'); } };
}

module.exports = { start };

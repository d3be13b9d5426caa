// Runs a Node.js handler: fetches calls from the Runtime API, hands them to the handler, posts what
// it answers. Talks to nobody else. A CommonJS file, since Node starts those faster.
'use strict';

const { closeSync, existsSync, readSync, rmSync, writeFileSync, writeSync } = require('node:fs');
const { createRequire } = require('node:module');
const net = require('node:net');
const path = require('node:path');
const { pathToFileURL } = require('node:url');

const { env } = process;
const [apiHost, apiPort] = env.AWS_LAMBDA_RUNTIME_API.split(':');
const REQUEST_ID = 'lambda-runtime-aws-request-id';

// What a call logs is written before its answer, however much it is, and before the process ends.
for (const stream of [process.stdout, process.stderr]) {
  stream._handle?.setBlocking?.(true);
}

class BootstrapError extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
  }
}

// The Runtime API over one kept connection, one request after the other. Not `node:http`, which does far
// more: the other end always answers with a Content-Length.
class RuntimeApi {
  constructor(host, port) {
    this.host = `${host}:${port}`;
    this.received = Buffer.alloc(0);
    this.socket = net.connect({ host, port: Number(port), noDelay: true });
    this.socket.unref();
    this.socket.on('data', (chunk) => this.take(chunk));
    this.socket.on('error', (error) => this.fail(error));
    this.socket.on('close', () => this.fail(new Error('the Runtime API closed the connection')));
  }

  // Resolves with status, headers in lower case, and body.
  ask(method, route, body = '', headers = {}) {
    const content = Buffer.from(body);
    const lines = [
      `${method} /2018-06-01/runtime/${route} HTTP/1.1`,
      `Host: ${this.host}`,
      'Content-Type: application/json',
      `Content-Length: ${content.length}`,
      ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
      '',
      '',
    ];
    return new Promise((resolve, reject) => {
      if (this.broken) {
        reject(this.broken);
        return;
      }
      this.waiting = { resolve, reject };
      this.socket.ref();
      this.socket.write(Buffer.concat([Buffer.from(lines.join('\r\n'), 'latin1'), content]));
    });
  }

  fail(error) {
    this.broken = error;
    this.waiting?.reject(error);
    this.waiting = undefined;
  }

  take(chunk) {
    this.received = this.received.length === 0 ? chunk : Buffer.concat([this.received, chunk]);
    if (this.answer === undefined) {
      const end = this.received.indexOf('\r\n\r\n');
      if (end < 0) {
        return;
      }
      const [first, ...lines] = this.received.toString('latin1', 0, end).split('\r\n');
      const headers = {};
      for (const line of lines) {
        const colon = line.indexOf(':');
        headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
      }
      this.answer = { status: Number(first.split(' ')[1]), headers, begin: end + 4 };
    }
    const { status, headers, begin } = this.answer;
    const end = begin + Number(headers['content-length'] ?? 0);
    if (this.received.length < end) {
      return;
    }
    const text = this.received.toString('utf8', begin, end);
    this.received = this.received.subarray(end);
    this.answer = undefined;
    const { resolve } = this.waiting ?? {};
    this.waiting = undefined;
    // Between requests it does not keep the event loop going.
    this.socket.unref();
    resolve?.({ status, headers, text });
  }
}

const api = new RuntimeApi(apiHost, apiPort);
const ask = (...request) => api.ask(...request);

// Anything that was thrown, as the Runtime API wants it.
function describe(error) {
  if (error instanceof Error || (error && error.name && error.message !== undefined)) {
    return {
      errorType: String(error.name || 'Error'),
      errorMessage: String(error.message),
      trace: String(error.stack || '').split('\n'),
    };
  }
  return { errorType: typeof error, errorMessage: String(error), trace: [] };
}

function postError(route, error) {
  const report = describe(error);
  const type = report.errorType.replace(/[^\x20-\x7e]/g, '?');
  const headers = { 'Lambda-Runtime-Function-Error-Type': type };
  return ask('POST', route, JSON.stringify(report), headers);
}

function log(what, error) {
  const report = describe(error);
  console.error(`${what}\t${JSON.stringify(report)}`);
}

// The file that a handler's module names, by the endings that Node knows.
function moduleFile(root, name) {
  const base = path.resolve(root, name);
  for (const ending of ['', '.js', '.mjs', '.cjs', '/index.js', '/index.mjs', '/index.cjs']) {
    const file = base + ending;
    if (ending === '' ? /\.[mc]?js$/.test(file) && existsSync(file) : existsSync(file)) {
      return file;
    }
  }
  return undefined;
}

async function importModule(root, name) {
  const file = moduleFile(root, name);
  if (file === undefined) {
    throw new BootstrapError('Runtime.ImportModuleError', `Cannot find module '${name}' in ${root}`);
  }
  try {
    if (file.endsWith('.mjs')) {
      return await import(pathToFileURL(file).href);
    }
    // `require` for everything that may be CommonJS, so that `require.main` and `module.exports`
    // are what such code expects; it says itself when the file is an ES module.
    return createRequire(file)(file);
  } catch (error) {
    if (error?.code === 'ERR_REQUIRE_ESM' || error?.code === 'ERR_REQUIRE_ASYNC_MODULE') {
      return import(pathToFileURL(file).href);
    }
    throw error;
  }
}

// `src/app.handlers.resize` is the export `handlers.resize` of the module `src/app`.
async function loadHandler(root, handler) {
  const folder = path.dirname(handler);
  const [name, ...exported] = path.basename(handler).split('.');
  if (!name || exported.length === 0 || handler.includes('..')) {
    throw new BootstrapError('Runtime.MalformedHandlerName', `Bad handler "${handler}"`);
  }
  let loaded;
  try {
    loaded = await importModule(root, path.join(folder, name));
  } catch (error) {
    if (error?.code === 'MODULE_NOT_FOUND' || error?.code === 'ERR_MODULE_NOT_FOUND') {
      error.name = 'Runtime.ImportModuleError';
    } else if (error instanceof SyntaxError) {
      error.name = 'Runtime.UserCodeSyntaxError';
    }
    throw error;
  }
  const find = (from) => exported.reduce((value, key) => value?.[key], from);
  const found = find(loaded) ?? find(loaded?.default);
  if (found === undefined) {
    throw new BootstrapError('Runtime.HandlerNotFound', `${handler} is undefined or not exported`);
  }
  if (typeof found !== 'function') {
    throw new BootstrapError('Runtime.HandlerNotFound', `${handler} is not a function`);
  }
  return found;
}

function buildContext(headers) {
  const deadline = Number(headers['lambda-runtime-deadline-ms']);
  const clientContext = headers['lambda-runtime-client-context'];
  const identity = headers['lambda-runtime-cognito-identity'];
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    awsRequestId: headers[REQUEST_ID],
    clientContext: clientContext ? JSON.parse(clientContext) : undefined,
    identity: identity ? JSON.parse(identity) : undefined,
    getRemainingTimeInMillis: () => deadline - Date.now(),
  };
}

// Where V8 has been told of memory, it was told of more, of which it takes half for its heap. What the
// function asks is answered with what it has.
function tellMemory() {
  const memory = Number(env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE) * 2 ** 20;
  if (!Number.isFinite(memory)) {
    return;
  }
  if (process.constrainedMemory) {
    process.constrainedMemory = () => memory;
  }
  if (process.availableMemory) {
    process.availableMemory = () => Math.max(memory - process.memoryUsage.rss(), 0);
  }
}

let emptied = null; // what to do when the event loop has nothing left
process.on('beforeExit', () => {
  const run = emptied;
  emptied = null;
  run?.();
});

// Whether a value that a handler without promise returned is meant as its answer; the timers and
// sockets that some return by accident are not.
function isPlain(value) {
  if (value === null || typeof value !== 'object') {
    return ['string', 'number', 'boolean'].includes(typeof value);
  }
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null || Array.isArray(value);
}

// Runs the handler once. It may return a promise or a value, call back, or use the old
// `context.done`. If the event loop runs empty before any of it, the answer is null, as on Lambda.
function run(handler, event, context) {
  return new Promise((resolve, reject) => {
    emptied = () => resolve(null);
    const settle = (error, result) => {
      if (error !== undefined && error !== null) {
        reject(error);
      } else if (context.callbackWaitsForEmptyEventLoop) {
        emptied = () => resolve(result);
      } else {
        resolve(result);
      }
    };
    const atOnce = (error, result) => {
      context.callbackWaitsForEmptyEventLoop = false;
      settle(error, result);
    };
    context.done = atOnce;
    context.succeed = (result) => atOnce(null, result);
    context.fail = (error) => atOnce(error ?? new Error('context.fail'));
    const returned = handler(event, context, settle);
    if (typeof returned?.then === 'function') {
      returned.then(resolve, reject);
    } else if (handler.length < 3 && isPlain(returned)) {
      resolve(returned);
    }
  });
}

function stringify(result) {
  try {
    return JSON.stringify(result === undefined ? null : result) ?? 'null';
  } catch (error) {
    throw new BootstrapError('Runtime.MarshalError', `The answer is not JSON: ${error.message}`);
  }
}

let current; // the id of the call under way

async function answerOne(handler) {
  const call = await ask('GET', 'invocation/next');
  if (call.status !== 200) {
    throw new BootstrapError('Runtime.Protocol', `next was answered ${call.status}: ${call.text}`);
  }
  const id = call.headers[REQUEST_ID];
  current = id;
  env._X_AMZN_TRACE_ID = call.headers['lambda-runtime-trace-id'] ?? '';
  try {
    let event;
    try {
      event = call.text === '' ? {} : JSON.parse(call.text);
    } catch (error) {
      throw new BootstrapError('Runtime.UnmarshalError', `The payload is not JSON: ${error.message}`);
    }
    const result = await run(handler, event, buildContext(call.headers));
    const body = stringify(result);
    current = undefined;
    await ask('POST', `invocation/${id}/response`, body);
  } catch (error) {
    current = undefined;
    log('Invoke Error', error);
    await postError(`invocation/${id}/error`, error);
  } finally {
    emptied = null;
  }
}

// What nobody caught ends the process; the call under way, or the initialisation, is told why.
let initialised = false;
async function die(type, error) {
  const cause = error instanceof Error ? error : new Error(String(error));
  cause.name = type === 'Runtime.UnhandledPromiseRejection' ? type : cause.name;
  log(type, cause);
  const route = initialised ? current && `invocation/${current}/error` : 'init/error';
  try {
    if (route) {
      await postError(route, cause);
    }
  } finally {
    process.exit(initialised ? 129 : 1);
  }
}
process.on('uncaughtException', (error) => die('Uncaught Exception', error));
process.on('unhandledRejection', (reason) => die('Runtime.UnhandledPromiseRejection', reason));
process.on('SIGTERM', () => {
  // The function's own handlers, if it has any, decide when it is done.
  if (process.listenerCount('SIGTERM') === 1) {
    process.exit(0);
  }
});

async function main() {
  tellMemory();
  let handler;
  try {
    handler = await loadHandler(env.LAMBDA_TASK_ROOT, env._HANDLER);
  } catch (error) {
    log('Init Error', error);
    await postError('init/error', error);
    process.exit(1);
  }
  initialised = true;
  for (;;) {
    await answerOne(handler);
  }
}

// Does once what a start and every call do, so that its code is loaded and compiled.
async function rehearse() {
  const folder = path.join(env.TMPDIR || '/tmp', 'rehearsal');
  writeFileSync(`${folder}.js`, 'exports.handler = async (event) => event;');
  try {
    const handler = await loadHandler(path.dirname(folder), 'rehearsal.handler');
    const answers = net.createServer((socket) => {
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}'));
    });
    await new Promise((resolve) => answers.listen(0, '127.0.0.1', resolve));
    const own = new RuntimeApi('127.0.0.1', answers.address().port);
    for (let turn = 0; turn < 3; turn += 1) {
      const call = await own.ask('GET', 'invocation/next');
      stringify(await run(handler, JSON.parse(call.text), buildContext(call.headers)));
    }
    emptied = null;
    own.socket.destroy();
    await new Promise((resolve) => answers.close(resolve));
  } finally {
    delete require.cache[`${folder}.js`];
    rmSync(`${folder}.js`);
  }
}

// Started ahead: waits on the descriptor for the function's variables, then runs as ever.
async function wait(control) {
  await rehearse();
  writeSync(control, '1');
  const buffer = Buffer.alloc(256 * 1024);
  const length = readSync(control, buffer);
  if (length === 0) {
    process.exit(0);
  }
  closeSync(control);
  const { environment } = JSON.parse(buffer.toString('utf8', 0, length));
  // Only what differs: Node reads all time zones again when TZ is set.
  for (const name of Object.keys(env)) {
    if (!(name in environment)) {
      delete env[name];
    }
  }
  for (const [name, value] of Object.entries(environment)) {
    if (env[name] !== value) {
      env[name] = value;
    }
  }
  process.chdir(env.LAMBDA_TASK_ROOT);
  await main();
}

(env.ROUSE_STEM ? wait(Number(env.ROUSE_STEM)) : main()).catch((error) => {
  log('Runtime Error', error);
  process.exit(1);
});

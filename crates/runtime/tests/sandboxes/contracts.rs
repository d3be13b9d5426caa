//! What works: each runtime, each contract, and the doors out.

use crate::rig::{MIB, Rig, answer, call, invocation, tail};
use model::{
    Contract, Ending, Event, EventId, EventState, HttpRequest, NewEvent, Owner, RuntimeName,
    Stream, Target, Timestamp,
};
use runtime::{Door, Instance, Peer};
use serde_json::json;
use std::pin::{Pin, pin};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

crate::tests!(
    a_node_function_answers_twice_and_its_log_is_whole,
    a_python_function_answers_and_is_shut_in,
    an_executable_bootstrap_is_a_function,
    an_http_function_takes_calls_events_and_requests,
    an_http_instance_answers_several_calls_at_once,
    connections_out_come_up_with_whose_they_are,
);

async fn a_node_function_answers_twice_and_its_log_is_whole(rig: &Rig) {
    let spec = rig
        .node(
            "console.log('loading');
            exports.handler = async (event) => {
                console.log('photo', event.n);
                console.error('careful');
                process.stdout.write('no end');
                return { n: event.n + 1, node: process.version.split('.')[0] };
            };",
        )
        .await;
    let instance = rig.start(spec).await;
    let (start, init) = instance.start_timing();
    assert!(start > 0 && init > 0 && instance.pid() > 1);
    let first = invocation(r#"{"n":1}"#);
    let id = first.request_id.clone();
    let outcome = instance.call(first).await;
    assert_eq!(answer(&outcome)["n"], 2);
    assert!(outcome.memory_peak > MIB && outcome.memory_peak <= 256 * MIB);
    assert!(outcome.timing.run > 0);
    let text = tail(&outcome);
    assert!(text.starts_with(&format!("START RequestId: {id} Version: $LATEST\n")));
    assert!(text.contains("photo 1\n") && text.contains("careful\n") && text.contains("no end\n"));
    assert!(!text.contains("loading"), "{text}");
    assert!(text.contains(&format!(
        "END RequestId: {id}\nREPORT RequestId: {id}\tDuration: "
    )));
    assert!(text.contains("\tInit Duration: "));
    let lines = rig.log(&id).await;
    assert_eq!(lines.len(), 6);
    let careful = lines.iter().find(|line| line.text == "careful").unwrap();
    assert_eq!(careful.stream, Stream::Stderr);
    assert_eq!(&careful.instance, instance.id());
    let second = call(&instance, r#"{"n":2}"#).await;
    assert_eq!(answer(&second)["n"], 3);
    assert!(!tail(&second).contains("Init Duration"));
    assert!(instance.is_alive());
    instance.stop(Duration::from_secs(10)).await;
}

async fn a_python_function_answers_and_is_shut_in(rig: &Rig) {
    let spec = rig
        .python(
            "import os, logging, socket\n\
             logging.getLogger().setLevel('INFO')\n\
             def readable(path):\n\
             \x20   try: return os.listdir(path) if os.path.isdir(path) else [open(path).read()]\n\
             \x20   except OSError: return []\n\
             def writable(path):\n\
             \x20   try: open(path + '/probe', 'w').close(); return True\n\
             \x20   except OSError: return False\n\
             def handler(event, context):\n\
             \x20   logging.info('resizing')\n\
             \x20   return {'uid': os.getuid(), 'root': readable('/root'), 'home': readable('/home'),\n\
             \x20       'shadow': readable('/etc/shadow'), 'task': readable('/var/task'),\n\
             \x20       'write': [writable(p) for p in ('/tmp', '/var/task', '/usr', '/')],\n\
             \x20       'region': os.environ['AWS_REGION'], 'cwd': os.getcwd()}\n",
        )
        .await;
    let instance = rig.start(spec).await;
    let outcome = call(&instance, "{}").await;
    let expected = json!({
        "uid": 1000, "root": [], "home": [], "shadow": [], "task": ["app.py"],
        "write": [true, false, false, false], "region": "us-east-1", "cwd": "/var/task",
    });
    assert_eq!(answer(&outcome), expected);
    let log = tail(&outcome);
    assert!(
        log.contains("[INFO]\t") && log.contains("\tresizing\n"),
        "{log}"
    );
}

async fn an_executable_bootstrap_is_a_function(rig: &Rig) {
    let bootstrap = "#!/usr/bin/python3\n\
        import os, urllib.request as r\n\
        api = 'http://%s/2018-06-01/runtime/' % os.environ['AWS_LAMBDA_RUNTIME_API']\n\
        while True:\n\
        \x20   call = r.urlopen(api + 'invocation/next')\n\
        \x20   id = call.headers['Lambda-Runtime-Aws-Request-Id']\n\
        \x20   r.urlopen(api + 'invocation/%s/response' % id, b'[%s]' % call.read())\n";
    let files = [("bootstrap", bootstrap, true)];
    let spec = rig
        .function(RuntimeName::Provided, "unused.handler", &files)
        .await;
    let instance = rig.start(spec).await;
    for n in 0..3 {
        let outcome = call(&instance, &n.to_string()).await;
        assert_eq!(answer(&outcome), json!([n]));
    }
    instance.stop(Duration::from_secs(10)).await;
}

const SERVER: &str = "
const http = require('node:http');
http.createServer((request, response) => {
  let body = '';
  request.on('data', (chunk) => { body += chunk; });
  request.on('end', () => {
    if (body.includes('break')) response.statusCode = 503;
    if (body.includes('leave')) process.exit(4);
    if (body.includes('hang up')) return request.socket.destroy();
    if (body.includes('too much')) return response.end('x'.repeat(6 * 1024 * 1024 + 1));
    response.setHeader('x-path', request.url);
    response.end(JSON.stringify({
      method: request.method, body, type: request.headers['ce-type'],
      subject: request.headers['ce-subject'], host: request.headers.host,
    }));
  });
}).listen(process.env.PORT);
";

/// Answers "wait" when a "go" comes, and never "hang".
const MEETING: &str = "
const http = require('node:http');
const waiting = [];
http.createServer((request, response) => {
  let body = '';
  request.on('data', (chunk) => { body += chunk; });
  request.on('end', () => {
    if (body === 'hang') return;
    if (body === 'wait') return waiting.push(response);
    waiting.splice(0).forEach((one) => one.end('1'));
    response.end('2');
  });
}).listen(process.env.PORT);
";

/// Calls that only end because another one comes while they are under way.
async fn an_http_instance_answers_several_calls_at_once(rig: &Rig) {
    let files = [("server.js", MEETING, false)];
    let mut spec = rig.function(RuntimeName::Nodejs20, "", &files).await;
    spec.contract = Contract::Http;
    spec.handler = None;
    spec.command = Some(vec!["node".into(), "server.js".into()]);
    let instance = rig.start(spec).await;
    for _ in 0..3 {
        let waits = futures::future::join_all([(); 8].map(|()| call(&instance, "wait")));
        let waits = until_it_ends(&instance, pin!(waits)).await;
        assert!(waits.iter().all(|outcome| answer(outcome) == 1));
    }
    // One that is late leaves its neighbour alone, and the instance is to be given no further call.
    let mut late = invocation("hang");
    late.timeout = 300;
    let mut neighbour = Box::pin(call(&instance, "wait"));
    tokio::select! {
        late = instance.call(late) => assert_eq!(late.ending, Ending::TimedOut { after: 300 }),
        early = &mut neighbour => panic!("{early:?}"),
    }
    assert!(!instance.is_alive());
    let waited = until_it_ends(&instance, neighbour.as_mut()).await;
    drop(neighbour);
    assert_eq!(answer(&waited), 1);
    instance.stop(Duration::from_secs(10)).await;
}

/// Says "go" again and again: a "wait" that comes after one needs the next.
async fn until_it_ends<T>(
    instance: &Instance,
    mut waiting: Pin<&mut impl Future<Output = T>>,
) -> T {
    loop {
        tokio::select! {
            ended = &mut waiting => return ended,
            () = tokio::time::sleep(Duration::from_millis(50)) => {
                assert_eq!(answer(&call(instance, "go").await), 2);
            }
        }
    }
}

async fn an_http_function_takes_calls_events_and_requests(rig: &Rig) {
    let files = [("server.js", SERVER, false)];
    let mut spec = rig.function(RuntimeName::Nodejs20, "", &files).await;
    spec.contract = Contract::Http;
    spec.handler = None;
    spec.command = Some(vec!["node".into(), "server.js".into()]);
    let instance = rig.start(spec.clone()).await;
    let plain = answer(&call(&instance, "{}").await);
    assert_eq!(plain["method"], "POST");
    assert_eq!(plain["host"], "127.0.0.1:8080");
    let mut woken = invocation(r#"{"Records":[]}"#);
    woken.event = Some(Box::new(event("in/a photo.jpg")));
    let woken = answer(&instance.call(woken).await);
    assert_eq!(woken["type"], "s3:ObjectCreated:Put");
    assert_eq!(woken["subject"], "in/a%20photo.jpg");
    let mut request = invocation("break");
    request.http = Some(Box::new(HttpRequest {
        method: http::Method::PUT,
        path_and_query: "/photos?x=1".into(),
        headers: http::HeaderMap::from_iter([(
            http::header::HOST,
            http::HeaderValue::from_static("shop.example"),
        )]),
    }));
    match instance.call(request).await.ending {
        Ending::Succeeded {
            http: Some(http), ..
        } => {
            assert_eq!(http.status, 503);
            assert_eq!(http.headers["x-path"], "/photos?x=1");
        }
        other => panic!("{other:?}"),
    }
    let failing = call(&instance, "break").await.ending;
    assert_eq!(failing.error_type(), Some("Http.503"));
    let failing = call(&instance, "hang up").await.ending;
    assert_eq!(failing.error_type(), Some("Http.NoResponse"));
    let failing = call(&instance, "too much").await.ending;
    assert_eq!(failing.word(), "response_too_large");
    assert!(instance.is_alive());
    assert_eq!(answer(&call(&instance, "{}").await)["body"], "{}");
    let left = call(&instance, "leave").await.ending;
    let how = "exit status 4".to_owned();
    assert_eq!(left, Ending::Crashed { how });
    assert!(!instance.is_alive());
}

fn event(subject: &str) -> Event {
    Event {
        accepted: NewEvent {
            id: EventId::generate(),
            target: Target::Function {
                name: "thumbnail".parse().unwrap(),
            },
            source: "s3:photos".into(),
            kind: "s3:ObjectCreated:Put".into(),
            subject: subject.into(),
            payload: bytes::Bytes::new(),
            accepted: Timestamp::now(),
            cause: None,
            replay_of: None,
            delivery: Default::default(),
        },
        state: EventState::Leased,
        attempts: 0,
        epoch: 1,
        not_before: Timestamp(0),
        depth: 0,
        last_error: None,
        ended: None,
        runs: Vec::new(),
    }
}

async fn connections_out_come_up_with_whose_they_are(rig: &Rig) {
    let mut spec = rig
        .python(
            "import socket\n\
             def ask(host, port):\n\
             \x20   with socket.create_connection((host, port), 20) as s:\n\
             \x20       s.sendall(b'?'); return s.recv(100).decode()\n\
             def handler(event, context):\n\
             \x20   return [ask('127.0.0.1', 4566), ask('catalog', 3000)]\n",
        )
        .await;
    let name: model::ServiceName = "catalog".parse().unwrap();
    spec.peers.push(Peer {
        name: name.clone(),
        aliases: Vec::new(),
        ports: vec![3000],
    });
    let (owner, id) = (spec.owner.clone(), spec.id.clone());
    let instance = rig.start(spec).await;
    let answering = async {
        let mut inbound = rig.inbound.lock().await;
        let mut doors = Vec::new();
        for word in ["platform", "catalog"] {
            let mut connection = inbound.recv().await.unwrap();
            assert_eq!(connection.instance, id);
            assert!(matches!(&connection.owner, Owner::Function { .. }));
            assert_eq!(connection.owner, owner);
            let mut read = [0; 1];
            connection.stream.read_exact(&mut read).await.unwrap();
            connection.stream.write_all(word.as_bytes()).await.unwrap();
            doors.push(connection.door);
        }
        doors
    };
    let (doors, outcome) = tokio::join!(answering, call(&instance, "{}"));
    assert_eq!(answer(&outcome), json!(["platform", "catalog"]));
    assert_eq!(doors, [Door::Platform, Door::Service { name, port: 3000 }]);
}

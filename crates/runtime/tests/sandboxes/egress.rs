//! The way out: what each policy opens, and what stays closed.

use crate::rig::{Rig, answer, invocation};
use crate::world::{HOST, METADATA, PRIVATE, PUBLIC};
use model::Egress;
use runtime::Instance;
use serde_json::{Value, json};

crate::tests!(
    public_is_the_internet_and_nothing_else,
    none_is_nowhere_and_the_platform_is_still_there,
    a_list_opens_its_names_and_networks,
    a_name_does_not_open_what_is_not_public,
    functions_do_not_share_what_they_were_told,
    names_are_looked_up_over_tcp_too,
    instances_do_not_meet,
    too_many_connections_are_reset,
);

/// Connects, says `hello`, and gives what came or what went wrong. A connection that was reset before it is
/// shut down is no longer connected.
const FUNCTION: &str = "import errno, socket, struct
def reach(host, port, family=socket.AF_INET):
    try:
        with socket.socket(family) as s:
            s.settimeout(20)
            s.connect((host, port))
            s.sendall(b'hello')
            s.shutdown(socket.SHUT_WR)
            text = b''
            while part := s.recv(999):
                text += part
            return text.decode()
    except OSError as error:
        reset = error.errno == errno.ENOTCONN
        return 'ConnectionResetError' if reset else type(error).__name__
def look_up(name):
    try:
        return sorted(socket.gethostbyname_ex(name)[2])
    except OSError as error:
        return type(error).__name__
def handler(event, context):
    if 'name' in event:
        return look_up(event['name'])
    if 'many' in event:
        held = []
        for _ in range(event['many']):
            s = socket.create_connection((event['host'], 80))
            s.settimeout(20)
            held.append(s)
        held[-1].sendall(b'x')
        try:
            return held[-1].recv(1).decode()
        except OSError as error:
            return type(error).__name__
    family = socket.AF_INET6 if ':' in event['host'] else socket.AF_INET
    return reach(event['host'], event.get('port', 80), family)
";

async fn function(rig: &Rig, name: &str, egress: Option<Egress>) -> Instance {
    let mut spec = rig.python(FUNCTION).await;
    spec.owner = model::Owner::Function {
        name: name.parse().unwrap(),
        revision: 1,
        version: None,
    };
    spec.egress = egress;
    rig.start(spec).await
}

fn list(entries: &[&str]) -> Option<Egress> {
    Some(Egress::list(entries.iter().copied()).unwrap())
}

/// What the function answers, and what its log says.
async fn ask(instance: &mut Instance, event: Value) -> (Value, String) {
    let outcome = instance.call(invocation(&event.to_string())).await;
    (answer(&outcome), crate::rig::tail(&outcome))
}

async fn reach(instance: &mut Instance, host: &str) -> (Value, String) {
    ask(instance, json!({ "host": host })).await
}

fn heard(at: &str) -> Value {
    json!(format!("{at} heard hello"))
}

const RESET: &str = "ConnectionResetError";

async fn public_is_the_internet_and_nothing_else(rig: &Rig) {
    let mut instance = function(rig, "public", None).await;
    assert_eq!(reach(&mut instance, PUBLIC).await.0, heard(PUBLIC));
    assert_eq!(
        reach(&mut instance, "api.example.com").await.0,
        heard(PUBLIC)
    );
    let mapped = format!("::ffff:{PUBLIC}");
    assert_eq!(reach(&mut instance, &mapped).await.0, heard(PUBLIC));
    for (host, word) in [
        (PRIVATE, "private address"),
        (METADATA, "metadata"),
        (HOST, "the host itself"),
        ("inner.example.com", "private address"),
        ("metadata.example.com", "metadata"),
        ("host.example.com", "the host itself"),
        ("::ffff:169.254.169.254", "metadata"),
        ("::ffff:10.7.7.7", "private address"),
    ] {
        let (came, log) = reach(&mut instance, host).await;
        assert_eq!(came, RESET, "{host}");
        assert!(
            log.contains("refused: ") && log.contains(word),
            "{host}: {log}"
        );
    }
    let mail = json!({"host": PUBLIC, "port": 25});
    let (came, log) = ask(&mut instance, mail).await;
    assert_eq!(came, RESET);
    assert!(
        log.contains(&format!("egress to {PUBLIC}:25 refused: port 25")),
        "{log}"
    );
    let closed = json!({"host": PUBLIC, "port": 81});
    let (came, log) = ask(&mut instance, closed).await;
    assert_eq!(came, RESET);
    assert!(log.contains("81 failed: Connection refused"), "{log}");
}

async fn none_is_nowhere_and_the_platform_is_still_there(rig: &Rig) {
    let mut instance = function(rig, "closed", Some(Egress::None)).await;
    assert_eq!(reach(&mut instance, PUBLIC).await.0, json!("OSError"));
    let name = json!({"name": "api.example.com"});
    assert_eq!(ask(&mut instance, name).await.0, json!("gaierror"));
    let mut inbound = rig.inbound.lock().await;
    let platform = json!({"host": "127.0.0.1", "port": 4566});
    let taken = async { inbound.recv().await.unwrap().instance };
    let (_, came) = tokio::join!(ask(&mut instance, platform), taken);
    assert_eq!(&came, instance.id());
}

async fn a_list_opens_its_names_and_networks(rig: &Rig) {
    let entries = ["*.example.com:80", "10.7.0.0/16", "0.0.0.0/1"];
    let mut instance = function(rig, "listed", list(&entries)).await;
    assert_eq!(reach(&mut instance, PRIVATE).await.0, heard(PRIVATE));
    assert_eq!(reach(&mut instance, METADATA).await.0, RESET);
    let mut named = function(rig, "named", list(&["api.example.com:80"])).await;
    let (came, log) = reach(&mut named, PUBLIC).await;
    assert_eq!(came, RESET, "its address was not told yet");
    assert!(log.contains("not on the list"), "{log}");
    assert_eq!(reach(&mut named, "api.example.com").await.0, heard(PUBLIC));
    assert_eq!(reach(&mut named, PUBLIC).await.0, heard(PUBLIC));
    let other_port = json!({"host": PUBLIC, "port": 81});
    assert_eq!(ask(&mut named, other_port).await.0, RESET);
    let (came, log) = ask(&mut named, json!({"name": "other.example.org"})).await;
    assert_eq!(came, json!("gaierror"));
    assert!(log.contains("other.example.org is not looked up"), "{log}");
}

async fn a_name_does_not_open_what_is_not_public(rig: &Rig) {
    let mut instance = function(rig, "rebound", list(&["*.example.com"])).await;
    for (host, word) in [
        ("inner.example.com", "inner.example.com leads"),
        ("metadata.example.com", "metadata.example.com leads"),
        ("host.example.com", "the host itself"),
    ] {
        let (came, log) = reach(&mut instance, host).await;
        assert_eq!(came, RESET, "{host}");
        assert!(log.contains(word), "{host}: {log}");
    }
    let mut written = function(rig, "written", list(&[HOST, METADATA])).await;
    assert_eq!(reach(&mut written, HOST).await.0, heard(HOST));
    assert_eq!(reach(&mut written, METADATA).await.0, heard(METADATA));
    assert_eq!(reach(&mut written, PUBLIC).await.0, RESET);
}

async fn functions_do_not_share_what_they_were_told(rig: &Rig) {
    let mut one = function(rig, "told", list(&["api.example.com"])).await;
    let mut same = function(rig, "told", list(&["api.example.com"])).await;
    let mut other = function(rig, "untold", list(&["api.example.com"])).await;
    assert_eq!(reach(&mut one, "api.example.com").await.0, heard(PUBLIC));
    assert_eq!(reach(&mut same, PUBLIC).await.0, heard(PUBLIC));
    assert_eq!(reach(&mut other, PUBLIC).await.0, RESET);
}

async fn names_are_looked_up_over_tcp_too(rig: &Rig) {
    let mut instance = function(rig, "many", None).await;
    let (came, _) = ask(&mut instance, json!({"name": "many.example.com"})).await;
    assert_eq!(came.as_array().map(Vec::len), Some(60), "{came}");
    let (came, _) = ask(&mut instance, json!({"name": "no.example.com"})).await;
    assert_eq!(came, json!("gaierror"));
}

/// The neighbour listens on every address that it has.
async fn instances_do_not_meet(rig: &Rig) {
    const LISTENING: &str = "import threading
listener = socket.create_server(('0.0.0.0', 3000))
def serve():
    while True:
        c, _ = listener.accept()
        c.sendall(b'found ' + c.recv(99))
        c.close()
threading.Thread(target=serve, daemon=True).start()
";
    let mut spec = rig.python(&format!("{FUNCTION}{LISTENING}")).await;
    spec.egress = list(&["0.0.0.0/0"]);
    let mut neighbour = rig.start(spec).await;
    let own = json!({"host": "127.0.0.1", "port": 3000});
    assert_eq!(
        ask(&mut neighbour, own.clone()).await.0,
        json!("found hello")
    );
    let mut one = function(rig, "one", list(&["0.0.0.0/0"])).await;
    assert_eq!(ask(&mut one, own).await.0, json!("ConnectionRefusedError"));
    for host in [PUBLIC, HOST, PRIVATE, "127.0.0.1"] {
        // Ours takes what goes elsewhere, and gives no more by its own address.
        let port = if host == "127.0.0.1" { 61_900 } else { 3000 };
        let event = json!({"host": host, "port": port});
        assert_eq!(ask(&mut one, event).await.0, RESET, "{host}");
    }
}

async fn too_many_connections_are_reset(rig: &Rig) {
    let mut instance = function(rig, "hungry", None).await;
    let event = json!({"host": PUBLIC, "many": 129});
    let (came, log) = ask(&mut instance, event).await;
    assert_eq!(came, RESET);
    assert!(log.contains("more than 128 connections"), "{log}");
    // They were closed at the end of the call, so there is room again.
    assert_eq!(reach(&mut instance, PUBLIC).await.0, heard(PUBLIC));
}

//! Resident services: started, reached, kept apart, stopped.

use crate::rig::Rig;
use model::{Contract, Owner, RuntimeName, VolumeMount};
use runtime::InstanceSpec;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

crate::tests!(
    a_service_is_reached_stops_when_asked_and_its_volume_stays,
    two_services_on_one_port_do_not_meet,
    a_service_that_ends_says_how,
    a_status_like_a_shells_word_for_a_signal_is_a_status,
);

const ECHO: &str = "import os, signal, socketserver, sys
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline().decode().strip()
        if line.startswith('leave'): os._exit(int(line[6:]))
        self.wfile.write((os.environ['NAME'] + ' ' + line).encode())
def stop(*_):
    open('/data/stopped', 'a').write('x')
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
socketserver.TCPServer.allow_reuse_address = True
with socketserver.TCPServer(('0.0.0.0', int(os.environ['PORT'])), Echo) as server:
    server.serve_forever()
";

async fn service(rig: &Rig, name: &str) -> InstanceSpec {
    let files = [("echo.py", ECHO, false)];
    let mut spec = rig.function(RuntimeName::Python311, "", &files).await;
    spec.owner = Owner::Service {
        name: name.parse().unwrap(),
        replica: 0,
    };
    spec.contract = Contract::Http;
    spec.handler = None;
    spec.port = 3000;
    spec.command = Some(vec!["python3.11".into(), "echo.py".into()]);
    spec.environment.insert("NAME".into(), name.into());
    spec.volumes = vec![VolumeMount {
        volume: format!("{name}-data"),
        target: "/data".into(),
        read_only: false,
    }];
    spec
}

async fn ask(instance: &runtime::Instance, line: &str) -> String {
    // A service's start does not wait until it listens.
    let mut stream = loop {
        match instance.connect(3000).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    stream.write_all(line.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

async fn a_service_is_reached_stops_when_asked_and_its_volume_stays(rig: &Rig) {
    for stops in 1..=2 {
        let instance = rig.start(service(rig, "catalog").await).await;
        assert_eq!(ask(&instance, "hello\n").await, "catalog hello");
        instance.stop(Duration::from_secs(30)).await;
        let volume = rig.storage.ensure_volume("catalog-data").await.unwrap();
        let written = std::fs::read_to_string(volume.join("stopped")).unwrap();
        assert_eq!(written, "x".repeat(stops));
    }
}

async fn two_services_on_one_port_do_not_meet(rig: &Rig) {
    let one = rig.start(service(rig, "one").await).await;
    let two = rig.start(service(rig, "two").await).await;
    assert_eq!(ask(&one, "x\n").await, "one x");
    assert_eq!(ask(&two, "x\n").await, "two x");
}

async fn a_service_that_ends_says_how(rig: &Rig) {
    let instance = rig.start(service(rig, "leaving").await).await;
    ask(&instance, "leave 6\n").await;
    assert_eq!(instance.exited().await, "exit status 6");
    assert!(!instance.is_alive());
}

async fn a_status_like_a_shells_word_for_a_signal_is_a_status(rig: &Rig) {
    let instance = rig.start(service(rig, "shell").await).await;
    ask(&instance, "leave 143\n").await;
    let said = instance.exited().await;
    // Docker tells no difference, and the kernel of Debian 12 does not tell how somebody else's child ended.
    let release = rustix::system::uname();
    let mut version = release.release().to_str().unwrap().split(['.', '-']);
    let mut number = || version.next().and_then(|part| part.parse::<u32>().ok());
    let tells = (number(), number()) >= (Some(6), Some(15));
    match rig.driver {
        model::Driver::Docker if !tells => assert_eq!(said, "signal 15 (SIGTERM)"),
        _ => assert_eq!(said, "exit status 143"),
    }
}

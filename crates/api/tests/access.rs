//! Who is let in where, connections with bounds, and the end of the server.

mod server;

use engine::Door;
use model::{EventFilter, InstanceId, InstanceState, NotificationRule, Owner, Principal, Target};
use server::{Running, run, steady, taking};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[allow(clippy::unwrap_used)]
async fn raw(url: &str, request: &[u8]) -> String {
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ask(running: &Running, line: &str, headers: &str) -> String {
    let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n");
    raw(&running.url, request.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn only_health_answers_anonymously() {
    let running = Running::start(steady()).await;
    running.function("thumbnail").await;
    let health = ask(&running, "GET /_rouse/health", "").await;
    assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
    assert!(health.ends_with("{\"status\":\"ok\"}"), "{health}");
    assert!(health.contains("\r\nserver: rouse\r\n"), "{health}");
    assert!(health.contains("\r\nx-amzn-requestid: "), "{health}");
    for (line, status, word) in [
        ("GET /", "403", "<Code>AccessDenied</Code>"),
        ("PUT /photos", "403", "<Code>AccessDenied</Code>"),
        ("GET /photos/a.jpg", "403", "<Code>AccessDenied</Code>"),
        ("GET /_rouse/v1/functions", "401", "unauthenticated"),
        ("GET /_rouse", "401", "unauthenticated"),
        ("GET /_rouse/../photos/a", "401", "unauthenticated"),
        ("GET /svc/catalog/", "401", ""),
        ("POST /fn/thumbnail", "401", ""),
        (
            "GET /2015-03-31/functions",
            "403",
            "<Code>AccessDenied</Code>",
        ),
    ] {
        let answer = ask(&running, line, "").await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{line}: {answer}"
        );
        assert!(answer.contains(word), "{line}: {answer}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_and_signatures_are_checked_and_other_services_are_named() {
    let running = Running::start(steady()).await;
    let token = format!("Authorization: Bearer {}\r\n", running.root.token);
    let functions = ask(&running, "GET /_rouse/v1/functions", &token).await;
    assert!(functions.starts_with("HTTP/1.1 200 "), "{functions}");
    let wrong = "Authorization: Bearer rouse_wrong\r\n";
    let refused = ask(&running, "GET /_rouse/v1/functions", wrong).await;
    assert!(refused.starts_with("HTTP/1.1 401 "), "{refused}");
    let signed = |service: &str| {
        let key = &running.root.access_key_id;
        format!(
            "Authorization: AWS4-HMAC-SHA256 Credential={key}/20261122/us-east-1/{service}\
             /aws4_request, SignedHeaders=host, Signature=00\r\n"
        )
    };
    let forged = ask(&running, "GET /2015-03-31/functions", &signed("lambda")).await;
    assert!(!forged.starts_with("HTTP/1.1 2"), "{forged}");
    let forged = ask(&running, "GET /svc/catalog/", &signed("lambda")).await;
    assert!(!forged.starts_with("HTTP/1.1 2"), "{forged}");
    let forged = ask(&running, "GET /_rouse/v1/functions", &signed("s3")).await;
    assert!(!forged.starts_with("HTTP/1.1 2"), "{forged}");
    let other = ask(&running, "POST /", &signed("sns")).await;
    assert!(other.starts_with("HTTP/1.1 501 "), "{other}");
    assert!(
        other.contains("s3, lambda, sqs, events and scheduler are"),
        "{other}"
    );
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_before_anybody_is_known_is_refused() {
    let running = Running::start(steady()).await;
    let long = format!("X-Long: {}\r\n", "x".repeat(1024 * 1024));
    let answer = ask(&running, "GET /_rouse/health", &long).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many: String = (0..150).map(|n| format!("X-{n}: x\r\n")).collect();
    let answer = ask(&running, "GET /_rouse/health", &many).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let key = &running.root.access_key_id;
    let large = format!(
        "Authorization: AWS4-HMAC-SHA256 Credential={key}/20261122/us-east-1/lambda/aws4_request, \
         SignedHeaders=host, Signature=00\r\nContent-Length: 200000000\r\n"
    );
    let answer = ask(&running, "POST /2015-03-31/functions", &large).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::unwrap_used)]
async fn a_function_uses_objects_and_not_buckets_nor_the_control_plane() {
    let running = Running::start(steady()).await;
    running.function("thumbnail").await;
    let photos = "photos".parse().unwrap();
    running
        .engine
        .storage()
        .create_bucket(photos)
        .await
        .unwrap();
    let name = "thumbnail".parse().unwrap();
    let keys = running.keys_of(Principal::Function { name }).await;
    assert_ne!(keys.access_key_id, "NEVERUSEDNEVERUSED22");
    running
        .pytest_as(&keys, &running.url, "s3_principal.py")
        .await;
    running.stop().await;
}

/// A photo wakes `first`, which stores a thumbnail while it works; the thumbnail wakes `second`.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::unwrap_used)]
async fn an_object_stored_out_of_an_instance_names_the_event_that_caused_it() {
    let running = Running::start(taking(Duration::from_secs(20))).await;
    let wakes = [("photos", "first"), ("thumbs", "second")];
    for (bucket, function) in wakes {
        running.function(function).await;
        let rule = NotificationRule {
            id: "one".into(),
            events: vec!["s3:ObjectCreated:*".to_owned().try_into().unwrap()],
            prefix: String::new(),
            suffix: String::new(),
            target: Target::Function {
                name: function.parse().unwrap(),
            },
            qualifier: None,
            form: Default::default(),
        };
        let storage = running.engine.storage();
        let bucket = storage
            .create_bucket(bucket.parse().unwrap())
            .await
            .unwrap();
        storage
            .put_notification(&bucket.name, vec![rule])
            .await
            .unwrap();
    }
    let body = running.folder.path().join("photo");
    std::fs::write(&body, "photo").unwrap();
    let copy = |to: &str| {
        let aws = server::python().with_file_name("aws");
        let mut command = running.client(aws);
        command.args(["s3", "cp", "photo", to]);
        command
    };
    run(copy("s3://photos/a.jpg")).await;
    let busy = loop {
        let instances = running.engine.instances();
        let busy = instances
            .into_iter()
            .find(|found| found.state == InstanceState::Busy);
        if let Some(busy) = busy {
            break busy;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let cause = running.engine.current_event(&busy.id).unwrap();
    let inside = running
        .platform_of(busy.owner.clone(), busy.id, Door::Platform)
        .await;
    let mut stored = copy("s3://thumbs/a.jpg");
    stored.env("AWS_ENDPOINT_URL", &inside);
    run(stored).await;
    let other = running
        .platform_of(busy.owner, InstanceId::generate(), Door::Platform)
        .await;
    let mut stored = copy("s3://thumbs/b.jpg");
    stored.env("AWS_ENDPOINT_URL", &other);
    run(stored).await;

    let filter = EventFilter {
        target: Some("function:second".into()),
        limit: 10,
        ..EventFilter::default()
    };
    let events = running.engine.list_events(filter).await.unwrap();
    let mut causes: Vec<_> = events
        .iter()
        .map(|event| (event.accepted.subject.as_str(), event.accepted.cause))
        .collect();
    causes.sort_unstable();
    assert_eq!(causes, [("a.jpg", Some(cause)), ("b.jpg", None)]);
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::unwrap_used)]
async fn an_instance_that_asks_for_a_service_that_is_not_there_is_hung_up_on() {
    let running = Running::start(steady()).await;
    let owner = Owner::Function {
        name: "thumbnail".parse().unwrap(),
        revision: 1,
        version: None,
    };
    let door = Door::Service {
        name: "nobody".parse().unwrap(),
        port: 8080,
    };
    let url = running
        .platform_of(owner, InstanceId::generate(), door)
        .await;
    let answer = raw(&url, b"GET / HTTP/1.1\r\nHost: nobody\r\n\r\n").await;
    assert_eq!(answer, "");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_ends_whose_client_was_answered_while_it_waited_to_send_a_body() {
    let running = Running::start(steady()).await;
    // The refused request has a body of one byte that is never sent; the next begins at once.
    let requests = "PUT /photos/a.jpg HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\
        Expect: 100-continue\r\n\r\nGET /_rouse/health HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = raw(&running.url, requests.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::unwrap_used)]
async fn a_request_under_way_ends_when_the_server_does() {
    let running = Running::start(taking(Duration::from_secs(2))).await;
    running.function("slow").await;
    let url = running.url.clone();
    let token = running.root.token.clone();
    let call = tokio::spawn(async move {
        let request = format!(
            "POST /fn/slow HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        );
        raw(&url, request.as_bytes()).await
    });
    loop {
        let instances = running.engine.instances();
        if instances
            .iter()
            .any(|found| found.state == InstanceState::Busy)
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let address = running.url.strip_prefix("http://").unwrap().to_owned();
    running.stop().await;
    let answer = call.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(TcpStream::connect(address).await.is_err());
}

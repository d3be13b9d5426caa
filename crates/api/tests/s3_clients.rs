//! The S3 door by the clients that people have: boto3, the AWS CLI, s3cmd, the SDK for JavaScript.

mod server;

use model::{EventFilter, EventState};
use server::{Running, steady};
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn boto3() {
    let running = Running::start(steady()).await;
    running.pytest("s3_boto3.py").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_by_boto3() {
    let running = Running::start(steady()).await;
    running.pytest("s3_versions.py").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn aws_cli_and_s3cmd() {
    let running = Running::start(steady()).await;
    running.pytest("s3_cli.py").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sdk_for_javascript() {
    let running = Running::start(steady()).await;
    running.node("s3_sdk.mjs").await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::unwrap_used)]
async fn stored_objects_wake_their_function_and_others_do_not() {
    let running = Running::start(steady()).await;
    running.function("thumbnail").await;
    running.service("catalog").await;
    running.pytest("s3_notification.py").await;

    let filter = EventFilter {
        limit: 100,
        ..EventFilter::default()
    };
    let mut events = Vec::new();
    for _ in 0..600 {
        events = running.engine.list_events(filter.clone()).await.unwrap();
        if events
            .iter()
            .all(|event| event.state == EventState::Succeeded)
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut seen: Vec<_> = events
        .iter()
        .map(|event| (&*event.accepted.subject, &*event.accepted.kind, event.state))
        .collect();
    seen.sort_by_key(|(subject, ..)| *subject);
    let succeeded = EventState::Succeeded;
    let expected = [
        ("a b/ü.jpg", "s3:ObjectCreated:Put", succeeded),
        (
            "big.jpg",
            "s3:ObjectCreated:CompleteMultipartUpload",
            succeeded,
        ),
        ("copy.jpg", "s3:ObjectCreated:Copy", succeeded),
    ];
    assert_eq!(seen, expected);
    let photo = events
        .iter()
        .find(|event| event.accepted.subject == "a b/ü.jpg")
        .unwrap();
    let payload: serde_json::Value = serde_json::from_slice(&photo.accepted.payload).unwrap();
    let record = &payload["Records"][0];
    assert_eq!(record["eventName"], "ObjectCreated:Put");
    assert_eq!(record["s3"]["bucket"]["name"], "photos");
    assert_eq!(record["s3"]["object"]["key"], "a+b/%C3%BC.jpg");
    assert_eq!(record["s3"]["object"]["size"], 5);
    running.stop().await;
}

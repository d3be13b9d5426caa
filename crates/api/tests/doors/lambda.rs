//! The Lambda door by its real clients. What they do is in `lambda_boto3.py` and `lambda_cli.py`.

use crate::house::House;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;

/// The Python that has the clients.
fn python() -> PathBuf {
    if let Some(path) = std::env::var_os("ROUSE_TEST_PYTHON") {
        return path.into();
    }
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join(".cache/test/venv/bin/python");
    assert!(
        path.exists(),
        "the AWS clients are not there: run ./test, which installs them"
    );
    path
}

/// Runs a file of pytest with the credentials given.
async fn pytest(url: &str, file: &str, key: &str, secret: &str, select: &str) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/doors");
    let home = tempfile::tempdir().unwrap();
    let run = Command::new(python())
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", select])
        .arg(folder.join(file))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("AWS_ENDPOINT_URL", url)
        .env("AWS_ACCESS_KEY_ID", key)
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let out = String::from_utf8_lossy(&run.stdout);
    let err = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{file}: {out}\n{err}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_does_everything_with_functions() {
    let house = House::open().await;
    let (key, secret) = (&house.root.access_key_id, &house.root.secret_access_key);
    pytest(&house.url, "lambda_boto3.py", key, secret, "owner").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_aws_cli_does_everything_with_functions() {
    let house = House::open().await;
    let (key, secret) = (&house.root.access_key_id, &house.root.secret_access_key);
    pytest(&house.url, "lambda_cli.py", key, secret, "cli").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_may_invoke_and_no_more() {
    let house = House::open().await;
    house.function("caller", json!({})).await;
    let invoked = house.control("POST", "functions/caller/invocations");
    assert_eq!(invoked.send().await.unwrap().status(), 200);
    let credential = house.fake.started()[0].credential.clone();
    let (key, secret) = (&credential.access_key_id, &credential.secret_access_key);
    pytest(&house.url, "lambda_boto3.py", key, secret, "instance").await;
    pytest(&house.url, "scheduler_boto3.py", key, secret, "instance").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_function_submits_names_the_event_that_it_works_on() {
    let house = House::open().await;
    house
        .function("caller", json!({"limits": {"timeout": 900_000}}))
        .await;
    let submit = house.control("POST", "functions/caller/invocations?type=event");
    let accepted = submit.body(r#"{"do":"hang"}"#).send().await.unwrap();
    let accepted: Value = accepted.json().await.unwrap();
    // The fake takes the call when its instance is started.
    while house.fake.calls().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let instance = house.fake.started()[0].clone();
    let credential = instance.credential.clone();
    let (key, secret) = (&credential.access_key_id, &credential.secret_access_key);
    let url = house.platform_of(instance.owner, instance.id).await;
    pytest(&url, "lambda_boto3.py", key, secret, "inside").await;
    let events = house.control("GET", "events?target=function:caller&limit=1");
    let events: Value = events.send().await.unwrap().json().await.unwrap();
    assert_eq!(
        events["events"][0]["cause"], accepted["event_id"],
        "{events}"
    );
}

#[tokio::test]
async fn who_is_not_known_is_refused_in_the_doors_dialect() {
    let house = House::open().await;
    let signed = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261122/us-east-1/lambda/aws4_request, \
                  SignedHeaders=host;x-amz-date, Signature=00";
    let response = house
        .client
        .get(format!("{}/2015-03-31/functions", house.url))
        .header("authorization", signed)
        .header("x-amz-date", "20261122T000000Z")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 403);
    let name = response.headers()["x-amzn-errortype"].to_str().unwrap();
    assert_eq!(name, "UnrecognizedClientException");
    assert!(response.headers().contains_key("x-amzn-requestid"));
}

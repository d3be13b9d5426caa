//! The control API by a plain HTTP client.

use crate::house::{House, MAX_UPLOAD, zip};
use model::{LogLine, RequestId, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::time::Duration;

async fn json_of(response: reqwest::RequestBuilder) -> (u16, Value) {
    let response = response.send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    (status, body)
}

fn kind(body: &Value) -> &str {
    assert!(
        body["error"]["message"]
            .as_str()
            .is_some_and(|text| !text.is_empty()),
        "{body}"
    );
    body["error"]["kind"].as_str().unwrap()
}

#[tokio::test]
async fn only_health_answers_anybody() {
    let house = House::open().await;
    let ask = |path: &str| house.client.get(format!("{}{path}", house.url));
    let (status, body) = json_of(ask("/_rouse/health")).await;
    assert_eq!((status, body), (200, json!({"status": "ok"})));
    for path in [
        "functions",
        "instances",
        "events",
        "logs?key=function:f",
        "nothing",
    ] {
        let path = format!("/_rouse/v1/{path}");
        let (status, body) = json_of(ask(&path)).await;
        assert_eq!((status, kind(&body)), (401, "unauthenticated"), "{path}");
        let (status, _) = json_of(ask(&path).bearer_auth("rouse_wrong")).await;
        assert_eq!(status, 401, "{path}");
        let token = Some(&house.root.token);
        let (status, _) = json_of(ask(&path).basic_auth("any", token)).await;
        assert!(
            (400..500).contains(&status),
            "a remembered password is no token: {path}"
        );
    }
}

#[tokio::test]
async fn a_blob_is_kept_if_it_is_what_it_says() {
    let house = House::open().await;
    let archive = zip("a.py", b"pass\n");
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&archive)));
    let path = format!("blobs/{digest}");
    assert_eq!(json_of(house.control("HEAD", &path)).await.0, 404);
    let wrong = house.control("PUT", &path).body(b"other".to_vec());
    let (status, body) = json_of(wrong).await;
    assert_eq!((status, kind(&body)), (400, "invalid"));
    assert_eq!(json_of(house.control("HEAD", &path)).await.0, 404);
    let (status, body) = json_of(house.control("PUT", &path).body(archive.clone())).await;
    assert_eq!(status, 201);
    assert_eq!(body, json!({"digest": digest, "size": archive.len()}));
    assert_eq!(json_of(house.control("HEAD", &path)).await.0, 200);
    let (status, body) = json_of(house.control("PUT", "blobs/md5:00").body("")).await;
    assert_eq!((status, kind(&body)), (400, "invalid"));
}

#[tokio::test]
async fn an_upload_past_its_bound_is_refused() {
    let house = House::open().await;
    let size = usize::try_from(MAX_UPLOAD).unwrap();
    let path = format!("blobs/sha256:{}", "0".repeat(64));
    let (status, body) = json_of(house.control("PUT", &path).body(vec![0; size + 1])).await;
    assert_eq!((status, kind(&body)), (413, "too_large"));
}

#[tokio::test]
async fn a_deployment_is_done_and_read_back() {
    let house = House::open().await;
    let code = house.upload().await;
    let deployment = json!({
        "project": "shop",
        "buckets": [{"name": "photos", "notify": [{
            "id": "r", "events": ["s3:ObjectCreated:*"], "prefix": "", "suffix": ".jpg",
            "target": {"kind": "function", "name": "thumbnail"},
        }]}],
        "functions": [{
            "name": "thumbnail", "runtime": "python3.11", "handler": "index.handler", "code": code,
        }],
    });
    let report = house.deploy(&deployment).await;
    let changes = report["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 2, "{report}");
    assert!(
        changes.iter().all(|change| change["change"] == "created"),
        "{report}"
    );
    let again = house.deploy(&deployment).await;
    let changes = again["changes"].as_array().unwrap();
    assert!(
        changes.iter().all(|change| change["change"] == "unchanged"),
        "{again}"
    );

    let (_, functions) = json_of(house.control("GET", "functions")).await;
    assert_eq!(functions[0]["spec"]["name"], "thumbnail");
    let (_, one) = json_of(house.control("GET", "functions/thumbnail")).await;
    assert_eq!(one, functions[0]);
    let (_, buckets) = json_of(house.control("GET", "buckets")).await;
    assert_eq!(buckets[0]["name"], "photos");
    assert_eq!(buckets[0]["notify"][0]["target"]["name"], "thumbnail");
}

#[tokio::test]
async fn a_bad_deployment_names_the_place() {
    let house = House::open().await;
    let deploy = |body: Value| json_of(house.control("POST", "deployments").json(&body));
    let (status, body) = deploy(json!({"functoins": []})).await;
    assert_eq!((status, kind(&body)), (400, "invalid"));
    assert!(body.to_string().contains("functoins"), "{body}");
    let mut function = json!({
        "name": "f", "runtime": "python3.11", "handler": "a.b", "code": house.upload().await,
        "limits": {"memory": 5},
    });
    let (status, body) = deploy(json!({"functions": [function]})).await;
    assert_eq!((status, kind(&body)), (400, "invalid"));
    assert!(body.to_string().contains("memory"), "{body}");
    function["limits"] = json!({});
    function["code"]["zip"]["digest"] = format!("sha256:{}", "0".repeat(64)).into();
    let (status, body) = deploy(json!({"functions": [function]})).await;
    assert!((400..500).contains(&status), "{body}");
    assert_eq!(
        json_of(house.control("GET", "functions")).await.1,
        json!([])
    );
}

#[tokio::test]
async fn a_call_says_how_it_went() {
    let house = House::open().await;
    house
        .function("f", json!({"limits": {"timeout": 200}}))
        .await;
    let call = |payload: &'static str| {
        house
            .control("POST", "functions/f/invocations?type=wait")
            .body(payload)
            .send()
    };
    let response = call(r#"{"a":1}"#).await.unwrap();
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("x-rouse-ending"), "succeeded");
    assert_eq!(header("x-rouse-cold"), "true");
    let timing: Value = serde_json::from_str(&header("x-rouse-timing")).unwrap();
    assert!(timing["run"].is_u64(), "{timing}");
    let request = header("x-rouse-request-id");
    assert_eq!(house.fake.calls()[0].1, RequestId(request));
    assert_eq!(response.text().await.unwrap(), r#"{"a":1}"#);

    let response = call("").await.unwrap();
    assert_eq!(response.headers()["x-rouse-cold"], "false");
    assert_eq!(response.text().await.unwrap(), "{}");
    for (wanted, ending) in [
        (r#"{"do":"fail"}"#, "failed"),
        (r#"{"do":"crash"}"#, "crashed"),
        (r#"{"do":"hang"}"#, "timed_out"),
    ] {
        let response = call(wanted).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["x-rouse-ending"], ending);
        let body: Value = response.json().await.unwrap();
        assert!(body["errorMessage"].is_string(), "{body}");
    }
    let no_json = house.control("POST", "functions/f/invocations").body("{no");
    assert_eq!(kind(&json_of(no_json).await.1), "invalid");
    let large = vec![b' '; model::MAX_PAYLOAD + 1];
    let large = house.control("POST", "functions/f/invocations").body(large);
    assert_eq!(kind(&json_of(large).await.1), "too_large");
    let nobody = house.control("POST", "functions/nobody/invocations");
    assert_eq!(kind(&json_of(nobody).await.1), "not_found");
}

/// Asks until the event is in a state.
async fn event_in(house: &House, id: &str, state: &str) -> Value {
    for _ in 0..600 {
        let (status, event) = json_of(house.control("GET", &format!("events/{id}"))).await;
        assert_eq!(status, 200, "{event}");
        if event["state"] == state {
            return event;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the event {id} did not become {state}");
}

#[tokio::test]
async fn an_event_is_kept_listed_and_replayed() {
    let house = House::open().await;
    house.function("f", json!({})).await;
    let submit = house.control("POST", "functions/f/invocations?type=event");
    let (status, body) = json_of(submit.body(r#"{"n":1}"#)).await;
    assert_eq!(status, 202);
    let id = body["event_id"].as_str().unwrap().to_owned();
    let event = event_in(&house, &id, "succeeded").await;
    assert_eq!(event["target"], "function:f");
    assert_eq!(event["payload"], json!({"n": 1}));
    assert_eq!(event["runs"][0]["ending"], "succeeded");

    let replay = house.control("POST", &format!("events/{id}/replay"));
    let (status, body) = json_of(replay).await;
    assert_eq!(status, 202);
    let again = body["event_id"].as_str().unwrap().to_owned();
    let event = event_in(&house, &again, "succeeded").await;
    assert_eq!(event["replay_of"], id.as_str());

    let list = |query: &str| json_of(house.control("GET", &format!("events{query}")));
    let (_, all) = list("?target=function:f&state=succeeded").await;
    let ids: Vec<_> = all["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| &event["id"])
        .collect();
    assert_eq!(ids, [&json!(again), &json!(id)], "newest first");
    let (_, page) = list(&format!("?limit=1&before={again}")).await;
    assert_eq!(page["events"][0]["id"], id.as_str());
    assert_eq!(list("?state=tired").await.0, 400);
    assert_eq!(list("?limit=0").await.0, 400);
    assert_eq!(list("?limit=x").await.0, 400);
    let (status, body) = json_of(house.control("GET", "events/none")).await;
    assert_eq!((status, kind(&body)), (400, "invalid"));
    let missing = format!("events/{}", uuid::Uuid::now_v7());
    let (status, body) = json_of(house.control("GET", &missing)).await;
    assert_eq!((status, kind(&body)), (404, "not_found"));
}

#[tokio::test]
async fn events_that_ended_are_not_cancelled_and_replays_are_listed() {
    let house = House::open().await;
    house.function("f", json!({})).await;
    let submit = house.control("POST", "functions/f/invocations?type=event");
    let (_, body) = json_of(submit.body("1")).await;
    let id = body["event_id"].as_str().unwrap().to_owned();
    event_in(&house, &id, "succeeded").await;
    let post =
        |path: &str, body: Value| json_of(house.control("POST", path).body(body.to_string()));
    let (status, body) = post(&format!("events/{id}/cancel"), json!({})).await;
    assert_eq!((status, kind(&body)), (409, "conflict"));
    let (status, body) = post("events/cancel", json!({"query": {"target": "function:f"}})).await;
    assert_eq!(
        (status, &body["cancelled"], &body["next"]),
        (200, &json!(0), &json!(null))
    );
    assert!(
        body["before"]
            .as_str()
            .is_some_and(|before| before > id.as_str())
    );
    for wrong in [
        json!({}),
        json!({"query": {}, "limit": 0}),
        json!({"query": {"states": ["dead"]}}),
    ] {
        let (status, body) = post("events/cancel", wrong).await;
        assert_eq!((status, kind(&body)), (400, "invalid"));
    }
    let (status, replay) = post("replays", json!({"query": {"target": "function:f"}})).await;
    assert_eq!(status, 202);
    let (status, listed) = json_of(house.control("GET", "replays")).await;
    assert_eq!((status, &listed["replays"][0]["id"]), (200, &replay["id"]));
}

#[tokio::test]
async fn runs_and_instances_are_shown() {
    let house = House::open().await;
    house.function("f", json!({})).await;
    let call = house.control("POST", "functions/f/invocations");
    assert_eq!(call.send().await.unwrap().status(), 200);
    let (_, instances) = json_of(house.control("GET", "instances")).await;
    assert_eq!(instances[0]["owner"]["name"], "f", "{instances}");
    assert_eq!(instances[0]["calls"], 1, "{instances}");
    for _ in 0..600 {
        let (status, runs) = json_of(house.control("GET", "runs?target=function:f&limit=5")).await;
        assert_eq!(status, 200, "{runs}");
        // A waiting call's record does not wait for the disk.
        if runs[0]["ending"] == "succeeded" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the run was not recorded");
}

fn line(text: &str) -> LogLine {
    LogLine {
        version: None,
        time: Timestamp::now(),
        instance: model::InstanceId("i".into()),
        request: None,
        stream: model::Stream::Stdout,
        text: text.into(),
    }
}

#[tokio::test]
async fn logs_are_read_and_followed() {
    let house = House::open().await;
    house
        .storage
        .append_logs("function:f", vec![line("one"), line("two")]);
    let mut seen = String::new();
    for _ in 0..600 {
        let read = house.control("GET", "logs?key=function:f").send().await;
        seen = read.unwrap().text().await.unwrap();
        if seen.lines().count() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let texts = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.is_empty());
        let lines = lines.map(|line| serde_json::from_str::<LogLine>(line).unwrap().text);
        lines.collect()
    };
    assert_eq!(texts(&seen), ["one", "two"]);
    let path = "logs?key=function:f&follow=true&tail=1";
    let mut following = house.control("GET", path).send().await.unwrap();
    assert_eq!(following.headers()["content-type"], "application/x-ndjson");
    let mut seen = String::new();
    house.storage.append_logs("function:f", vec![line("three")]);
    while texts(&seen).len() < 2 {
        let chunk = following.chunk().await.unwrap().unwrap();
        seen.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert_eq!(texts(&seen), ["two", "three"]);
    for bad in ["key=../x", "key=function:f&tail=0", "key=bucket:b", ""] {
        let (status, body) = json_of(house.control("GET", &format!("logs?{bad}"))).await;
        assert_eq!((status, kind(&body)), (400, "invalid"), "{bad}");
    }
}

#[tokio::test]
async fn functions_and_services_are_removed() {
    let house = House::open().await;
    house.function("f", json!({})).await;
    let service = json!({
        "name": "web", "runtime": "python3.11", "code": house.upload().await,
        "command": ["python3", "index.py"], "ports": [8080],
    });
    house.deploy(&json!({"services": [service]})).await;
    let (_, services) = json_of(house.control("GET", "services")).await;
    assert_eq!(services[0]["service"]["spec"]["name"], "web");
    for path in ["functions/f", "services/web"] {
        assert_eq!(json_of(house.control("DELETE", path)).await.0, 204);
        let (status, body) = json_of(house.control("DELETE", path)).await;
        assert_eq!((status, kind(&body)), (404, "not_found"), "{path}");
    }
    assert_eq!(json_of(house.control("GET", "services")).await.1, json!([]));
}

#[tokio::test]
async fn an_import_that_fails_says_so_in_its_last_line() {
    let house = House::open().await;
    let import = house.control("POST", "images?reference=shop/none:1");
    let response = import
        .body(b"this is no tar".to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let text = response.text().await.unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(kind(&last), "invalid");
    assert_eq!(json_of(house.control("GET", "images")).await.1, json!([]));
    let (status, body) = json_of(house.control("DELETE", "images/shop/none:1")).await;
    assert_eq!((status, kind(&body)), (404, "not_found"));
    let (status, _) = json_of(house.control("POST", "images?reference=")).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn what_is_not_there_is_said_in_the_doors_dialect() {
    let house = House::open().await;
    let (status, body) = json_of(house.control("GET", "nothing")).await;
    assert_eq!((status, kind(&body)), (404, "not_found"));
    let (status, body) = json_of(house.control("PATCH", "functions")).await;
    assert_eq!((status, kind(&body)), (405, "unsupported"));
}

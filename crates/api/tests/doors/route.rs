//! The HTTP routes of functions and services by a plain HTTP client.

use crate::house::House;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A program behind a service: shows what it was asked, and streams large bodies.
async fn backend(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if parts.uri.path() == "/echo" {
        return Body::from_stream(body.into_data_stream()).into_response();
    }
    let headers = parts.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), Value::String(value))
    });
    let headers: serde_json::Map<String, Value> = headers.collect();
    let bytes = body.collect().await.unwrap().to_bytes();
    let shown = json!({
        "method": parts.method.as_str(),
        "uri": parts.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&bytes),
    });
    let own = [
        ("set-cookie", "session=1; Path=/"),
        ("clear-site-data", "\"*\""),
        ("content-security-policy", "default-src 'self'"),
    ];
    (own, axum::Json(shown)).into_response()
}

/// A server with one service, and the program that its replicas lead to.
async fn with_service() -> House {
    let house = House::open().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    house.fake.set_backend(listener.local_addr().unwrap());
    let program = Router::new().fallback(backend);
    tokio::spawn(async move { axum::serve(listener, program).await.unwrap() });
    let service = json!({
        "name": "web", "runtime": "python3.11", "code": house.upload().await,
        "command": ["python3", "index.py"], "ports": [8080],
    });
    house.deploy(&json!({"services": [service]})).await;
    house
}

#[tokio::test]
async fn a_service_is_reached_below_its_name() {
    let house = with_service().await;
    let response = house
        .ask("POST", "/svc/web/a%20b/c?x=1&y=%2F")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-own", "1")
        .body("hello")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    assert_eq!(headers["set-cookie"], "session=1; Path=/svc/web/");
    assert!(!headers.contains_key("clear-site-data"));
    let policies: Vec<_> = headers.get_all("content-security-policy").iter().collect();
    assert_eq!(policies.len(), 2, "its own and ours");
    assert!(policies[1].to_str().unwrap().starts_with("sandbox "));
    let shown: Value = response.json().await.unwrap();
    assert_eq!(shown["method"], "POST");
    assert_eq!(shown["uri"], "/a%20b/c?x=1&y=%2F");
    assert_eq!(shown["body"], "hello");
    let seen = &shown["headers"];
    assert_eq!(seen["x-own"], "1");
    assert_eq!(seen["x-forwarded-prefix"], "/svc/web");
    assert_eq!(seen["x-forwarded-proto"], "http");
    assert_ne!(
        seen["x-forwarded-for"], "6.6.6.6",
        "a claim is not passed on"
    );
    assert!(seen.get("authorization").is_none(), "{shown}");
    assert!(!shown.to_string().contains(&house.root.token), "{shown}");
}

#[tokio::test]
async fn large_bodies_are_streamed_both_ways() {
    let house = with_service().await;
    let chunk = bytes::Bytes::from(vec![7_u8; 64 * 1024]);
    let chunks =
        futures::stream::iter((0..512).map(move |_| Ok::<_, std::io::Error>(chunk.clone())));
    let sent = house
        .ask("PUT", "/svc/web/echo")
        .body(reqwest::Body::wrap_stream(chunks));
    let mut response = sent.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut size = 0;
    while let Some(chunk) = response.chunk().await.unwrap() {
        assert!(chunk.iter().all(|byte| *byte == 7));
        size += chunk.len();
    }
    assert_eq!(size, 32 * 1024 * 1024);
}

#[tokio::test]
async fn the_route_itself_answers_clearly() {
    let house = with_service().await;
    let status = |request: reqwest::RequestBuilder| async {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.text().await.unwrap();
        (status, body)
    };
    let response = house.ask("GET", "/svc/web?x=1").send().await.unwrap();
    assert_eq!(response.status(), 308);
    assert_eq!(response.headers()["location"], "/svc/web/?x=1");
    assert_eq!(status(house.ask("GET", "/svc/none/")).await.0, 404);
    assert_eq!(status(house.ask("GET", "/fn/none/")).await.0, 404);
    assert_eq!(status(house.ask("GET", "/fn/a%2F..%2Fb/")).await.0, 404);
    let upgrade = house
        .ask("GET", "/svc/web/")
        .header("connection", "upgrade")
        .header("upgrade", "websocket");
    let (code, body) = status(upgrade).await;
    assert_eq!(code, 501);
    assert!(body.contains("WebSocket"), "{body}");
    let forged = house
        .ask("POST", "/svc/web/")
        .header("sec-fetch-site", "cross-site");
    assert_eq!(status(forged).await.0, 403);
}

#[tokio::test]
async fn nobody_comes_in_without_the_token() {
    let house = with_service().await;
    for path in ["/svc/web/", "/fn/f"] {
        let plain = house.client.get(format!("{}{path}", house.url));
        let response = plain.send().await.unwrap();
        assert_eq!(response.status(), 401);
        let ask = response.headers()["www-authenticate"].to_str().unwrap();
        assert!(
            ask.starts_with("Basic "),
            "a browser asks for the password: {ask}"
        );
    }
    let basic = house.client.get(format!("{}/svc/web/", house.url));
    let basic = basic.basic_auth("any", Some(&house.root.token));
    assert_eq!(basic.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_lambda_function_is_given_an_event_and_its_answer_is_obeyed() {
    let house = House::open().await;
    house.function("f", json!({})).await;
    let response = house
        .ask("POST", "/fn/f/a/b?x=1&x=2")
        .header("cookie", "k=v")
        .header("content-type", "text/plain")
        .body("hi");
    let response = response.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("x-rouse-request-id"));
    let event: Value = response.json().await.unwrap();
    assert_eq!(event["version"], "2.0");
    assert_eq!(event["rawPath"], "/a/b");
    assert_eq!(event["rawQueryString"], "x=1&x=2");
    assert_eq!(event["queryStringParameters"], json!({"x": "1,2"}));
    assert_eq!(event["cookies"], json!(["k=v"]));
    assert_eq!(event["body"], "hi");
    assert_eq!(event["isBase64Encoded"], false);
    assert_eq!(event["requestContext"]["http"]["method"], "POST");
    assert!(!event.to_string().contains(&house.root.token), "{event}");

    let response = house.ask("GET", "/fn/f/structured").send().await.unwrap();
    assert_eq!(response.status(), 418);
    assert_eq!(response.headers()["x-kind"], "teapot");
    assert_eq!(response.headers()["set-cookie"], "a=b; Path=/fn/f/");
    assert_eq!(response.text().await.unwrap(), "short and stout");
}

#[tokio::test]
async fn a_function_that_fails_is_a_bad_gateway() {
    let house = House::open().await;
    house
        .function("f", json!({"limits": {"timeout": 200}}))
        .await;
    for (path, ending) in [
        ("fail", "failed"),
        ("crash", "crashed"),
        ("hang", "timed_out"),
        ("malformed", "malformed_response"),
    ] {
        let response = house.ask("GET", &format!("/fn/f/{path}")).send().await;
        let response = response.unwrap();
        assert_eq!(response.status(), 502, "{path}");
        assert_eq!(response.headers()["x-rouse-ending"], ending);
        let body: Value = response.json().await.unwrap();
        let message = body["message"].as_str().unwrap();
        assert!(message.starts_with("Internal Server Error"), "{message}");
        assert!(!message.contains("no good"), "{message}");
    }
    let large = vec![b'x'; model::MAX_PAYLOAD + 1];
    let large = house.ask("POST", "/fn/f").body(large).send().await.unwrap();
    assert_eq!(large.status(), 413);
}

#[tokio::test]
async fn an_http_function_is_given_the_request_as_it_came() {
    let house = House::open().await;
    house.function("h", json!({"contract": "http"})).await;
    let response = house.ask("PUT", "/fn/h/a%20b?c=d").body("hi");
    let response = response.send().await.unwrap();
    assert_eq!(response.status(), 207);
    assert!(!response.headers().contains_key("clear-site-data"));
    let shown: Value = response.json().await.unwrap();
    assert_eq!(shown["method"], "PUT");
    assert_eq!(shown["path"], "/a%20b?c=d");
    assert_eq!(shown["body"], "hi");
    assert!(!shown.to_string().contains(&house.root.token), "{shown}");
}

#[tokio::test]
async fn a_service_has_an_origin_of_its_own_by_its_host_name() {
    let house = with_service().await;
    let ask = |path: &str| {
        house
            .ask("GET", path)
            .header("host", "web.svc.localhost:4566")
    };
    let response = ask("/_rouse/v1/functions?x=1").send().await.unwrap();
    assert_eq!(response.status(), 200);
    let headers = response.headers().clone();
    assert_eq!(headers["content-security-policy"], "default-src 'self'");
    assert_eq!(headers["set-cookie"], "session=1; Path=/");
    assert!(!headers.contains_key("clear-site-data"));
    let seen: Value = response.json().await.unwrap();
    assert_eq!(seen["uri"], "/_rouse/v1/functions?x=1");
    assert!(seen["headers"].get("authorization").is_none());
    assert!(seen["headers"].get("x-forwarded-prefix").is_none());
    // Nobody gets in without the token, and other services' pages may only read.
    let url = format!("{}/", house.url);
    let host = ("host", "web.svc.localhost");
    let anonymous = house.client.get(&url).header(host.0, host.1);
    let anonymous = anonymous.send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
    assert!(anonymous.headers().contains_key("www-authenticate"));
    let forged = house.ask("POST", "/").header(host.0, host.1);
    let forged = forged.header("sec-fetch-site", "same-site").send().await;
    assert_eq!(forged.unwrap().status(), 403);
}

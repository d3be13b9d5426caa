#![allow(clippy::unwrap_used)]
use super::*;
use proptest::prelude::*;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, value.parse().unwrap());
    }
    map
}

fn asked<'a>(path: &'a str, headers: &'a HeaderMap, body: &'a [u8]) -> Asked<'a> {
    Asked {
        method: "POST",
        path_and_query: path,
        headers,
        body,
        source_ip: "127.0.0.1".into(),
        request_id: "id-1",
        time: Timestamp::from_millisecond(1_583_348_638_390).unwrap(),
        function: "hello",
    }
}

#[test]
fn a_request_becomes_the_event_that_aws_documents() {
    let headers = headers(&[
        ("host", "rouse.test"),
        ("user-agent", "agent"),
        ("content-type", "application/json; charset=utf-8"),
        ("x-two", "value1"),
        ("x-two", "value2"),
        ("cookie", "cookie1=a; cookie2=b"),
    ]);
    let path = "/my/path%20x?parameter1=value1&parameter1=value2&p2=a%20b+c";
    let expected = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": "/my/path%20x",
        "rawQueryString": "parameter1=value1&parameter1=value2&p2=a%20b+c",
        "cookies": ["cookie1=a", "cookie2=b"],
        "headers": {
            "host": "rouse.test",
            "user-agent": "agent",
            "content-type": "application/json; charset=utf-8",
            "x-two": "value1,value2",
        },
        "queryStringParameters": {"parameter1": "value1,value2", "p2": "a b c"},
        "requestContext": {
            "accountId": "anonymous",
            "apiId": "hello",
            "domainName": "rouse.test",
            "domainPrefix": "hello",
            "http": {
                "method": "POST",
                "path": "/my/path%20x",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "agent",
            },
            "requestId": "id-1",
            "routeKey": "$default",
            "stage": "$default",
            "time": "04/Mar/2020:19:03:58 +0000",
            "timeEpoch": 1_583_348_638_390_i64,
        },
        "body": "{\"a\":1}",
        "isBase64Encoded": false,
    });
    assert_eq!(event(&asked(path, &headers, b"{\"a\":1}")), expected);
}

#[test]
fn bytes_go_in_base64() {
    let picture = headers(&[("content-type", "image/jpeg")]);
    let shown = event(&asked("/", &picture, b"\xff\xd8"));
    assert_eq!(shown["body"], "/9g=");
    assert_eq!(shown["isBase64Encoded"], true);
    let lying = headers(&[("content-type", "text/plain")]);
    assert_eq!(event(&asked("/", &lying, b"\xff"))["isBase64Encoded"], true);
    let empty = event(&asked("/", &HeaderMap::new(), b""));
    assert!(empty.get("body").is_none() && empty.get("cookies").is_none());
}

#[test]
fn a_structured_answer_is_obeyed() {
    let result = json!({
        "statusCode": 201,
        "headers": {"Content-Type": "text/plain", "x-number": 7, "Content-Length": "999"},
        "cookies": ["a=b; HttpOnly", "c=d"],
        "body": "aGk=",
        "isBase64Encoded": true,
    });
    let read = answered(&result.to_string().into()).unwrap();
    assert_eq!(read.status, 201);
    assert_eq!(&read.body[..], b"hi");
    let expected = headers(&[
        ("content-type", "text/plain"),
        ("x-number", "7"),
        ("set-cookie", "a=b; HttpOnly"),
        ("set-cookie", "c=d"),
    ]);
    assert_eq!(read.headers, expected);
}

#[test]
fn anything_else_is_itself_the_answer() {
    for result in ["{\"message\":\"hi\"}", "\"hi\"", "[200]", "null", "7"] {
        let read = answered(&Bytes::from_static(result.as_bytes())).unwrap();
        assert_eq!(read.status, 200);
        assert_eq!(read.headers["content-type"], "application/json");
        assert_eq!(&read.body[..], result.as_bytes());
    }
}

#[test]
fn a_malformed_answer_is_named() {
    for (result, reason) in [
        (json!({"statusCode": 99}), "statusCode"),
        (json!({"statusCode": "x"}), "statusCode"),
        (json!({"statusCode": 101}), "statusCode"),
        (json!({"statusCode": 200, "body": {"a": 1}}), "body"),
        (
            json!({"statusCode": 200, "body": "%", "isBase64Encoded": true}),
            "base64",
        ),
        (json!({"statusCode": 200, "headers": {"a b": "c"}}), "a b"),
        (
            json!({"statusCode": 200, "headers": {"a": "b\r\nc: d"}}),
            "\"a\"",
        ),
        (json!({"statusCode": 200, "headers": {"a": ["b"]}}), "\"a\""),
        (json!({"statusCode": 200, "cookies": ["a\nb"]}), "cookie"),
    ] {
        let error = answered(&result.to_string().into()).unwrap_err();
        let told = error.contains(reason) || (reason == "body" && error.contains("string"));
        assert!(told, "{result}: {error}");
    }
}

proptest! {
    #[test]
    fn no_result_panics(result in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = answered(&Bytes::from(result));
    }

    #[test]
    fn a_query_is_read_back(name in "[a-z]{1,8}", value in "\\PC{0,20}") {
        let encoded = percent_encoding::utf8_percent_encode(
            &value, percent_encoding::NON_ALPHANUMERIC);
        let query = format!("{name}={encoded}");
        prop_assert_eq!(&query_parameters(&query)[&name], &value);
    }
}

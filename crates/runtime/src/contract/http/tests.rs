#![allow(clippy::unwrap_used)]
use super::*;
use http::StatusCode;
use model::{HttpRequest, RequestId};

fn invocation(http: Option<HttpRequest>) -> Invocation {
    Invocation {
        request_id: RequestId("r-1".into()),
        payload: Bytes::from_static(b"{}"),
        http: http.map(Box::new),
        event: None,
        client_context: None,
        trace_id: "Root=1-2-3".into(),
        function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        timeout: 1000,
    }
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn response(status: u16, body: &'static [u8]) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

#[test]
fn a_request_keeps_its_path_and_loses_what_belongs_to_its_connection() {
    let came = HttpRequest {
        method: Method::PUT,
        path_and_query: "/a%20b?c=d".into(),
        headers: headers(&[
            ("host", "shop.example"),
            ("content-length", "99"),
            ("connection", "close"),
            ("x-rouse-request-id", "forged"),
            ("x-two", "1"),
            ("x-two", "2"),
        ]),
    };
    let request = request(invocation(Some(came)), 8080).unwrap();
    assert_eq!(request.method(), Method::PUT);
    assert_eq!(request.uri(), "/a%20b?c=d");
    let headers = request.headers();
    assert_eq!(headers["host"], "shop.example");
    assert_eq!(headers["x-rouse-request-id"], "r-1");
    assert_eq!(headers.get_all("x-two").iter().count(), 2);
    assert!(!headers.contains_key("connection") && !headers.contains_key("content-length"));
}

#[test]
fn a_plain_call_is_a_post_of_json() {
    let request = request(invocation(None), 8080).unwrap();
    assert_eq!(request.method(), Method::POST);
    assert_eq!(request.uri(), "/");
    assert_eq!(request.headers()["content-type"], "application/json");
    assert_eq!(request.headers()["host"], "127.0.0.1:8080");
}

#[test]
fn a_path_that_would_split_the_request_is_refused() {
    let came = HttpRequest {
        method: Method::GET,
        path_and_query: "/ HTTP/1.1\r\nx-injected: 2".into(),
        headers: HeaderMap::new(),
    };
    assert!(request(invocation(Some(came)), 8080).is_err());
}

#[test]
fn a_server_error_fails_a_plain_call_and_answers_a_request() {
    let plain = ending(false, response(503, b"no store"));
    assert_eq!(plain.error().unwrap(), "Http.503: no store");
    match ending(true, response(503, b"no store")) {
        Ending::Succeeded {
            http: Some(http), ..
        } => assert_eq!(http.status, 503),
        other => panic!("{other:?}"),
    }
}

/// A connection to a server that gives these answers, one for each request, and then closes.
async fn answering(answers: &'static [&'static str]) -> (Kept, tokio::task::JoinHandle<()>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        for answer in answers {
            let mut seen = Vec::new();
            while !seen.ends_with(b"{}") {
                assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    let stream = TcpStream::connect(address).await.unwrap();
    (Kept::over(stream).await.unwrap(), server)
}

async fn asked(kept: &mut Kept) -> hyper::Result<Option<Bytes>> {
    assert!(kept.is_ready());
    let response = kept.send(request(invocation(None), 80).unwrap()).await;
    let body = response.map_err(|error| error.into_error())?.into_body();
    kept.read(body).await
}

#[tokio::test]
async fn calls_one_after_the_other_drive_one_connection() {
    let (mut kept, server) = answering(&[
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n",
    ])
    .await;
    assert_eq!(asked(&mut kept).await.unwrap().unwrap(), "one");
    assert_eq!(asked(&mut kept).await.unwrap().unwrap(), "two");
    server.await.unwrap();
    // The other side has closed; the kernel may tell that a moment later.
    while kept.is_ready() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error() {
    let (mut kept, _) = answering(&["HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\non"]).await;
    assert!(asked(&mut kept).await.is_err());
    assert!(!kept.is_ready());
    let (mut kept, _) = answering(&[]).await;
    let response = kept.send(request(invocation(None), 80).unwrap()).await;
    assert!(response.is_err());
}

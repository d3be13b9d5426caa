#![allow(clippy::unwrap_used)]
use super::*;
use bytes::Bytes;
use futures::FutureExt;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;
use hyper::client::conn::http1 as client;
use model::{MAX_PAYLOAD, RequestId};
use std::convert::Infallible;
use std::net::SocketAddr;

pub(super) fn invocation(id: &str, payload: &'static str) -> Invocation {
    Invocation {
        request_id: RequestId(id.into()),
        payload: Bytes::from_static(payload.as_bytes()),
        http: None,
        event: None,
        client_context: Some("{\"custom\":\n{\"ü\":1}}".into()),
        trace_id: "Root=1-2-3;Parent=4;Sampled=1".into(),
        function_arn: "arn:aws:lambda:us-east-1:000000000000:function:f".into(),
        timeout: 60_000,
    }
}

pub(super) async fn serve() -> (RuntimeApi, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (RuntimeApi::serve(listener), address)
}

/// What a runtime in an instance is: one connection.
struct Client<B>(client::SendRequest<B>);

impl<B> Client<B>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = client::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    async fn send(&mut self, method: &str, path: &str, body: B) -> Response<Bytes> {
        let request = Request::builder()
            .method(method)
            .uri(format!("/2018-06-01/runtime/{path}"))
            .header("host", "127.0.0.1:9001")
            .header("lambda-runtime-function-error-type", "Header.Type")
            .body(body)
            .unwrap();
        self.0.ready().await.unwrap();
        let response = self.0.send_request(request).await.unwrap();
        let (head, body) = response.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }
}

impl Client<Full<Bytes>> {
    async fn next(&mut self) -> Response<Bytes> {
        self.send("GET", "invocation/next", Full::default()).await
    }

    async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> (u16, String) {
        let response = self.send("POST", path, Full::new(body.into())).await;
        let text = String::from_utf8(response.body().to_vec()).unwrap();
        (response.status().as_u16(), text)
    }
}

fn payload(ending: Ending) -> Bytes {
    match ending {
        Ending::Succeeded { payload, .. } => payload,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_call_goes_in_with_its_headers_and_its_answer_comes_out() {
    let (api, address) = serve().await;
    let mut client = Client::connect(address).await;
    assert!(api.ready().now_or_never().is_none());
    let answered = api.offer(invocation("r-1", r#"{"a":1}"#));
    let call = client.next().await;
    api.ready().await.unwrap();
    assert_eq!(&call.body()[..], br#"{"a":1}"#);
    let header = |name: &str| call.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("lambda-runtime-aws-request-id"), "r-1");
    assert_eq!(
        header("lambda-runtime-client-context"),
        r#"{"custom":{"\u00fc":1}}"#
    );
    assert_eq!(
        header("lambda-runtime-trace-id"),
        "Root=1-2-3;Parent=4;Sampled=1"
    );
    let deadline: i64 = header("lambda-runtime-deadline-ms").parse().unwrap();
    assert!(deadline > model::Timestamp::now().0);
    let (status, text) = client.post("invocation/r-1/response", "\"done\"").await;
    assert_eq!((status, text.as_str()), (202, r#"{"status":"OK"}"#));
    assert_eq!(&payload(answered.await.unwrap())[..], b"\"done\"");
}

#[tokio::test]
async fn a_parked_next_gets_the_call_that_comes_later() {
    let (api, address) = serve().await;
    let runtime = tokio::spawn(async move {
        let mut client = Client::connect(address).await;
        for _ in 0..3 {
            let call = client.next().await;
            let id = call.headers()["lambda-runtime-aws-request-id"]
                .to_str()
                .unwrap();
            let path = format!("invocation/{id}/response");
            client.post(&path, call.body().clone()).await;
        }
    });
    api.ready().await.unwrap();
    for (id, text) in [("r-1", "1"), ("r-2", "2"), ("r-3", "3")] {
        let answer = api.offer(invocation(id, text)).await.unwrap();
        assert_eq!(payload(answer), text);
    }
    runtime.await.unwrap();
}

#[tokio::test]
async fn an_error_of_the_function_keeps_its_type_message_and_trace() {
    let (api, address) = serve().await;
    let mut client = Client::connect(address).await;
    let answered = api.offer(invocation("r-1", "{}"));
    client.next().await;
    let body = r#"{"errorType":"TypeError","errorMessage":"x is undefined","trace":["at f"]}"#;
    assert_eq!(client.post("invocation/r-1/error", body).await.0, 202);
    let Ending::Failed {
        error_type,
        message,
        payload,
    } = answered.await.unwrap()
    else {
        panic!("it failed");
    };
    assert_eq!(error_type, "TypeError");
    assert_eq!(message, "x is undefined");
    assert_eq!(payload, body);
}

#[tokio::test]
async fn a_wrong_id_a_second_answer_and_an_unasked_one_are_refused() {
    let (api, address) = serve().await;
    let mut client = Client::connect(address).await;
    assert_eq!(client.post("invocation/r-0/response", "1").await.0, 400);
    let answered = api.offer(invocation("r-1", "{}"));
    client.next().await;
    let (status, text) = client.post("invocation/r-2/response", "1").await;
    assert_eq!(status, 400);
    let error: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(error["errorType"], "InvalidRequestID");
    assert_eq!(client.post("invocation/r-1/response", "1").await.0, 202);
    assert_eq!(client.post("invocation/r-1/response", "2").await.0, 403);
    assert_eq!(client.post("invocation/r-1/error", "{}").await.0, 403);
    assert_eq!(payload(answered.await.unwrap()), "1");
    assert_eq!(client.post("invocation", "").await.0, 404);
}

#[tokio::test]
async fn six_mebibytes_are_taken_and_one_more_byte_is_not() {
    let (api, address) = serve().await;
    let mut client = Client::connect(address).await;
    let answered = api.offer(invocation("r-1", "{}"));
    client.next().await;
    let (status, _) = client
        .post("invocation/r-1/response", vec![b'x'; MAX_PAYLOAD])
        .await;
    assert_eq!(status, 202);
    assert_eq!(payload(answered.await.unwrap()).len(), MAX_PAYLOAD);
    let answered = api.offer(invocation("r-2", "{}"));
    client.next().await;
    let (status, text) = client
        .post("invocation/r-2/response", vec![b'x'; MAX_PAYLOAD + 1])
        .await;
    assert_eq!(status, 413, "{text}");
    let limit = MAX_PAYLOAD as u64;
    assert_eq!(answered.await.unwrap(), Ending::ResponseTooLarge { limit });
    // The connection lives on and takes the next call.
    let answered = api.offer(invocation("r-3", "{}"));
    client.next().await;
    client.post("invocation/r-3/response", "3").await;
    assert_eq!(payload(answered.await.unwrap()), "3");
}

#[tokio::test]
async fn asking_again_without_an_answer_gives_up_the_call() {
    let (api, address) = serve().await;
    let mut client = Client::connect(address).await;
    let first = api.offer(invocation("r-1", "{}"));
    client.next().await;
    let asking = tokio::spawn(async move {
        client.next().await;
        client.post("invocation/r-2/response", "2").await.0
    });
    let ending = first.await.unwrap();
    assert_eq!(ending.error_type(), Some("Runtime.NoResponse"));
    let second = api.offer(invocation("r-2", "{}"));
    assert_eq!(payload(second.await.unwrap()), "2");
    assert_eq!(asking.await.unwrap(), 202);
}

#[tokio::test]
async fn an_init_error_ends_the_wait_for_readiness() {
    let (api, address) = serve().await;
    let mut client = Client::connect(address).await;
    let body = r#"{"errorType":"Runtime.ImportModuleError","errorMessage":"no module"}"#;
    assert_eq!(client.post("init/error", body).await.0, 202);
    let ending = api.ready().await.unwrap_err();
    assert_eq!(
        ending.error().unwrap(),
        "Runtime.ImportModuleError: no module"
    );
    assert_eq!(client.post("init/error", body).await.0, 403);
}

#[tokio::test]
async fn a_streamed_answer_may_fail_in_its_trailers() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (api, address) = serve().await;
    let first = api.offer(invocation("r-1", "{}"));
    let second = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let asks = "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: a\r\n\r\n";
        stream.write_all(asks.as_bytes()).await.unwrap();
        let mut read = [0; 4096];
        assert!(stream.read(&mut read).await.unwrap() > 0);
        // errorBody is base64 of {"errorType":"Broken","errorMessage":"midway"}.
        let posts = "POST /2018-06-01/runtime/invocation/r-1/response HTTP/1.1\r\nHost: a\r\n\
            Lambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: chunked\r\n\
            Trailer: Lambda-Runtime-Function-Error-Type\r\n\r\n\
            5\r\nhello\r\n0\r\nLambda-Runtime-Function-Error-Type: Broken\r\n\
            Lambda-Runtime-Function-Error-Body: \
            eyJlcnJvclR5cGUiOiJCcm9rZW4iLCJlcnJvck1lc3NhZ2UiOiJtaWR3YXkifQ==\r\n\r\n";
        stream.write_all(posts.as_bytes()).await.unwrap();
        let length = stream.read(&mut read).await.unwrap();
        assert!(read[..length].starts_with(b"HTTP/1.1 202"));
    };
    let ((), ending) = tokio::join!(second, first);
    assert_eq!(ending.unwrap().error().unwrap(), "Broken: midway");
}

#[tokio::test]
async fn a_call_that_a_dead_connection_waited_for_goes_to_the_living_one() {
    let (api, address) = serve().await;
    let mut dead = Client::<Full<Bytes>>::connect(address).await;
    let asking = tokio::spawn(async move { dead.next().await });
    api.ready().await.unwrap();
    asking.abort();
    assert!(asking.await.is_err());
    // The server sees the end of the first connection before anything is offered.
    while !api.connections.is_empty() {
        tokio::task::yield_now().await;
    }
    let _answer = api.offer(invocation("r-1", "{}"));
    let mut client = Client::connect(address).await;
    let call = client.next().await;
    assert_eq!(call.headers()["lambda-runtime-aws-request-id"], "r-1");
}

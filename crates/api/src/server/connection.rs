//! One connection: HTTP/1.1 with bounds, and its end.

use super::expectation::Leave;
use super::{Origin, Run};
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;
use tokio::net::TcpStream;

/// The whole head of a request must come within this, and a connection may be idle for so long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);

/// Most header lines of a request.
const MAX_HEADERS: usize = 100;

/// What is read ahead of a body, in bytes, and past which a head that is not complete is refused.
const MAX_HEAD: usize = 64 * 1024;

/// Answers the requests of a connection until it ends, or the server does.
pub(super) async fn serve(run: &Run, stream: TcpStream, origin: Origin) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY cannot be set");
    }
    let app = run.app.clone();
    // An instance's own address says nothing: `origin` says who it is.
    let peer = stream.peer_addr().ok().filter(|_| origin == Origin::Client);
    let service = service_fn(move |mut request: Request<Incoming>| {
        let app = app.clone();
        request.extensions_mut().insert(origin.clone());
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        async move {
            let (head, body) = request.into_parts();
            let (body, leave) = Leave::watch(&head.headers, Body::new(body));
            let mut response = app.answer(Request::from_parts(head, body)).await;
            if let Some(leave) = leave {
                leave.close_unless_given(&mut response);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection broke off");
                }
                return;
            }
            () = run.stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = run.kill.cancelled() => return,
        }
    }
}

//! `/svc/NAME/…`: passed on to a replica of the service, both bodies streamed.

use super::OwnOrigin;
use super::below;
use super::error::{Error, Result};
use super::headers::{inward, outward, wants_upgrade};
use crate::Origin;
use crate::auth::Verified;
use crate::doors::Doors;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::LOCATION;
use http::{StatusCode, Uri, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use model::{Kind, ServiceName};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// How long a service may take to begin its answer after the last byte of the request.
const PATIENCE: Duration = Duration::from_secs(60);

/// `/svc/NAME` without a slash: relative links of its pages need one.
pub(super) fn redirect(_: Verified, uri: &Uri) -> Result<Response> {
    let (name, rest) = below(uri);
    let name = named(name)?;
    let location = format!("/svc/{name}{rest}");
    Ok((StatusCode::PERMANENT_REDIRECT, [(LOCATION, location)]).into_response())
}

/// Everything below `/svc/NAME/`.
pub(super) async fn proxy(_: Verified, doors: &Doors, request: Request) -> Result<Response> {
    let (name, rest) = below(request.uri());
    let name = named(name)?;
    if wants_upgrade(request.headers()) {
        return Err(Error::new(
            Kind::Unsupported,
            "routes do not pass WebSockets or other upgrades on; this needs another way to the \
             service",
        ));
    }
    if let Some(Origin::Instance { networks, .. }) = request.extensions().get() {
        doors.engine.check_service_reach(networks, &name)?;
    }
    let own = request.extensions().get::<OwnOrigin>().is_some();
    let prefix = if own {
        String::new()
    } else {
        format!("/svc/{name}")
    };
    let stream = doors.engine.connect_service(&name, None).await?;
    let response = exchange(stream, onward(request, &rest, &prefix)?, &name).await?;
    let (mut parts, body) = response.into_parts();
    parts.headers = outward(parts.headers, &prefix);
    parts.version = Version::HTTP_11;
    Ok(Response::from_parts(parts, Body::new(body)))
}

fn named(text: &str) -> Result<ServiceName> {
    text.parse()
        .map_err(|error: model::Invalid| Error::new(Kind::NotFound, error.to_string()))
}

/// The address that a request comes from, if the server said it; instances are this machine.
pub(super) fn address(request: &Request) -> Option<IpAddr> {
    match request.extensions().get::<Origin>() {
        Some(Origin::Instance { .. }) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        _ => request.extensions().get::<SocketAddr>().map(SocketAddr::ip),
    }
}

/// The request as the service is given it.
fn onward(request: Request, rest: &str, prefix: &str) -> Result<Request> {
    let from = address(&request);
    let (parts, body) = request.into_parts();
    let mut onward = Request::new(body);
    *onward.method_mut() = parts.method;
    *onward.uri_mut() = rest
        .parse()
        .map_err(|_| Error::new(Kind::Invalid, "the path cannot be passed on"))?;
    *onward.headers_mut() = inward(parts.headers, from, prefix);
    Ok(onward)
}

/// One request and the beginning of its answer on a connection of its own.
async fn exchange(
    stream: TcpStream,
    request: Request,
    name: &ServiceName,
) -> Result<http::Response<Incoming>> {
    let broken = |error: hyper::Error| {
        let text = format!(
            "service \"{name}\" closed the connection or did not answer with HTTP: {error}; see \
             `rouse logs {name}`"
        );
        Error::bad_gateway(text)
    };
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(broken)?;
    // It ends with the answer's body, or when the client drops that.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a service ended badly");
        }
    });
    let moved = Arc::new(Mutex::new(Instant::now()));
    let clock = Arc::clone(&moved);
    let request = request.map(|body| {
        body.map_frame(move |frame| {
            *clock.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            frame
        })
    });
    let sending = sender.send_request(request);
    tokio::pin!(sending);
    loop {
        let last = *moved.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(result) = timeout_at(last + PATIENCE, &mut sending).await {
            return result.map_err(broken);
        }
        if *moved.lock().unwrap_or_else(PoisonError::into_inner) == last {
            return Err(Error::gateway_timeout(format!(
                "service \"{name}\" did not begin its answer within {} seconds",
                PATIENCE.as_secs()
            )));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.unwrap(), accepted.unwrap().0)
    }

    fn request(body: &'static str) -> Request {
        let request = http::Request::post("http://rouse.test/svc/shop/a%20b?x=1")
            .header("host", "rouse.test")
            .header("content-length", body.len())
            .body(Body::from(body))
            .unwrap();
        onward(request, "/a%20b?x=1", "/svc/shop").unwrap()
    }

    #[tokio::test]
    async fn a_service_is_given_the_request_as_it_came() {
        let (ours, mut theirs) = pair().await;
        let service = tokio::spawn(async move {
            let mut seen = Vec::new();
            while !seen.ends_with(b"hello") {
                let mut chunk = [0; 1024];
                let read = theirs.read(&mut chunk).await.unwrap();
                assert!(read > 0);
                seen.extend_from_slice(&chunk[..read]);
            }
            let answer = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\nok";
            theirs.write_all(answer).await.unwrap();
            String::from_utf8(seen).unwrap()
        });
        let name = "shop".parse().unwrap();
        let response = exchange(ours, request("hello"), &name).await.unwrap();
        assert_eq!(response.status(), 201);
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&body[..], b"ok");
        let seen = service.await.unwrap();
        assert!(seen.starts_with("POST /a%20b?x=1 HTTP/1.1\r\n"), "{seen}");
        assert!(seen.contains("x-forwarded-prefix: /svc/shop\r\n"), "{seen}");
    }

    #[tokio::test]
    async fn a_service_that_hangs_up_is_a_bad_gateway() {
        let (ours, theirs) = pair().await;
        drop(theirs);
        let name = "shop".parse().unwrap();
        let error = exchange(ours, request(""), &name).await.unwrap_err();
        let response = error.into_response();
        assert_eq!(response.status(), 502);
    }

    #[tokio::test]
    async fn a_service_that_says_nothing_is_a_gateway_timeout() {
        let (ours, _theirs) = pair().await;
        tokio::time::pause();
        let name = "shop".parse().unwrap();
        let error = exchange(ours, request(""), &name).await.unwrap_err();
        assert_eq!(error.into_response().status(), 504);
    }
}

//! The `http` contract: the instance serves HTTP/1.1 on `$PORT`, as Cloud Run, Knative and the
//! Functions Framework define it.

pub(crate) mod cloudevent;
mod hop;

use super::{MAX_MESSAGE, cut, failed};
use crate::driver::Body;
use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use model::{Ending, HttpResponse, Invocation, MAX_PAYLOAD};
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};

/// A connection that was idle for longer is not used again: many servers close theirs after 2 to
/// 5 s, and a request sent at that moment would be lost.
const MAX_IDLE: Duration = Duration::from_secs(1);
/// Longest response head: 128 KiB.
const MAX_HEAD: usize = 128 * 1024;
/// Waits between attempts to connect while the program is starting; the last one repeats.
const BACKOFF: [u64; 6] = [1, 2, 5, 10, 20, 50];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-rouse-request-id");
const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");

/// A connection to a port inside a container.
///
/// # Errors
/// Of connecting; `NotConnected` if the container has ended.
pub(crate) async fn connect(body: &Body, port: u16) -> std::io::Result<TcpStream> {
    let socket = body
        .socket()
        .await
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::NotConnected, error))?;
    let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
    let stream = socket
        .connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Waits until the port takes a connection, however long that is.
pub(crate) async fn ready(body: &Body, port: u16) -> TcpStream {
    let mut backoff = BACKOFF.into_iter();
    let mut wait = 0;
    loop {
        if let Ok(stream) = connect(body, port).await {
            return stream;
        }
        wait = backoff.next().unwrap_or(wait);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
}

/// Posts calls to one instance, each over a connection of its own, which is kept for a later one.
pub(crate) struct HttpClient {
    port: u16,
    /// The last used is last. No more than calls were ever under way at once.
    kept: Mutex<Vec<Kept>>,
}

/// A connection that is driven by the call that uses it: no task of its own that would have to be woken
/// for each request and each answer.
struct Kept {
    sender: SendRequest<Full<Bytes>>,
    /// `None` when it has ended.
    connection: Option<Driven>,
    since: Instant,
}

type Driven = Pin<Box<Connection<TokioIo<TcpStream>, Full<Bytes>>>>;

impl Kept {
    async fn over(stream: TcpStream) -> hyper::Result<Self> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await?;
        Ok(Self {
            sender,
            connection: Some(Box::pin(connection)),
            since: Instant::now(),
        })
    }

    /// Whether it can take a request now: the call before is over, and the other side has not closed.
    fn is_ready(&mut self) -> bool {
        let Self {
            sender, connection, ..
        } = self;
        drive(connection, sender.ready())
            .now_or_never()
            .is_some_and(|ready| ready.is_ok())
    }

    async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Full<Bytes>>>> {
        let Self {
            sender, connection, ..
        } = self;
        drive(connection, sender.try_send_request(request)).await
    }

    async fn read(&mut self, body: Incoming) -> hyper::Result<Option<Bytes>> {
        drive(&mut self.connection, read(body)).await
    }
}

/// Lets a connection go on until `work`, which waits for it, is done.
async fn drive<W: Future>(connection: &mut Option<Driven>, work: W) -> W::Output {
    let mut work = pin!(work);
    poll_fn(|context| {
        if let Some(driven) = connection.as_mut()
            && let Poll::Ready(ended) = driven.as_mut().poll(context)
        {
            *connection = None;
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to an instance broke");
            }
        }
        work.as_mut().poll(context)
    })
    .await
}

impl HttpClient {
    /// A client for that port; `first` is the connection that showed that it listens.
    pub(crate) async fn new(port: u16, first: TcpStream) -> Self {
        Self {
            port,
            kept: Mutex::new(Vec::from_iter(Kept::over(first).await.ok())),
        }
    }

    /// The connection that was used last, if it is not too old. The others are older: once one is too
    /// old, so are all before it.
    fn take(&self) -> Option<Kept> {
        let mut kept = self.kept();
        let last = kept.pop()?;
        if last.since.elapsed() < MAX_IDLE {
            return Some(last);
        }
        kept.clear();
        None
    }

    fn keep(&self, mut used: Kept) {
        used.since = Instant::now();
        let mut kept = self.kept();
        let old = kept.partition_point(|one| one.since.elapsed() >= MAX_IDLE);
        kept.drain(..old);
        kept.push(used);
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The port that it posts to.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sends one call and reads the whole answer. Never ends by itself if the function does not
    /// answer.
    ///
    /// # Errors
    /// When no connection can be made, or it breaks before the end of the answer. The function may
    /// have ended.
    pub(crate) async fn call(&self, body: &Body, invocation: Invocation) -> Result<Ending, String> {
        let came_by_http = invocation.http.is_some();
        let request = match request(invocation, self.port) {
            Ok(request) => request,
            Err(error) => return Ok(failed("Http.InvalidRequest", &error.to_string())),
        };
        let (mut kept, response) = self.send(body, request).await?;
        let (head, body) = response.into_parts();
        let body = kept
            .read(body)
            .await
            .map_err(|error| format!("the function broke off its answer: {error}"))?;
        let Some(body) = body else {
            let limit = MAX_PAYLOAD as u64;
            return Ok(Ending::ResponseTooLarge { limit });
        };
        self.keep(kept);
        Ok(ending(came_by_http, Response::from_parts(head, body)))
    }

    /// Sends over a kept connection, or a new one if that was closed before it took the request.
    async fn send(
        &self,
        body: &Body,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Kept, Response<Incoming>), String> {
        while let Some(mut kept) = self.take() {
            if !kept.is_ready() {
                continue;
            }
            match kept.send(request).await {
                Ok(response) => return Ok((kept, response)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(hung_up(&error.into_error())),
                },
            }
        }
        // In a box of its own: rare, and large beside what every call needs.
        let mut kept = Box::pin(self.dial(body)).await?;
        match kept.send(request).await {
            Ok(response) => Ok((kept, response)),
            Err(error) => Err(hung_up(&error.into_error())),
        }
    }

    async fn dial(&self, body: &Body) -> Result<Kept, String> {
        let port = self.port;
        let stream = connect(body, port)
            .await
            .map_err(|error| format!("port {port} takes no connection: {error}"))?;
        Kept::over(stream).await.map_err(|error| error.to_string())
    }
}

fn hung_up(error: &hyper::Error) -> String {
    format!("the function closed the connection without an answer: {error}")
}

/// The request for a call: what came in by HTTP as it came, an event as a CloudEvent, anything else
/// as a `POST /` of JSON.
fn request(invocation: Invocation, port: u16) -> Result<Request<Full<Bytes>>, http::Error> {
    let (method, uri, mut headers) = match (invocation.http, &invocation.event) {
        (Some(request), _) => {
            let mut headers = request.headers;
            hop::strip(&mut headers);
            // The length is that of the body that we have.
            headers.remove(header::CONTENT_LENGTH);
            headers.remove(header::EXPECT);
            (
                request.method,
                Uri::try_from(request.path_and_query)?,
                headers,
            )
        }
        (None, event) => {
            let event = event.as_ref();
            let mut headers =
                event.map_or_else(HeaderMap::new, |event| cloudevent::headers(&event.accepted));
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            );
            (Method::POST, Uri::from_static("/"), headers)
        }
    };
    if !headers.contains_key(header::HOST) {
        headers.insert(
            header::HOST,
            HeaderValue::try_from(format!("127.0.0.1:{port}"))?,
        );
    }
    headers.insert(
        REQUEST_ID,
        HeaderValue::try_from(invocation.request_id.as_str())?,
    );
    headers.insert(TRACE_ID, HeaderValue::try_from(invocation.trace_id)?);
    let mut request = Request::new(Full::new(invocation.payload));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// The whole body; `None` past the bound.
async fn read(mut body: Incoming) -> hyper::Result<Option<Bytes>> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if whole.len() + data.len() > MAX_PAYLOAD {
                return Ok(None);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(Some(whole.freeze()))
}

/// A real HTTP request is answered with whatever the function says; an event or a plain call has
/// failed when the function says so.
fn ending(came_by_http: bool, response: Response<Bytes>) -> Ending {
    let (mut head, payload) = response.into_parts();
    let status = head.status;
    if !status.is_success() && !came_by_http {
        let text = String::from_utf8_lossy(&payload);
        return failed(
            &format!("Http.{}", status.as_u16()),
            cut(text.trim(), MAX_MESSAGE),
        );
    }
    hop::strip(&mut head.headers);
    Ending::Succeeded {
        payload,
        http: Some(Box::new(HttpResponse {
            status: status.as_u16(),
            headers: head.headers,
        })),
    }
}

#[cfg(test)]
mod tests;

//! An answer of an upstream, read within bounds.

use super::fault::Fault;
use bytes::Bytes;
use http::Response;
use http::response::Parts;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use std::time::Duration;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// How long nothing may come of a body.
const BODY_WAIT: Duration = Duration::from_secs(60);
/// How long a body may take in all that is read as a whole: a manifest, a token, an error.
const WHOLE_WAIT: Duration = Duration::from_secs(120);
/// Most bytes that are read of an error.
const MAX_ERROR: usize = 4 * 1024;

/// An answer while it comes.
pub(super) struct Answer {
    pub(super) parts: Parts,
    body: Incoming,
    /// Whether the registry itself has answered, and not where it sent to.
    is_own: bool,
    _sender: SendRequest<Empty<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

impl Answer {
    /// `sender` and `driver` are the connection on which the body comes.
    pub(super) fn new(
        response: Response<Incoming>,
        is_own: bool,
        sender: SendRequest<Empty<Bytes>>,
        driver: AbortOnDropHandle<()>,
    ) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            parts,
            body,
            is_own,
            _sender: sender,
            _driver: driver,
        }
    }

    pub(super) fn is_own(&self) -> bool {
        self.is_own
    }

    pub(super) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The next bytes of the body; `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            match timeout(BODY_WAIT, self.body.frame()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_) => continue,
                },
                Ok(Some(Err(error))) => {
                    return Err(Fault::passing(format!("the answer broke off: {error}")));
                }
                Err(_) => {
                    let reason = format!("no byte came for {} s", BODY_WAIT.as_secs());
                    return Err(Fault::passing(reason));
                }
            }
        }
    }

    /// The whole body, if it is no longer than `limit` and takes no longer than two minutes.
    pub(super) async fn whole(self, limit: usize) -> Result<Bytes, Fault> {
        let late = |_| {
            let seconds = WHOLE_WAIT.as_secs();
            Fault::passing(format!("the answer is not whole after {seconds} s"))
        };
        let read = timeout(WHOLE_WAIT, self.read_whole(limit)).await;
        read.map_err(late)?
    }

    async fn read_whole(mut self, limit: usize) -> Result<Bytes, Fault> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > limit {
                let reason = format!("the answer has more than {limit} bytes");
                return Err(Fault::wrong(reason));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.into())
    }

    /// The beginning of an error's body, as far as it can be read. It may hold what was sent.
    pub(super) async fn text(mut self) -> String {
        let mut bytes = Vec::new();
        let reading = async {
            while bytes.len() < MAX_ERROR
                && let Ok(Some(chunk)) = self.chunk().await
            {
                bytes.extend_from_slice(&chunk);
            }
        };
        // What has come by then is shown.
        let _ = timeout(WHOLE_WAIT, reading).await;
        bytes.truncate(MAX_ERROR);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

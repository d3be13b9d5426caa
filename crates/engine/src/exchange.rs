//! One HTTP request on a connection of its own: health checks, deliveries to services and webhooks.

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Sends a request and reads the whole answer, at most `limit` bytes of its body; a longer one is
/// cut off, since nothing here needs more than its status and an error text.
pub(crate) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<(StatusCode, Bytes), hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        // It has said all that is asked of it; only an error's text is wanted.
        if status.is_success() {
            return Ok((status, Bytes::new()));
        }
        let mut body = Limited::new(response.into_body(), limit);
        let mut bytes = Vec::new();
        // A body that breaks off or is too long does not change what the status said.
        while let Some(Ok(frame)) = body.frame().await {
            if let Ok(data) = frame.into_data() {
                bytes.extend_from_slice(&data);
            }
        }
        Ok((status, Bytes::from(bytes)))
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // However the connection ends, with bytes too many or too few, the answer knows what it got.
        _ = connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    async fn answer_with(answer: Vec<u8>) -> TcpStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await.unwrap();
            let _ = stream.write_all(&answer).await;
        });
        TcpStream::connect(address).await.unwrap()
    }

    fn request() -> Request<Full<Bytes>> {
        Request::get("/")
            .header("host", "x")
            .body(Full::default())
            .unwrap()
    }

    #[tokio::test]
    async fn status_and_body_come_back() {
        let answer = b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope".to_vec();
        let stream = answer_with(answer).await;
        let (status, body) = exchange(stream, request(), 100).await.unwrap();
        assert_eq!((status.as_u16(), &body[..]), (404, &b"nope"[..]));
    }

    #[tokio::test]
    async fn bytes_too_many_do_not_change_the_answer() {
        for _ in 0..20 {
            let answer = b"HTTP/1.1 204 No Content\r\n\r\nnope".to_vec();
            let stream = answer_with(answer).await;
            let (status, body) = exchange(stream, request(), 100).await.unwrap();
            assert_eq!((status.as_u16(), body.len()), (204, 0));
        }
    }

    #[tokio::test]
    async fn a_flood_is_cut_and_garbage_is_an_error() {
        let mut flood = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_vec();
        flood.resize(1 << 20, b'x');
        let stream = answer_with(flood).await;
        let (status, body) = exchange(stream, request(), 1000).await.unwrap();
        assert_eq!(status.as_u16(), 200);
        assert!(body.len() <= 1000);
        let stream = answer_with(b"SSH-2.0-what\r\n".to_vec()).await;
        assert!(exchange(stream, request(), 1000).await.is_err());
    }
}

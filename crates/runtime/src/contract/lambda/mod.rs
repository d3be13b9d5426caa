//! The `lambda` contract: the instance polls the AWS Lambda Runtime API 2018-06-01
//! (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>), which is served here, on a
//! listener of its own for each instance.

mod body;
mod routes;
mod turn;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use model::{Ending, Invocation};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use turn::Turn;

/// Most connections to one instance's Runtime API at a time; the next ones wait to be accepted.
/// Clients use one or two.
const MAX_CONNECTIONS: usize = 16;
/// Longest request head, and most that is read ahead of a body: 128 KiB.
const MAX_HEAD: usize = 128 * 1024;

/// The Runtime API of one instance. Dropped, it stops listening.
pub(crate) struct RuntimeApi {
    turn: Arc<Turn>,
    connections: TaskTracker,
    _accepting: AbortOnDropHandle<()>,
}

impl RuntimeApi {
    /// Serves on `listener`.
    pub(crate) fn serve(listener: TcpListener) -> Self {
        let turn = Arc::new(Turn::default());
        let connections = TaskTracker::new();
        let accepting = tokio::spawn(accept(listener, turn.clone(), connections.clone()));
        Self {
            turn,
            connections,
            _accepting: AbortOnDropHandle::new(accepting),
        }
    }

    /// Waits for the first `next`.
    ///
    /// # Errors
    /// `InitFailed`, when the instance said so.
    pub(crate) async fn ready(&self) -> Result<(), Ending> {
        self.turn.ready().await
    }

    /// Hands over a call; how it ended comes back, if the instance lives long enough to say.
    pub(crate) fn offer(&self, invocation: Invocation) -> oneshot::Receiver<Ending> {
        self.turn.offer(invocation)
    }

    /// For after the end of the instance: waits until everything that it sent was read.
    pub(crate) async fn drained(&self) {
        self.connections.close();
        // Nothing can write any more, so every connection ends by itself; the bound is for a
        // connection that was never accepted.
        let _ = tokio::time::timeout(Duration::from_millis(500), self.connections.wait()).await;
    }
}

async fn accept(listener: TcpListener, turn: Arc<Turn>, connections: TaskTracker) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let turn = turn.clone();
                connections.spawn(async move {
                    serve(stream, turn).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a Runtime API connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, turn: Arc<Turn>) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| routes::answer(turn.clone(), request));
    let connection = http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a Runtime API connection broke");
    }
}

#[cfg(test)]
mod tests;

//! Connections: taken inside, held against the policy, dialled from the host, copied both ways.

use super::Instance;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Most connections out of one instance at a time; the next ones are reset.
const MAX_CONNECTIONS: usize = 128;
/// How long the other side may take to accept.
const DIAL: Duration = Duration::from_secs(10);
/// How long a connection may be without a byte either way.
const IDLE: Duration = Duration::from_secs(600);
/// What is read at once, for each direction.
const CHUNK: usize = 16 * 1024;

/// Takes connections until the task is ended.
pub(super) async fn accept(instance: Arc<Instance>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(carry(instance.clone(), stream));
                }
                Ok((stream, _)) => {
                    let text = format!("refused: more than {MAX_CONNECTIONS} connections");
                    refuse(&instance, stream, &text);
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a connection out of an instance");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }
}

/// The program sees a reset, since the kernel has already told it that it is connected.
fn refuse(instance: &Instance, stream: TcpStream, text: &str) {
    if let Ok(to) = stream.local_addr() {
        instance.refusals.say(format!("egress to {to} {text}"));
    }
    reset(&stream);
}

fn reset(stream: &TcpStream) {
    // If that fails it has ended already.
    let _ = stream.set_zero_linger();
}

async fn carry(instance: Arc<Instance>, mut inside: TcpStream) {
    let Ok(SocketAddr::V4(to)) = inside.local_addr() else {
        return reset(&inside);
    };
    let checked = instance
        .policy
        .check(to, &instance.names, launcher::leaves_host);
    if let Err(reason) = checked {
        return refuse(&instance, inside, &format!("refused: {reason}"));
    }
    let Ok(_permit) = instance.shared.connections.try_acquire() else {
        let text = "refused: all instances together have too many connections";
        return refuse(&instance, inside, text);
    };
    let mut outside = match dial(to).await {
        Ok(outside) => outside,
        Err(error) => return refuse(&instance, inside, &format!("failed: {error}")),
    };
    let _ = (inside.set_nodelay(true), outside.set_nodelay(true));
    if copy(&mut inside, &mut outside).await.is_err() {
        reset(&inside);
        reset(&outside);
    }
}

async fn dial(to: SocketAddrV4) -> io::Result<TcpStream> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "nobody answered in 10 seconds");
    timeout(DIAL, TcpStream::connect(to))
        .await
        .map_err(|_| late())?
}

/// Until both sides have said their last, one breaks off, or neither has said anything for long.
async fn copy(one: &mut TcpStream, other: &mut TcpStream) -> io::Result<()> {
    let (from_one, to_one) = one.split();
    let (from_other, to_other) = other.split();
    let moved = watch::Sender::new(());
    let both = async {
        tokio::try_join!(
            pump(from_one, to_other, &moved),
            pump(from_other, to_one, &moved)
        )
    };
    let mut heard = moved.subscribe();
    let idle = async { while timeout(IDLE, heard.changed()).await.is_ok() {} };
    tokio::select! {
        done = both => done.map(drop),
        () = idle => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// One direction, its end included.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    moved: &watch::Sender<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await?;
        moved.send_replace(());
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
        moved.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Two ends of a connection.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn each_side_may_say_its_last_while_the_other_goes_on() {
        let (mut program, mut inside) = pair().await;
        let (mut outside, mut server) = pair().await;
        let copying = tokio::spawn(async move { copy(&mut inside, &mut outside).await });
        program.write_all(b"question").await.unwrap();
        program.shutdown().await.unwrap();
        let mut text = String::new();
        server.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        server.write_all(b"answer").await.unwrap();
        drop(server);
        text.clear();
        program.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
        copying.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn who_breaks_off_is_told_of() {
        let (program, mut inside) = pair().await;
        let (mut outside, server) = pair().await;
        reset(&server);
        drop(server);
        let error = copy(&mut inside, &mut outside).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        drop(program);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_byte_ends() {
        let (_program, mut inside) = pair().await;
        let (mut outside, _server) = pair().await;
        let error = copy(&mut inside, &mut outside).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}

//! The name server of an instance: passes questions on that its policy allows.

mod message;
mod resolvers;

use super::Instance;
use super::policy::Asking;
use message::{MAX_QUERY, NAME_ERROR, NO_ERROR, NOT_IMPLEMENTED, Query, SERVER_FAILURE, TYPE_A};
pub(super) use resolvers::Resolvers;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Most questions of one instance that are under way at a time; more are not heard.
const MAX_QUESTIONS: usize = 64;
/// Most datagrams of one instance in a second; more are not heard.
const MAX_RATE: u32 = 200;
/// Most connections of one instance at a time; the next ones wait to be accepted.
const MAX_CONNECTIONS: usize = 8;
/// How long a connection may be without a question.
const IDLE: Duration = Duration::from_secs(10);

const TYPE_AAAA: u16 = 28;
/// Transfers of a whole zone, and everything at once.
const TYPES_OF_BULK: [u16; 3] = [251, 252, 255];

/// Answers datagrams until the task is ended.
pub(super) async fn serve_datagrams(instance: Arc<Instance>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut questions = JoinSet::new();
    let mut rate = Rate::default();
    let mut buffer = [0; MAX_QUERY + 1];
    loop {
        tokio::select! {
            Some(_) = questions.join_next() => {}
            received = socket.recv_from(&mut buffer) => {
                // An error is about one datagram, or about an answer that nobody took.
                let Ok((read, from)) = received else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                if questions.len() >= MAX_QUESTIONS || !rate.admits(Instant::now()) {
                    let text = "egress: a question for a name was not heard: too many at a time";
                    instance.refusals.say(text.to_owned());
                    continue;
                }
                let question = buffer.get(..read).unwrap_or_default().to_vec();
                let (instance, socket) = (instance.clone(), socket.clone());
                questions.spawn(async move {
                    if let Some(answer) = answer(&instance, &question, false).await {
                        // Who asked may be gone, and asks again otherwise.
                        let _ = socket.send_to(&answer, from).await;
                    }
                });
            }
        }
    }
}

/// Answers over TCP until the task is ended.
pub(super) async fn serve_connections(instance: Arc<Instance>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => {
                match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(serve_connection(instance.clone(), stream));
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        }
    }
}

/// Questions one after the other, each with its length before it. However it ends, it only ends.
async fn serve_connection(instance: Arc<Instance>, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let question = timeout(IDLE, read_question(&mut stream)).await??;
        let Some(answer) = answer(&instance, &question, true).await else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let message = [&length.to_be_bytes(), answer.as_slice()].concat();
        timeout(IDLE, stream.write_all(&message)).await??;
    }
}

async fn read_question(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > MAX_QUERY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut question = vec![0; length];
    stream.read_exact(&mut question).await?;
    Ok(question)
}

/// The answer to one question, if it gets any.
async fn answer(instance: &Instance, question: &[u8], stream: bool) -> Option<Vec<u8>> {
    let query = match Query::read(question) {
        Ok(query) => query,
        Err(reply) => return reply,
    };
    let asking = instance.policy.check_name(&query.name);
    if asking == Asking::Refused {
        let name = &query.name;
        let text = format!("egress: the name {name} is not looked up: it is not on the list");
        instance.refusals.say(text);
        return Some(query.reply(NAME_ERROR));
    }
    if TYPES_OF_BULK.contains(&query.kind) {
        return Some(query.reply(NOT_IMPLEMENTED));
    }
    // Inside there is no way to an IPv6 address; a program that hears of none does not try.
    if query.kind == TYPE_AAAA {
        return Some(query.reply(NO_ERROR));
    }
    let answer = match instance.shared.resolvers.ask(&query, stream).await {
        Ok(answer) => answer,
        Err(error) => {
            let name = &query.name;
            let text = format!("egress: the name {name} could not be looked up: {error}");
            instance.refusals.say(text);
            return Some(query.reply(SERVER_FAILURE));
        }
    };
    if asking == Asking::Remembered && query.kind == TYPE_A {
        for (address, time) in query.addresses(&answer) {
            instance.names.remember(&query.name, address, time);
        }
    }
    let most = if stream { usize::MAX } else { query.datagram };
    Some(query.fit(answer, most))
}

/// How many questions came in this second.
#[derive(Default)]
struct Rate {
    since: Option<Instant>,
    count: u32,
}

impl Rate {
    fn admits(&mut self, now: Instant) -> bool {
        let second = Duration::from_secs(1);
        if self
            .since
            .is_none_or(|since| now.duration_since(since) >= second)
        {
            self.since = Some(now);
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.count <= MAX_RATE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_room_for_so_many_questions() {
        let mut rate = Rate::default();
        let begun = Instant::now();
        let heard = (0..1000).filter(|_| rate.admits(begun)).count();
        assert_eq!(heard, 200);
        assert!(rate.admits(begun + Duration::from_secs(1)));
    }
}

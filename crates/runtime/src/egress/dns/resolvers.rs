//! Resolvers: the name servers that questions are passed on to.

use super::message::{NOT_IMPLEMENTED, Query, REFUSED, SERVER_FAILURE, code};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Most questions of all instances that are with a name server at a time; more wait.
const IN_FLIGHT: usize = 512;
/// Most name servers of the host that are asked, in turn (as in resolv.conf(5)).
const MAX_SERVERS: usize = 3;
/// How long each of them may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// The host's file is looked at again after this time.
const AGE: Duration = Duration::from_secs(1);
const HOSTS_FILE: &str = "/etc/resolv.conf";
/// Most of that file that is read.
const MAX_FILE: usize = 64 * 1024;
const PORT: u16 = 53;
/// Largest answer over UDP that is taken.
const MAX_DATAGRAM: usize = 4096;

/// See the module.
pub(in super::super) struct Resolvers {
    given: Arc<[SocketAddr]>,
    file: Mutex<File>,
    turns: Semaphore,
}

/// What the host's file said, and when it was looked at.
#[derive(Default)]
struct File {
    servers: Arc<[SocketAddr]>,
    modified: Option<SystemTime>,
    looked: Option<Instant>,
}

impl Resolvers {
    /// `given`: in place of the host's, if there are any.
    pub(in super::super) fn new(given: Vec<SocketAddr>) -> Self {
        Self {
            given: given.into(),
            file: Mutex::default(),
            turns: Semaphore::new(IN_FLIGHT),
        }
    }

    /// Asks one after the other until one answers. Over the transport by which the question came, so
    /// that an answer that was too long for a datagram comes whole over TCP.
    ///
    /// # Errors
    /// When none has answered; says what the last one did.
    pub(super) async fn ask(&self, query: &Query, stream: bool) -> io::Result<Vec<u8>> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let mut last = Err(io::ErrorKind::NotFound.into());
        for server in self.servers().iter() {
            let asked = async {
                match stream {
                    true => ask_stream(*server, query).await,
                    false => ask_datagram(*server, query).await,
                }
            };
            let answer = match timeout(PATIENCE, asked).await {
                Ok(answer) => answer,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            let answer = answer.map_err(|error| {
                io::Error::new(error.kind(), format!("name server {server}: {error}"))
            });
            match &answer {
                Ok(bytes) if [SERVER_FAILURE, NOT_IMPLEMENTED, REFUSED].contains(&code(bytes)) => {}
                Ok(_) => return answer,
                Err(_) if last.is_ok() => continue,
                Err(_) => {}
            }
            last = answer;
        }
        last
    }

    /// The file is small and local, so reading it does not hold up the others.
    fn servers(&self) -> Arc<[SocketAddr]> {
        if !self.given.is_empty() {
            return self.given.clone();
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.looked.is_some_and(|looked| looked.elapsed() < AGE) {
            return file.servers.clone();
        }
        file.looked = Some(Instant::now());
        let modified = std::fs::metadata(HOSTS_FILE).and_then(|found| found.modified());
        let modified = modified.ok();
        if modified.is_none() || modified != file.modified {
            let text = std::fs::read(HOSTS_FILE).unwrap_or_default();
            let text = String::from_utf8_lossy(text.get(..MAX_FILE).unwrap_or(&text));
            file.servers = servers_of(&text).into();
            file.modified = modified;
        }
        file.servers.clone()
    }
}

/// The name servers of a resolv.conf(5); without any, this machine's own.
fn servers_of(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = words.next().filter(|word| *word == "nameserver");
        let address = address.and_then(|_| words.next()?.parse::<IpAddr>().ok())?;
        Some(SocketAddr::new(address, PORT))
    };
    let mut servers: Vec<_> = text.lines().filter_map(server).take(MAX_SERVERS).collect();
    if servers.is_empty() {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
    }
    servers
}

/// A number that nobody else can guess.
fn number() -> [u8; 2] {
    let [first, second, ..] = *uuid::Uuid::new_v4().as_bytes();
    [first, second]
}

/// From a fresh port; what is no answer to this question is passed over.
async fn ask_datagram(server: SocketAddr, query: &Query) -> io::Result<Vec<u8>> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let id = number();
    socket.send(&query.numbered(id)).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        let read = socket.recv(&mut buffer).await?;
        let answer = buffer.get(..read).unwrap_or_default();
        if query.is_answered_by(answer, id) {
            return Ok(answer.to_vec());
        }
    }
}

async fn ask_stream(server: SocketAddr, query: &Query) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let id = number();
    let question = query.numbered(id);
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let message = [&length.to_be_bytes(), question.as_slice()].concat();
    stream.write_all(&message).await?;
    let mut answer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    match query.is_answered_by(&answer, id) {
        true => Ok(answer),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::message::{NAME_ERROR, tests::query};
    use super::*;

    #[test]
    fn name_servers_are_read_as_the_c_library_reads_them() {
        let text = "# x\nsearch a.com\nnameserver 10.0.0.53 # first\n nameserver ::1\n\
                    nameserver fe80::1%eth0\nnameserverx 1.1.1.1\nnameserver\nnameserver 9.9.9.9\n\
                    nameserver 8.8.8.8\n";
        let servers = servers_of(text);
        let shown: Vec<_> = servers.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["10.0.0.53:53", "[::1]:53", "9.9.9.9:53"]);
        assert_eq!(servers_of("")[0].to_string(), "127.0.0.1:53");
    }

    /// Answers each datagram with what `answer` makes of it.
    async fn server(answer: impl Fn(Vec<u8>) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (read, from) = socket.recv_from(&mut buffer).await.unwrap();
                for reply in answer(buffer[..read].to_vec()) {
                    socket.send_to(&reply, from).await.unwrap();
                }
            }
        });
        address
    }

    #[tokio::test]
    async fn a_forged_answer_is_passed_over_and_a_failing_server_too() {
        let failing = server(|bytes| vec![Query::read(&bytes).unwrap().reply(SERVER_FAILURE)]);
        let honest = server(|bytes| {
            let reply = Query::read(&bytes).unwrap().reply(NAME_ERROR);
            let mut forged = reply.clone();
            forged[0] ^= 0xff;
            let mut other = reply.clone();
            other[13] = b'z';
            vec![forged, other, b"x".to_vec(), reply]
        });
        let resolvers = Resolvers::new(vec![failing.await, honest.await]);
        let question = Query::read(&query("a.com", 1)).unwrap();
        let answer = resolvers.ask(&question, false).await.unwrap();
        assert_eq!(code(&answer), NAME_ERROR);
    }

    #[tokio::test]
    async fn a_failure_is_an_answer_if_there_is_no_better_one() {
        let failing = server(|bytes| vec![Query::read(&bytes).unwrap().reply(REFUSED)]).await;
        let closed = {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.local_addr().unwrap()
        };
        let question = Query::read(&query("a.com", 1)).unwrap();
        let resolvers = Resolvers::new(vec![failing, closed]);
        let answer = resolvers.ask(&question, false).await.unwrap();
        assert_eq!(code(&answer), REFUSED);
        let error = Resolvers::new(vec![closed]).ask(&question, false).await;
        assert!(error.unwrap_err().to_string().contains(&closed.to_string()));
    }
}

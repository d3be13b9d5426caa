//! A small internet: another network namespace behind a veth, with addresses that are public, private
//! and a cloud's metadata service, each with a server that tells who answers. The tests' own process
//! is moved into a network namespace too, so that nothing of this machine is touched.

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

/// An address of the host itself that counts as public.
pub(crate) const HOST: &str = "93.184.216.1";
/// Somebody's server on the internet.
pub(crate) const PUBLIC: &str = "93.184.216.34";
/// A server in a private network.
pub(crate) const PRIVATE: &str = "10.7.7.7";
/// What a cloud tells its machines.
pub(crate) const METADATA: &str = "169.254.169.254";

const MARK: &str = "ROUSE_TEST_WORLD";
const DNS: u16 = 53;

/// First thing in `main`, after the launcher's: this program again, in a network namespace of its own.
pub(crate) fn enter() {
    if std::env::var_os(MARK).is_some() {
        return;
    }
    let error = Command::new("unshare")
        .args(["--net", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(std::env::args_os().skip(1))
        .env(MARK, "1")
        .exec();
    panic!("unshare (package util-linux) cannot be run: {error}");
}

/// See the module. It ends with this process.
pub(crate) struct World {
    /// Holds the other namespace.
    inside: Child,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut inside = Command::new("unshare")
            .args(["--net", "--", "sh", "-c", "echo ready; read end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = inside.stdout.as_mut().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let pid = inside.id();
        ip(&format!(
            "link add host0 type veth peer name net0 netns {pid}"
        ));
        ip("link set lo up");
        ip("link set host0 up");
        ip(&format!("address add {HOST}/24 dev host0"));
        let namespace = File::open(format!("/proc/{pid}/ns/net")).unwrap();
        std::thread::spawn(move || {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            ip("link set lo up");
            ip("link set net0 up");
            ip(&format!("address add {PUBLIC}/24 dev net0"));
            ip(&format!("address add {PRIVATE}/32 dev net0"));
            ip(&format!("address add {METADATA}/32 dev net0"));
            serve(80);
            serve(25);
            name_server();
        })
        .join()
        .unwrap();
        ip(&format!("route add default via {PUBLIC}"));
        // What no instance may reach.
        serve(80);
        Self { inside }
    }

    /// The name server of the internet.
    pub(crate) fn dns() -> SocketAddr {
        SocketAddr::new(PUBLIC.parse().unwrap(), DNS)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.inside.kill();
        let _ = self.inside.wait();
    }
}

fn ip(arguments: &str) {
    let done = Command::new("ip").args(arguments.split(' ')).status();
    match done {
        Ok(status) if status.success() => {}
        other => panic!("ip {arguments}: {other:?}; needs root and the package iproute2"),
    }
}

/// Takes a line on each connection to the port, and answers with the address that was connected to and
/// the line, after the other side has said its last.
fn serve(port: u16) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || answer(stream));
        }
    });
}

fn answer(mut stream: TcpStream) {
    let mut text = String::new();
    if stream.read_to_string(&mut text).is_ok() {
        let at = stream.local_addr().unwrap().ip();
        let _ = write!(stream, "{at} heard {text}");
    }
}

/// Knows some names, over UDP and TCP.
fn name_server() {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, DNS)).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, DNS)).unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok((read, from)) = socket.recv_from(&mut buffer) {
            let reply = look_up(&buffer[..read], 512);
            socket.send_to(&reply, from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut length = [0; 2];
            stream.read_exact(&mut length).unwrap();
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question).unwrap();
            let reply = look_up(&question, usize::MAX);
            let length = u16::try_from(reply.len()).unwrap();
            stream.write_all(&length.to_be_bytes()).unwrap();
            stream.write_all(&reply).unwrap();
        }
    });
}

/// The addresses of a name; `many.example.com` has more than fit a datagram.
fn addresses(name: &str) -> Vec<Ipv4Addr> {
    let one = |address: &str| vec![address.parse().unwrap()];
    match name {
        "api.example.com" | "other.example.org" => one(PUBLIC),
        "inner.example.com" => one(PRIVATE),
        "metadata.example.com" => one(METADATA),
        "host.example.com" => one(HOST),
        "many.example.com" => (1..=60)
            .map(|last| Ipv4Addr::new(93, 184, 217, last))
            .collect(),
        _ => Vec::new(),
    }
}

fn look_up(question: &[u8], most: usize) -> Vec<u8> {
    let (mut name, mut at) = (String::new(), 12);
    while question[at] != 0 {
        let end = at + 1 + usize::from(question[at]);
        name.push_str(std::str::from_utf8(&question[at + 1..end]).unwrap());
        name.push('.');
        at = end;
    }
    let kind = question[at + 2];
    let found = addresses(name.to_lowercase().trim_end_matches('.'));
    let mut reply = question[..at + 5].to_vec();
    reply[2] = 0x81;
    reply[3] = if found.is_empty() { 0x83 } else { 0x80 };
    reply[6..12].fill(0);
    if kind != 1 {
        return reply;
    }
    for address in found {
        if reply.len() + 16 > most {
            reply[2] |= 0x02;
            break;
        }
        reply.extend([192, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(address.octets());
        reply[7] += 1;
    }
    reply
}

//! Loopback inside, and the sockets that lead there.

use crate::Case;
use crate::bench::{finish, first_line, program, shell, with};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

pub(crate) const CASES: &[Case] = &[
    ("only_loopback_is_there", only_loopback_is_there),
    ("a_listener_outside_is_reached_from_inside", listener),
    (
        "a_program_may_listen_everywhere_on_our_ports",
        listens_everywhere,
    ),
    ("a_listener_inside_is_reached_from_outside", socket),
    ("low_ports_can_be_listened_on", low_ports),
    (
        "the_hosts_loopback_is_not_reached",
        the_hosts_loopback_is_not_reached,
    ),
    ("neighbours_may_have_the_same_addresses", neighbours),
    ("what_goes_elsewhere_is_taken", elsewhere),
    (
        "what_goes_elsewhere_is_taken_from_a_program_that_listens",
        elsewhere_of_a_listener,
    ),
    ("without_egress_nothing_leads_out", nowhere),
    ("the_name_server_is_ours_to_answer", name_server),
];

fn only_loopback_is_there() {
    with(|bench| async move {
        let text = bench
            .run(shell("tail -n +3 /proc/net/dev | cut -d: -f1; ls -A /sys"))
            .await
            .stdout;
        assert_eq!(text.trim(), "lo");
    });
}

/// The program listens on every address, on the very port that a neighbour's name has here, and both
/// are reached: ours by our address, its own by any other.
fn listens_everywhere() {
    const PROGRAM: &str = "use IO::Socket::INET; \
         my $l = IO::Socket::INET->new(Listen => 5, LocalPort => 8080, LocalAddr => '0.0.0.0', \
             ReuseAddr => 1) or die \"listen: $!\"; \
         for my $at ('pricing:8080', '127.0.0.1:8080') { \
             my $s = IO::Socket::INET->new(PeerAddr => $at) or die \"$at: $!\"; \
             if ($at =~ /^127/) { my $c = $l->accept(); print $c 'mine'; close $c; } \
             else { print $s 'hello'; } \
             $s->shutdown(1); print <$s>, ' '; }";
    with(|bench| async move {
        let mut spec = program(&["/usr/bin/perl", "-e", PROGRAM]);
        spec.shape.serves = true;
        spec.shape
            .hosts
            .push(("pricing".to_owned(), [127, 0, 1, 2].into()));
        spec.shape.listen = vec![([127, 0, 0, 1], 4566).into(), ([127, 0, 1, 2], 8080).into()];
        let mut sandbox = bench.start(spec).await.unwrap();
        let heard = serve(sandbox.listeners.pop().unwrap(), "ours");
        let output = finish(sandbox).await;
        assert_eq!(output.stdout.trim(), "ours mine", "{}", output.stderr);
        assert_eq!(heard.await.unwrap(), "hello");
    });
}

/// Accepts one connection and answers its line with `answer`.
fn serve(listener: TcpListener, answer: &'static str) -> tokio::task::JoinHandle<String> {
    listener.set_nonblocking(false).unwrap();
    tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(answer.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    })
}

/// A perl program that connects, sends `hello`, and prints what comes.
fn talk(address: &str) -> String {
    format!(
        "use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => '{address}') or die \"$!\"; \
         print $s 'hello'; $s->shutdown(1); print <$s>;"
    )
}

fn listener() {
    with(|bench| async move {
        let mut spec = program(&["/usr/bin/perl", "-e", &talk("catalog:8080")]);
        spec.shape
            .hosts
            .push(("catalog".to_owned(), [127, 0, 1, 3].into()));
        spec.shape.listen = vec![([127, 0, 0, 1], 9001).into(), ([127, 0, 1, 3], 8080).into()];
        let mut sandbox = bench.start(spec).await.unwrap();
        let addresses: Vec<SocketAddr> = sandbox
            .listeners
            .iter()
            .map(|l| l.local_addr().unwrap())
            .collect();
        assert_eq!(
            addresses,
            [([127, 0, 0, 1], 9001).into(), ([127, 0, 1, 3], 8080).into()]
        );
        let heard = serve(sandbox.listeners.pop().unwrap(), "welcome");
        let output = finish(sandbox).await;
        assert_eq!(output.stdout, "welcome", "{}", output.stderr);
        assert_eq!(heard.await.unwrap(), "hello");
    });
}

/// A perl program that listens on `port` and answers each connection with its own pid there.
fn answer(port: u16) -> String {
    format!(
        "use IO::Socket::INET; $| = 1; my $l = IO::Socket::INET->new(LocalAddr => '127.0.0.1', \
         LocalPort => {port}, Listen => 5) or die \"$!\"; print \"ready\\n\"; \
         while (my $c = $l->accept) {{ print $c \"pid $$\"; close $c }}"
    )
}

async fn ask(sandbox: &launcher::Sandbox, port: u16) -> String {
    let socket = sandbox.socket().await.unwrap();
    let flags = rustix::io::fcntl_getfd(&socket).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    let socket = tokio::net::TcpSocket::from_std_stream(TcpStream::from(socket));
    let mut stream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut text)
        .await
        .unwrap();
    text
}

fn socket() {
    with(|bench| async move {
        let spec = program(&["/usr/bin/perl", "-e", &answer(8080)]);
        let mut sandbox = bench.start(spec).await.unwrap();
        assert_eq!(first_line(&mut sandbox).await, "ready");
        for _ in 0..3 {
            assert_eq!(ask(&sandbox, 8080).await, "pid 1");
        }
        // The launcher is back in the host's network: the next sandbox starts as ever.
        assert_eq!(bench.run(shell("echo x")).await.stdout, "x\n");
    });
}

fn low_ports() {
    with(|bench| async move {
        let spec = program(&["/usr/bin/perl", "-e", &answer(80)]);
        let mut sandbox = bench.start(spec).await.unwrap();
        assert_eq!(first_line(&mut sandbox).await, "ready");
        assert_eq!(ask(&sandbox, 80).await, "pid 1");
    });
}

fn the_hosts_loopback_is_not_reached() {
    with(|bench| async move {
        let outside = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = outside.local_addr().unwrap().to_string();
        let output = bench
            .run(program(&["/usr/bin/perl", "-e", &talk(&address)]))
            .await;
        assert!(output.stderr.contains("refused"), "{}", output.stderr);
    });
}

fn neighbours() {
    with(|bench| async move {
        let mut both = Vec::new();
        for _ in 0..2 {
            let mut spec = shell("sleep 60");
            spec.shape.listen = vec![([127, 0, 0, 1], 9001).into()];
            both.push(bench.start(spec).await.unwrap());
        }
        assert!(both.iter().all(|sandbox| sandbox.listeners.len() == 1));
    });
}

/// A connection to any address arrives at the listener for that, which learns where it goes; what is
/// for loopback stays there.
fn elsewhere() {
    const PROGRAM: &str = "use IO::Socket::INET; \
         for my $at ('203.0.113.7:80', '169.254.169.254:80', '10.1.2.3:65535', 'catalog:8080') { \
             my $s = IO::Socket::INET->new(PeerAddr => $at) or die \"$at: $!\"; \
             print $s 'hello'; $s->shutdown(1); print <$s>, ' '; } \
         print IO::Socket::INET->new(PeerAddr => '127.9.9.9:80') ? 'open ' : 'closed '; \
         print IO::Socket::INET->new(PeerAddr => '[::1]:80') ? 'open' : 'closed';";
    with(|bench| async move {
        let mut spec = program(&["/usr/bin/perl", "-e", PROGRAM]);
        spec.shape.egress = true;
        spec.shape
            .hosts
            .push(("catalog".to_owned(), [127, 0, 1, 3].into()));
        spec.shape.listen = vec![([127, 0, 1, 3], 8080).into()];
        let mut sandbox = bench.start(spec).await.unwrap();
        let catalog = serve(sandbox.listeners.pop().unwrap(), "catalog");
        let egress = sandbox.egress.take().unwrap();
        let destinations = destinations(egress.connections, 3);
        let output = finish(sandbox).await;
        assert_eq!(
            output.stdout, "203.0.113.7:80 169.254.169.254:80 10.1.2.3:65535 catalog closed closed",
            "{}",
            output.stderr
        );
        destinations.await.unwrap();
        assert_eq!(catalog.await.unwrap(), "hello");
    });
}

/// Answers each of `count` connections with where it goes.
fn destinations(listener: TcpListener, count: usize) -> tokio::task::JoinHandle<()> {
    listener.set_nonblocking(false).unwrap();
    tokio::task::spawn_blocking(move || {
        for _ in 0..count {
            let (mut stream, _) = listener.accept().unwrap();
            let destination = stream.local_addr().unwrap();
            stream
                .write_all(destination.to_string().as_bytes())
                .unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            // Closed with something unread, it would be reset, and what was written could be lost.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    })
}

/// Even if the program listens on every address at the very port that it connects to elsewhere.
fn elsewhere_of_a_listener() {
    const PROGRAM: &str = "use IO::Socket::INET; \
         my $l = IO::Socket::INET->new(Listen => 5, LocalPort => 80, LocalAddr => '0.0.0.0', \
             ReuseAddr => 1) or die \"listen: $!\"; \
         my $s = IO::Socket::INET->new(PeerAddr => '203.0.113.7:80') or die \"out: $!\"; \
         print <$s>, ' '; \
         $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1:80') or die \"in: $!\"; \
         my $c = $l->accept(); print $c 'mine'; close $c; print <$s>; \
         my $u = IO::Socket::INET->new(PeerAddr => '8.8.8.8:53', Proto => 'udp') or die; \
         $u->send('x'); print ' ', defined $u->recv(my $text, 9) ? $text : 'refused';";
    with(|bench| async move {
        let mut spec = program(&["/usr/bin/perl", "-e", PROGRAM]);
        spec.shape.egress = true;
        spec.shape.serves = true;
        let mut sandbox = bench.start(spec).await.unwrap();
        let egress = sandbox.egress.take().unwrap();
        let destinations = destinations(egress.connections, 1);
        let output = finish(sandbox).await;
        assert_eq!(
            output.stdout, "203.0.113.7:80 mine refused",
            "{}",
            output.stderr
        );
        destinations.await.unwrap();
    });
}

fn nowhere() {
    const PROGRAM: &str = "use IO::Socket::INET; \
         print IO::Socket::INET->new(PeerAddr => '203.0.113.7:80') ? 'open' : $!;";
    with(|bench| async move {
        let spec = program(&["/usr/bin/perl", "-e", PROGRAM]);
        let mut sandbox = bench.start(spec).await.unwrap();
        assert!(sandbox.egress.take().is_none());
        let output = finish(sandbox).await;
        assert_eq!(output.stdout, "Network is unreachable", "{}", output.stderr);
    });
}

/// The one that `/etc/resolv.conf` names takes datagrams and connections, and answers from its own
/// address.
fn name_server() {
    const PROGRAM: &str = "use IO::Socket::INET; \
         open my $f, '<', '/etc/resolv.conf' or die; my ($at) = <$f> =~ /^nameserver (.*)$/m or die; \
         for my $kind ('udp', 'tcp') { \
             my $s = IO::Socket::INET->new(PeerAddr => $at, PeerPort => 53, Proto => $kind) or die $!; \
             $s->send('name?'); $s->recv(my $text, 99); print \"$text \"; }";
    with(|bench| async move {
        let mut spec = program(&["/usr/bin/perl", "-e", PROGRAM]);
        spec.shape.egress = true;
        let mut sandbox = bench.start(spec).await.unwrap();
        let egress = sandbox.egress.take().unwrap();
        egress.datagrams.set_nonblocking(false).unwrap();
        let datagram = tokio::task::spawn_blocking(move || {
            let mut buffer = [0; 99];
            let (read, from) = egress.datagrams.recv_from(&mut buffer).unwrap();
            egress.datagrams.send_to(b"by udp", from).unwrap();
            buffer[..read].to_vec()
        });
        let heard = serve(egress.dns, "by tcp");
        let output = finish(sandbox).await;
        assert_eq!(output.stdout, "by udp by tcp ", "{}", output.stderr);
        assert_eq!(datagram.await.unwrap(), b"name?");
        assert_eq!(heard.await.unwrap(), "name?");
    });
}

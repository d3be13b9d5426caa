//! Events for webhooks: CloudEvents 1.0 over HTTP in binary mode, signed.
//!
//! The server dials itself, so an address is looked at after its name was resolved and before it is
//! dialled: a name cannot lead to a private network. Redirects are not followed.

pub(crate) mod signature;

use crate::Result;
use crate::attempt::{Attempted, Record, micros, record};
use crate::delivery::{failed, send};
use crate::engine::Corridor;
use crate::pool::unavailable;
use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use model::{Ending, Event, NewEvent, RequestId, Target, Timestamp, Webhook, WebhookName};
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long resolving, connecting and the handshake may take together.
const CONNECT: Duration = Duration::from_secs(10);

/// Posts an event. An answer of 2xx settles it; anything else is an attempt that failed.
///
/// # Errors
/// `NotFound`.
pub(crate) async fn deliver(
    corridor: &Corridor,
    name: &WebhookName,
    event: Event,
) -> Result<Attempted> {
    let webhook = corridor.webhooks.get(name)?;
    let started = Timestamp::now();
    let called = Instant::now();
    let posted = post(corridor, &webhook, &event.accepted);
    let ending = tokio::select! {
        ending = posted => ending,
        () = corridor.node.kill.cancelled() => Ending::Unavailable {
            reason: "the server was shut down during the delivery".to_owned(),
        },
    };
    let mut outcome = unavailable(String::new());
    outcome.ending = ending;
    outcome.timing.run = micros(called.elapsed());
    let told = Record {
        request_id: RequestId::generate(),
        target: Target::Webhook { name: name.clone() }.key(),
        event: Some(event.accepted.id),
        attempt: event.attempts + 1,
        started,
    };
    let run = record(&outcome, told);
    Ok(Attempted { outcome, run })
}

async fn post(corridor: &Corridor, webhook: &Webhook, event: &NewEvent) -> Ending {
    let address = match Address::of(&webhook.url) {
        Ok(address) => address,
        Err(reason) => return failed("Webhook.Url", reason),
    };
    let request = match request(webhook, &address, event, Timestamp::now()) {
        Ok(request) => request,
        Err(reason) => return failed("Webhook.Request", reason),
    };
    let connected = async {
        let stream = dial(corridor, &address).await?;
        if !address.tls {
            return Ok(Stream::Plain(stream));
        }
        let name = ServerName::try_from(address.host.clone()).map_err(|e| e.to_string())?;
        let connected = tls()?.connect(name, stream).await;
        let stream = connected.map_err(|error| format!("TLS: {error}"))?;
        Ok(Stream::Tls(Box::new(stream)))
    };
    match timeout(CONNECT, connected).await {
        Ok(Ok(Stream::Plain(stream))) => send(stream, request).await,
        Ok(Ok(Stream::Tls(stream))) => send(stream, request).await,
        Ok(Err(reason)) => failed("Webhook.Connection", reason),
        Err(_) => {
            let reason = format!("no connection within {} s", CONNECT.as_secs());
            failed("Webhook.Connection", reason)
        }
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

/// Where an address leads.
struct Address {
    tls: bool,
    host: String,
    port: u16,
    /// As in `Host`.
    authority: String,
    path: String,
}

impl Address {
    fn of(url: &str) -> std::result::Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "the URL cannot be read")?;
        let tls = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or("the URL names no host")?;
        let port = uri.port_u16();
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err("the URL must not hold a user; give a header in its place".to_owned());
        }
        Ok(Self {
            tls,
            host: host.to_owned(),
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            authority: match port {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            },
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        })
    }
}

/// Resolves, checks, and connects to what was checked.
async fn dial(corridor: &Corridor, address: &Address) -> std::result::Result<TcpStream, String> {
    let resolved = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
    let resolved = resolved.map_err(|error| format!("resolving {}: {error}", address.host))?;
    let mut last = "it has no IPv4 address".to_owned();
    for to in resolved {
        let SocketAddr::V4(to) = to else { continue };
        match connect(corridor, to).await {
            Ok(stream) => return Ok(stream),
            Err(reason) => last = reason,
        }
    }
    Err(format!("{}: {last}", address.host))
}

async fn connect(corridor: &Corridor, to: SocketAddrV4) -> std::result::Result<TcpStream, String> {
    runtime::may_dial(to, corridor.webhooks.private).map_err(|reason| {
        format!("{to} is refused: {reason} (`rouse serve --private-webhooks`)")
    })?;
    let stream = TcpStream::connect(to).await;
    let stream = stream.map_err(|error| format!("connecting to {to}: {error}"))?;
    // One small request: nothing is gained by waiting for more to send.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// TLS 1.2 and 1.3 with the host's root certificates, read once.
fn tls() -> std::result::Result<TlsConnector, String> {
    static CONFIG: OnceLock<std::result::Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a root certificate of the host cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            tracing::warn!("the host has no root certificates: no webhook over HTTPS is trusted");
        }
        // Named, so that no other crate's choice of a provider changes ours.
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = config.with_root_certificates(roots);
        Ok(Arc::new(config.with_no_client_auth()))
    });
    config.clone().map(TlsConnector::from)
}

fn request(
    webhook: &Webhook,
    address: &Address,
    event: &NewEvent,
    now: Timestamp,
) -> std::result::Result<Request<Full<Bytes>>, String> {
    let key = signature::key(&webhook.secret).map_err(|error| error.to_string())?;
    let (id, seconds) = (event.id.to_string(), now.0.div_euclid(1000));
    let mut request = Request::post(&address.path)
        .header("host", &address.authority)
        .header("user-agent", concat!("rouse/", env!("CARGO_PKG_VERSION")))
        .header("content-type", "application/json");
    for (name, value) in &webhook.headers {
        request = request.header(name, value.expose());
    }
    let signed = signature::sign(&key, &id, seconds, &event.payload);
    let mut request = request
        .header("webhook-id", id)
        .header("webhook-timestamp", seconds.to_string())
        .header("webhook-signature", signed)
        .body(Full::new(event.payload.clone()))
        // The error may name a header but not its value.
        .map_err(|_| "the request cannot be written; see the webhook's headers".to_owned())?;
    for (name, value) in runtime::cloudevent_headers(event) {
        if let Some(name) = name {
            request.headers_mut().insert(name, value);
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::{EventId, Secret};

    #[test]
    fn urls_are_read_and_users_in_them_refused() {
        let of = |url: &str| Address::of(url).map(|a| (a.tls, a.host, a.port, a.authority, a.path));
        let expected = |tls, host: &str, port, authority: &str, path: &str| {
            Ok((
                tls,
                host.to_owned(),
                port,
                authority.to_owned(),
                path.to_owned(),
            ))
        };
        assert_eq!(
            of("https://a.example/x?y=1"),
            expected(true, "a.example", 443, "a.example", "/x?y=1")
        );
        assert_eq!(of("http://a:81"), expected(false, "a", 81, "a:81", "/"));
        for bad in ["http://u:p@a/", "http://", "/x"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_request_is_a_signed_cloud_event() {
        let webhook = Webhook {
            name: "w".parse().unwrap(),
            url: "http://a:81/in".into(),
            headers: [("x-key".to_owned(), Secret::new("k".into()))].into(),
            secret: signature::secret(&[1; signature::SECRET]),
            created: Timestamp(0),
            modified: Timestamp(0),
        };
        let event = NewEvent {
            id: EventId::generate(),
            target: Target::Webhook {
                name: "w".parse().unwrap(),
            },
            source: "shop".into(),
            kind: "order placed".into(),
            subject: String::new(),
            payload: Bytes::from_static(b"{}"),
            accepted: Timestamp(0),
            cause: None,
            replay_of: None,
            delivery: Default::default(),
        };
        let address = Address::of(&webhook.url).unwrap();
        let request = request(&webhook, &address, &event, Timestamp(5_999)).unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!((header("host"), request.uri().path()), ("a:81", "/in"));
        assert_eq!(
            (header("ce-type"), header("ce-source")),
            ("order%20placed", "shop")
        );
        assert_eq!((header("x-key"), header("webhook-timestamp")), ("k", "5"));
        let signed = signature::sign(&[1; 32], &event.id.to_string(), 5, b"{}");
        assert_eq!(header("webhook-signature"), signed);
    }
}

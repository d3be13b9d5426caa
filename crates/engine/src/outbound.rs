//! Connections that the server itself opens to the outside: to webhooks and to other registries.
//!
//! An address is looked at after its name was resolved and before it is dialled: a name cannot lead to a private
//! network where that is not allowed.

use http::Uri;
use std::net::{SocketAddr, SocketAddrV4};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// How long resolving, connecting and the handshake may take together.
const CONNECT: Duration = Duration::from_secs(10);

/// Shorthand: why not, in words.
pub(crate) type Outcome<T> = std::result::Result<T, String>;

/// Where an address leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// As in `Host`.
    pub(crate) authority: String,
    /// With its query.
    pub(crate) path: String,
}

impl Address {
    /// Of an `http://` or `https://` URL.
    ///
    /// # Errors
    /// Says why it cannot be dialled.
    pub(crate) fn of(url: &str) -> Outcome<Self> {
        let uri: Uri = url.parse().map_err(|_| "the URL cannot be read")?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("the URL is neither https:// nor http://".to_owned()),
        };
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

    /// Whether the same server is meant, by the same scheme.
    pub(crate) fn is_same_server(&self, other: &Self) -> bool {
        let host = self.host.eq_ignore_ascii_case(&other.host);
        host && (self.tls, self.port) == (other.tls, other.port)
    }
}

/// A connection, with TLS or without.
pub(crate) enum Stream {
    /// Without.
    Plain(TcpStream),
    /// With.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to what was looked at; with TLS if the address says so. `private`: whether private networks and this
/// machine are allowed; `otherwise` says what would allow them.
///
/// # Errors
/// Says why not.
pub(crate) async fn connect(
    address: &Address,
    private: bool,
    otherwise: &str,
    tls: Outcome<Arc<ClientConfig>>,
) -> Outcome<Stream> {
    let connected = async {
        let stream = dial(address, private, otherwise).await?;
        if !address.tls {
            return Ok(Stream::Plain(stream));
        }
        let name = ServerName::try_from(address.host.clone()).map_err(|e| e.to_string())?;
        let connected = TlsConnector::from(tls?).connect(name, stream).await;
        let stream = connected.map_err(|error| format!("TLS with {}: {error}", address.host))?;
        Ok(Stream::Tls(Box::new(stream)))
    };
    match timeout(CONNECT, connected).await {
        Ok(connected) => connected,
        Err(_) => Err(format!(
            "no connection to {} within {} s",
            address.authority,
            CONNECT.as_secs()
        )),
    }
}

/// Resolves, checks, and connects to what was checked.
async fn dial(address: &Address, private: bool, otherwise: &str) -> Outcome<TcpStream> {
    let resolved = tokio::net::lookup_host((address.host.as_str(), address.port)).await;
    let resolved = resolved.map_err(|error| format!("resolving {}: {error}", address.host))?;
    let mut last = "it has no IPv4 address".to_owned();
    for to in resolved {
        let SocketAddr::V4(to) = to else { continue };
        match open(to, private, otherwise).await {
            Ok(stream) => return Ok(stream),
            Err(reason) => last = reason,
        }
    }
    Err(format!("{}: {last}", address.host))
}

async fn open(to: SocketAddrV4, private: bool, otherwise: &str) -> Outcome<TcpStream> {
    runtime::may_dial(to, private)
        .map_err(|reason| format!("{to} is refused: {reason} ({otherwise})"))?;
    let stream = TcpStream::connect(to).await;
    let stream = stream.map_err(|error| format!("connecting to {to}: {error}"))?;
    // Requests are small: nothing is gained by waiting for more to send.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// TLS 1.2 and 1.3 with the host's root certificates, read once.
///
/// # Errors
/// Says why there is none.
pub(crate) fn host_tls() -> Outcome<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Outcome<Arc<ClientConfig>>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "a root certificate of the host cannot be read");
        }
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            tracing::warn!("the host has no root certificates: nobody is trusted over HTTPS");
        }
        config(roots)
    });
    config.clone()
}

/// The same with these root certificates only.
///
/// # Errors
/// Says which cannot be read.
pub(crate) fn own_tls(pem: &str) -> Outcome<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for found in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = found.map_err(|error| format!("the certificates in PEM: {error}"))?;
        let added = roots.add(certificate);
        added.map_err(|error| format!("a certificate is no root certificate: {error}"))?;
    }
    if roots.is_empty() {
        return Err("there is no certificate in the PEM file".to_owned());
    }
    config(roots)
}

fn config(roots: RootCertStore) -> Outcome<Arc<ClientConfig>> {
    // Named, so that no other crate's choice of a provider changes ours.
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let config = config.with_root_certificates(roots);
    Ok(Arc::new(config.with_no_client_auth()))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
        for bad in ["http://u:p@a/", "http://", "/x", "ftp://a"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_is_its_scheme_host_and_port() {
        let of = |url: &str| Address::of(url).unwrap();
        let home = of("https://a.example/x");
        assert!(home.is_same_server(&of("https://A.example:443/y")));
        for other in [
            "http://a.example",
            "https://a.example:444",
            "https://b.example",
        ] {
            assert!(!home.is_same_server(&of(other)), "{other}");
        }
    }

    #[test]
    fn certificates_that_are_none_are_refused() {
        assert!(own_tls("").is_err());
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(own_tls(broken).is_err());
    }
}

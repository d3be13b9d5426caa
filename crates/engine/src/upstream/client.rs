//! A client of one other registry: the reading half of the OCI distribution specification 1.1, with tokens.

use super::answer::Answer;
use super::challenge::{self, Challenge};
use super::fault::{Fault, said};
use crate::outbound::{self, Address, Outcome};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT, AUTHORIZATION, HOST, HeaderValue, LOCATION, RANGE, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;
use model::{Kind, Secret, Upstream};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_rustls::rustls::ClientConfig;
use tokio_util::task::AbortOnDropHandle;

/// How long the head of an answer may take.
const HEAD_WAIT: Duration = Duration::from_secs(30);
/// Most redirects of one request.
const MAX_REDIRECTS: usize = 5;
/// Largest head of an answer in bytes, and most headers in it.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;
/// Most bytes that are read of the answer of a realm.
const MAX_TOKEN_ANSWER: usize = 64 * 1024;
/// How long a token is good for of which nothing is said, at most, and how much earlier it is given up.
const TOKEN_LIFE: u64 = 60;
const MAX_TOKEN_LIFE: u64 = 3600;
const TOKEN_SPARE: u64 = 5;
/// Most tokens that are kept: one for each repository.
const MAX_TOKENS: usize = 1_000;

/// One registry, who the server is there, and the tokens that it gave.
pub(crate) struct Client {
    upstream: Upstream,
    password: Option<Secret>,
    home: Outcome<Address>,
    /// Of the upstream's own certificates; `None`: the host's.
    tls: Option<Outcome<Arc<ClientConfig>>>,
    tokens: Mutex<HashMap<String, (HeaderValue, Instant)>>,
    /// Whether it asked for user and password in each request.
    basic: AtomicBool,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// As the upstream names it.
    pub(super) repository: &'a str,
    /// Below the repository: `manifests/3`.
    pub(super) path: String,
    pub(super) accept: &'static str,
    /// From which byte on.
    pub(super) from: u64,
}

impl Client {
    pub(crate) fn new(upstream: Upstream, password: Option<Secret>) -> Self {
        Self {
            home: Address::of(&upstream.url),
            tls: upstream.certificates.as_deref().map(outbound::own_tls),
            upstream,
            password,
            tokens: Mutex::default(),
            basic: AtomicBool::new(false),
        }
    }

    /// Asks, says who asks if that is wanted, and follows where it is sent to. Gives an answer of 2xx.
    pub(super) async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Fault> {
        let scope = format!("repository:{}:pull", ask.repository);
        let known = self.known(&scope);
        let answer = self.follow(ask, known).await?;
        if answer.parts.status != StatusCode::UNAUTHORIZED || !answer.is_own() {
            return self.judge(answer).await;
        }
        let headers = answer.parts.headers.get_all(WWW_AUTHENTICATE).into_iter();
        let headers = headers.filter_map(|value| value.to_str().ok());
        let challenges: Vec<_> = headers.flat_map(challenge::parse).collect();
        drop(answer);
        let authorization = self.authorize(challenges, &scope).await?;
        let answer = self.follow(ask, Some(authorization)).await?;
        self.judge(answer).await
    }

    /// What it was content with before.
    fn known(&self, scope: &str) -> Option<HeaderValue> {
        if self.basic.load(Ordering::Relaxed) {
            return self.basic_header().ok();
        }
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let (token, until) = tokens.get(scope)?;
        (*until > Instant::now()).then(|| token.clone())
    }

    /// Sends, and follows redirects. Only the registry itself is told who asks.
    async fn follow(
        &self,
        ask: &Ask<'_>,
        mut authorization: Option<HeaderValue>,
    ) -> Result<Answer, Fault> {
        let home = self.home.as_ref().map_err(Fault::wrong)?;
        let mut address = Address {
            path: format!("/v2/{}/{}", ask.repository, ask.path),
            ..home.clone()
        };
        for _ in 0..=MAX_REDIRECTS {
            if !address.is_same_server(home) {
                // Not again, though it should be sent back.
                authorization = None;
            }
            let is_own = address.is_same_server(home);
            let request = self.request(ask, &address, authorization.as_ref())?;
            let answer = self.send(&address, request, is_own).await?;
            if !is_redirect(answer.parts.status) {
                return Ok(answer);
            }
            let location = answer.header(LOCATION).unwrap_or_default();
            address = self.next(&address, location)?;
        }
        let reason = format!("it sends on more than {MAX_REDIRECTS} times");
        Err(Fault::wrong(reason))
    }

    /// Where a redirect leads. Its query may hold a signature and is never shown.
    fn next(&self, from: &Address, location: &str) -> Result<Address, Fault> {
        let address = match location.starts_with('/') && !location.starts_with("//") {
            true => Address {
                path: location.to_owned(),
                ..from.clone()
            },
            false => Address::of(location)
                .map_err(|reason| Fault::wrong(format!("it sends on, but {reason}")))?,
        };
        self.check(&address)?;
        Ok(address)
    }

    /// Without TLS only to this machine, or where that was allowed.
    fn check(&self, address: &Address) -> Result<(), Fault> {
        let home = model::is_loopback(&address.host) && self.upstream.may_be_private();
        if address.tls || self.upstream.insecure || home {
            return Ok(());
        }
        Err(Fault::wrong(format!(
            "it sends on to http://{}, which everybody between can read (--insecure allows it)",
            address.authority
        )))
    }

    fn request(
        &self,
        ask: &Ask<'_>,
        address: &Address,
        authorization: Option<&HeaderValue>,
    ) -> Result<Request<Empty<Bytes>>, Fault> {
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(&address.path)
            .header(HOST, &address.authority)
            .header(USER_AGENT, concat!("rouse/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, ask.accept);
        if ask.from > 0 {
            request = request.header(RANGE, format!("bytes={}-", ask.from));
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request = request.body(Empty::new());
        request.map_err(|_| Fault::wrong("the request cannot be written: is its path a path?"))
    }

    /// One request on a connection of its own.
    async fn send(
        &self,
        address: &Address,
        request: Request<Empty<Bytes>>,
        is_own: bool,
    ) -> Result<Answer, Fault> {
        let tls = self.tls.clone().unwrap_or_else(outbound::host_tls);
        let private = self.upstream.may_be_private();
        let otherwise = "`rouse upstream add --private` allows private networks";
        let stream = outbound::connect(address, private, otherwise, tls).await;
        let stream = stream.map_err(Fault::passing)?;
        let failed = |error: hyper::Error| {
            Fault::passing(format!("{} did not answer: {error}", address.authority))
        };
        let asked = async {
            let mut http = Builder::new();
            http.max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
            let (mut sender, connection) =
                http.handshake(TokioIo::new(stream)).await.map_err(failed)?;
            // How it ends, the body tells.
            let driver = AbortOnDropHandle::new(tokio::spawn(async move {
                let _ = connection.await;
            }));
            let response = sender.send_request(request).await.map_err(failed)?;
            Ok(Answer::new(response, is_own, sender, driver))
        };
        let late = || {
            let seconds = HEAD_WAIT.as_secs();
            Fault::passing(format!(
                "{} did not answer in {seconds} s",
                address.authority
            ))
        };
        timeout(HEAD_WAIT, asked).await.map_err(|_| late())?
    }

    /// The header for one of the ways that it offers.
    async fn authorize(
        &self,
        challenges: Vec<Challenge>,
        scope: &str,
    ) -> Result<HeaderValue, Fault> {
        // The first that is known is the one that it prefers.
        match challenges.into_iter().next() {
            Some(Challenge::Bearer {
                realm,
                service,
                scope: asked,
            }) => {
                let scope_wanted = asked.as_deref().unwrap_or(scope);
                let (token, life) = self.token(&realm, service.as_deref(), scope_wanted).await?;
                let header = secret_header(format!("Bearer {token}"))?;
                let spare = Duration::from_secs(life.saturating_sub(TOKEN_SPARE));
                let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
                if tokens.len() >= MAX_TOKENS {
                    tokens.clear();
                }
                tokens.insert(scope.to_owned(), (header.clone(), Instant::now() + spare));
                Ok(header)
            }
            Some(Challenge::Basic) => {
                let header = self.basic_header()?;
                self.basic.store(true, Ordering::Relaxed);
                Ok(header)
            }
            None => {
                let reason = "it asks for a proof of who asks that is neither Basic nor Bearer";
                Err(Fault::wrong(reason))
            }
        }
    }

    fn basic_header(&self) -> Result<HeaderValue, Fault> {
        let name = &self.upstream.name;
        match (&self.upstream.username, &self.password) {
            (Some(user), Some(password)) => {
                let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
                secret_header(format!("Basic {pair}"))
            }
            _ => Err(Fault::of(
                Kind::Unavailable,
                format!(
                    "it asks for a user and a password, and the upstream has none: `rouse upstream add {name} --url {} \
                     --username USER --password-stdin`",
                    self.upstream.url
                ),
            )),
        }
    }

    /// A token of a realm, and for how many seconds it is good.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
    ) -> Result<(String, u64), Fault> {
        let mut address = Address::of(realm)
            .map_err(|reason| Fault::wrong(format!("the realm of its tokens: {reason}")))?;
        self.check(&address)?;
        let mut separator = if address.path.contains('?') { '&' } else { '?' };
        for (name, value) in [("service", service), ("scope", Some(scope))] {
            if let Some(value) = value {
                let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
                address.path.push_str(&format!("{separator}{name}={value}"));
                separator = '&';
            }
        }
        let ask = Ask {
            method: Method::GET,
            repository: "",
            path: String::new(),
            accept: "application/json",
            from: 0,
        };
        // Without a user it gives what everybody may have.
        let authorization = self.basic_header().ok();
        let request = self.request(&ask, &address, authorization.as_ref())?;
        let answer = self.send(&address, request, true).await?;
        if answer.parts.status != StatusCode::OK {
            let fault = self.judge(answer).await.err();
            let fault = fault.unwrap_or_else(|| Fault::wrong("no token"));
            let reason = format!("{} gave no token: {}", address.authority, fault.reason);
            return Err(Fault { reason, ..fault });
        }
        let bytes = answer.whole(MAX_TOKEN_ANSWER).await?;
        let json: serde_json::Value = serde_json::from_slice(&bytes)
            .map_err(|_| Fault::wrong(format!("{} gave no token in JSON", address.authority)))?;
        let text = |name: &str| json.get(name)?.as_str().filter(|text| !text.is_empty());
        let token = text("token").or_else(|| text("access_token"));
        let token =
            token.ok_or_else(|| Fault::wrong(format!("{} gave no token", address.authority)))?;
        let life = json.get("expires_in").and_then(serde_json::Value::as_u64);
        Ok((
            token.to_owned(),
            life.unwrap_or(TOKEN_LIFE).min(MAX_TOKEN_LIFE),
        ))
    }

    /// An answer of 2xx, or why it is none.
    async fn judge(&self, answer: Answer) -> Result<Answer, Fault> {
        let status = answer.parts.status;
        if status.is_success() {
            return Ok(answer);
        }
        let text = said(self.scrubbed(answer.text().await).as_bytes());
        let shown = match text.as_str() {
            "" => format!("it answers {status}"),
            text => format!("it answers {status}: {text}"),
        };
        Err(match status {
            StatusCode::NOT_FOUND => Fault::of(Kind::NotFound, shown),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let who = match &self.upstream.username {
                    Some(user) => format!("the user \"{user}\" with this password"),
                    None => "anybody without a user".to_owned(),
                };
                let reason = format!(
                    "it refuses {who} ({shown}); set the right ones with `rouse upstream add {}`",
                    self.upstream.name
                );
                Fault::of(Kind::Unavailable, reason)
            }
            StatusCode::TOO_MANY_REQUESTS => Fault::of(Kind::Throttled, shown),
            // What was asked for ends where it was asked for: the caller knows whether that is all.
            StatusCode::RANGE_NOT_SATISFIABLE => Fault::of(Kind::Invalid, shown),
            StatusCode::METHOD_NOT_ALLOWED => Fault::of(Kind::Unsupported, shown),
            status if status.is_server_error() => Fault::passing(shown),
            _ => Fault::wrong(shown),
        })
    }

    /// A text of the upstream without the password, should it send that back.
    fn scrubbed(&self, text: String) -> String {
        let Some(password) = &self.password else {
            return text;
        };
        let user = self.upstream.username.as_deref().unwrap_or_default();
        let pair = STANDARD.encode(format!("{user}:{}", password.expose()));
        text.replace(password.expose(), "…").replace(&pair, "…")
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// A header that hyper shows nobody.
fn secret_header(text: String) -> Result<HeaderValue, Fault> {
    let value = HeaderValue::from_str(&text);
    let mut value = value.map_err(|_| Fault::wrong("its token or password fits in no header"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::Timestamp;

    fn client(url: &str, private: bool) -> Client {
        let upstream = Upstream {
            name: "there".parse().unwrap(),
            url: url.to_owned(),
            username: None,
            certificates: None,
            insecure: false,
            private,
            created: Timestamp(0),
            modified: Timestamp(0),
        };
        Client::new(upstream, None)
    }

    #[tokio::test]
    async fn a_public_registry_sends_nobody_home() {
        let public = client("https://registry.example", false);
        for (realm, reason) in [
            ("https://127.0.0.1:1/token", "loopback"),
            ("https://169.254.169.254/token", "metadata"),
            ("https://10.0.0.1/token", "private"),
            ("http://127.0.0.1:1/token", "everybody between"),
            ("http://example.com/token", "everybody between"),
            ("ftp://example.com", "neither"),
        ] {
            let fault = public.token(realm, None, "x").await.unwrap_err();
            assert!(fault.reason.contains(reason), "{realm}: {}", fault.reason);
        }
        let private = client("https://registry.example", true);
        let fault = private.token("https://169.254.169.254/", None, "x").await;
        assert!(fault.unwrap_err().reason.contains("metadata"));
    }

    #[test]
    fn redirects_are_looked_at() {
        let public = client("https://registry.example", false);
        let home = Address::of("https://registry.example/v2/x").unwrap();
        let next = public.next(&home, "/there?x=1").unwrap();
        assert!(next.is_same_server(&home) && next.path == "/there?x=1");
        let next = public.next(&home, "https://store.example/y").unwrap();
        assert!(!next.is_same_server(&home));
        for refused in ["http://store.example/", "//store.example/", "", "data:x"] {
            assert!(public.next(&home, refused).is_err(), "{refused:?}");
        }
    }
}

//! The client of the control API.

pub(crate) mod event;
pub(crate) mod lines;

use crate::data::DataFolder;
use crate::error::{Error, Result};
use crate::output::clean;
use model::Kind;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// Where a server answers when nothing says otherwise.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:4566";

/// Largest answer that is read into memory: 64 MiB.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Asks one server. No `Debug`: it holds the token.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    token: String,
}

/// Where a server is and how to prove that we may ask it. No `Debug`: it holds the token.
pub(crate) struct Access {
    /// Without a slash at the end.
    pub(crate) url: String,
    /// The bearer token.
    pub(crate) token: String,
}

impl Access {
    /// `ROUSE_URL` and `ROUSE_TOKEN`; else what the data folder says. The folder's own token is never
    /// sent to an address that the environment names.
    pub(crate) fn find(data: &DataFolder) -> Result<Self> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::choose(variable("ROUSE_URL"), variable("ROUSE_TOKEN"), data)
    }

    fn choose(url: Option<String>, token: Option<String>, data: &DataFolder) -> Result<Self> {
        if let Some(url) = url {
            let url = check_url(&url)?;
            let token = token.ok_or_else(|| {
                Error::Usage(
                    "ROUSE_URL is set and ROUSE_TOKEN is not: set both, or neither; `rouse env` on \
                     the server's machine prints them"
                        .to_owned(),
                )
            })?;
            return Ok(Self { url, token });
        }
        let token = match token {
            Some(token) => Some(token),
            None => data.credential()?.map(|credential| credential.token),
        };
        match (data.server()?, token) {
            (Some(record), Some(token)) => Ok(Self {
                url: record.url,
                token,
            }),
            (record, _) => Err(Error::NoServer {
                url: record.map_or_else(|| DEFAULT_URL.to_owned(), |record| record.url),
                hint: format!(
                    "start one with `rouse serve` (none runs on {}; another data folder is named \
                     with --data, another machine with ROUSE_URL and ROUSE_TOKEN)",
                    data.path().display()
                ),
            }),
        }
    }
}

fn check_url(url: &str) -> Result<String> {
    if url.starts_with("https://") {
        return Err(Error::Usage(format!(
            "{url}: https is not spoken yet; reach the server over a tunnel: \
             ssh -L 4566:127.0.0.1:4566 HOST, then ROUSE_URL={DEFAULT_URL}"
        )));
    }
    if !url.starts_with("http://") {
        return Err(Error::Usage(format!(
            "ROUSE_URL is \"{}\" and must be like {DEFAULT_URL}",
            clean(url, false)
        )));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    kind: Kind,
    message: String,
}

/// How the registry tells errors (OCI distribution spec, "Error codes").
#[derive(Deserialize)]
struct RegistryErrors {
    errors: Vec<RegistryError>,
}

#[derive(Deserialize)]
struct RegistryError {
    message: String,
}

impl Client {
    /// For the server that the environment or the data folder names. Nothing is sent yet.
    pub(crate) fn new(data: &DataFolder) -> Result<Self> {
        let access = Access::find(data)?;
        // A proxy of the environment must not see the token of a server on this machine.
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("rouse/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::Failed(format!("making an HTTP client: {error}")))?;
        Ok(Self {
            http,
            url: access.url,
            token: access.token,
        })
    }

    /// Where the server answers.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A request below `/_rouse/v1/`.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}/_rouse/v1/{path}", self.url))
            .bearer_auth(&self.token)
    }

    /// A request of the registry, below `/v2/`.
    pub(crate) fn registry(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}/v2/{path}", self.url))
            .bearer_auth(&self.token)
    }

    /// Sends, and turns what is no success into an error.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unanswered(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let name = status.canonical_reason().unwrap_or("an error");
        let body = read(response, "an error").await.unwrap_or_default();
        if let Ok(ErrorBody { error }) = serde_json::from_slice(&body) {
            return Err(Error::Refused {
                kind: error.kind,
                message: clean(&error.message, true),
            });
        }
        let registry = serde_json::from_slice::<RegistryErrors>(&body).ok();
        let told = registry.and_then(|body| body.errors.into_iter().next());
        Err(Error::Refused {
            kind: kind_of(status.as_u16()),
            message: match told {
                Some(error) => clean(&error.message, true),
                None => format!("{} answers {} {name}", self.url, status.as_u16()),
            },
        })
    }

    /// A value by GET.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T> {
        let path = with_query(path, query);
        let response = self.send(self.request(Method::GET, &path)).await?;
        parse(response, &format!("GET {path}")).await
    }

    fn unanswered(&self, error: &reqwest::Error) -> Error {
        let hint = if error.is_connect() {
            "start one with `rouse serve`".to_owned()
        } else {
            format!("{}; is it still running? see its log", root_cause(error))
        };
        Error::NoServer {
            url: self.url.clone(),
            hint,
        }
    }
}

/// A path with its query, each value encoded.
pub(crate) fn with_query(path: &str, query: &[(&str, String)]) -> String {
    let mut path = path.to_owned();
    for (index, (name, value)) in query.iter().enumerate() {
        path.push(if index == 0 { '?' } else { '&' });
        path.push_str(name);
        path.push('=');
        path.push_str(&segment(value));
    }
    path
}

/// Text as one segment of a path.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The innermost cause, which says most.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// A JSON answer.
pub(crate) async fn parse<T: DeserializeOwned>(response: Response, request: &str) -> Result<T> {
    let body = read(response, request).await?;
    serde_json::from_slice(&body).map_err(|error| Error::Answer {
        request: request.to_owned(),
        reason: error.to_string(),
    })
}

/// A whole answer, 64 MiB at most.
pub(crate) async fn read(mut response: Response, request: &str) -> Result<Vec<u8>> {
    let broken = |reason: String| Error::Answer {
        request: request.to_owned(),
        reason,
    };
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| broken(root_cause(&error)))?
    {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(broken(format!("it is longer than {MAX_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn kind_of(status: u16) -> Kind {
    match status {
        401 => Kind::Unauthenticated,
        403 => Kind::Forbidden,
        404 => Kind::NotFound,
        409 => Kind::Conflict,
        413 => Kind::TooLarge,
        429 => Kind::Throttled,
        503 => Kind::Unavailable,
        507 => Kind::StorageFull,
        400..500 => Kind::Invalid,
        _ => Kind::Internal,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn folder() -> (tempfile::TempDir, DataFolder) {
        let folder = tempfile::tempdir().unwrap();
        let data = DataFolder::find(Some(folder.path())).unwrap();
        (folder, data)
    }

    #[test]
    fn the_environment_names_server_and_token_together() {
        let (_folder, data) = folder();
        let access = Access::choose(Some("http://h:1/".into()), Some("t".into()), &data);
        let access = access.ok().unwrap();
        assert_eq!(
            (access.url.as_str(), access.token.as_str()),
            ("http://h:1", "t")
        );
        for url in ["https://h", "h:1", "http://h"] {
            let error = Access::choose(Some(url.into()), None, &data).err().unwrap();
            assert_eq!(error.exit_code(), 2, "{error}");
        }
    }

    #[test]
    fn without_a_server_the_error_says_how_to_start_one() {
        let (_folder, data) = folder();
        let error = Access::choose(None, None, &data).err().unwrap();
        assert!(
            error.to_string().contains("start one with `rouse serve`"),
            "{error}"
        );
        assert_eq!(error.exit_code(), 3);
    }

    #[test]
    fn queries_are_encoded() {
        let query = [("key", "function:a&b".to_owned()), ("tail", "5".to_owned())];
        assert_eq!(
            with_query("logs", &query),
            "logs?key=function%3Aa%26b&tail=5"
        );
    }
}

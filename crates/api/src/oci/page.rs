//! Pages: how many at most, after which, and where the next one is.

use super::Call;
use super::error::{Code, Error, Result};
use axum::response::Response;
use http::HeaderValue;
use http::header::LINK;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Most entries of a page, whatever is asked for.
pub(super) const MAX_PAGE: usize = 1_000;
/// The most that may be asked for: a client that asks for more means no page.
const MAX_ASKED: u64 = 1_000_000;
/// Longest `last` that is looked at: longer than any name, tag or digest.
const MAX_LAST: usize = 512;

/// Which page is asked for.
pub(super) struct Page {
    /// How many entries at most: 0 to [`MAX_PAGE`].
    pub(super) most: usize,
    /// Begins after this.
    pub(super) last: String,
}

impl Page {
    /// Reads `n` and `last`.
    pub(super) fn of(call: &Call) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::new(Code::PageInvalid, reason));
        let most = match call.query.get("n") {
            None => MAX_PAGE,
            Some(text) if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) => {
                return refuse("n must be a number");
            }
            Some(text) => match text.parse::<u64>() {
                Ok(asked) if asked <= MAX_ASKED => {
                    usize::try_from(asked).unwrap_or(MAX_PAGE).min(MAX_PAGE)
                }
                _ => return refuse("n is more than 1000000; pages have at most 1000 entries"),
            },
        };
        match call.query.get("last").unwrap_or_default() {
            last if last.len() > MAX_LAST => refuse("last is longer than any name"),
            last => Ok(Self {
                most,
                last: last.to_owned(),
            }),
        }
    }

    /// Names the page after `last` (RFC 8288). `also` is what else must be asked again, encoded.
    pub(super) fn link(&self, call: &Call, response: &mut Response, last: &str, also: &str) {
        let path = call.parts.uri.path();
        let last = utf8_percent_encode(last, NON_ALPHANUMERIC);
        let link = format!("<{path}?n={}&last={last}{also}>; rel=\"next\"", self.most);
        if let Ok(link) = HeaderValue::from_str(&link) {
            response.headers_mut().insert(LINK, link);
        }
    }
}

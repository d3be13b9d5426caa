//! `multipart/form-data` (RFC 7578) as S3 takes it: small fields first, then one file, which is passed on while it
//! comes. What follows the file is not looked at.

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use std::pin::Pin;
use std::time::Duration;

/// Most bytes of all that comes before the file's content (AWS's bound).
pub(super) const MAX_FIELDS: usize = 20 * 1024;
/// Longest boundary (RFC 2046).
const MAX_BOUNDARY: usize = 70;
/// Most bytes that are still read after the file, so that the client has finished when it is answered.
const MAX_REST: usize = MAX_FIELDS;
/// A client that sends nothing for so long before the file is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long all that comes before the file may take: nobody knows yet who sends it.
const MAX_TIME: Duration = Duration::from_secs(120);

/// Why a form cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// It is not `multipart/form-data`, or broken off.
    #[error("the body is not a form of multipart/form-data: {0}")]
    Malformed(&'static str),
    /// More than [`MAX_FIELDS`].
    #[error("the form has more than {MAX_FIELDS} bytes before its file")]
    TooLarge,
    /// It ends without a field `file`.
    #[error("the form has no field \"file\"")]
    NoFile,
    /// It came too slowly, or the connection broke.
    #[error("the form broke off")]
    Incomplete,
}

/// The bytes of a request, as they come.
pub(super) type Body = Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>;

/// A form up to its file.
pub(super) struct Form {
    /// Names in lower case, and values, in the form's order.
    pub(super) fields: Vec<(String, String)>,
    /// How the client names the file; without folders.
    pub(super) file_name: String,
    /// The file's content.
    pub(super) file: File,
}

/// The boundary that a `Content-Type` names; `None` if that is no form.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameter(rest, "boundary")?;
    (1..=MAX_BOUNDARY)
        .contains(&boundary.len())
        .then_some(boundary)
}

/// Reads a form up to its file's content.
///
/// # Errors
/// [`Broken`].
pub(super) async fn read(body: Body, boundary: &str) -> Result<Form, Broken> {
    let read = tokio::time::timeout(MAX_TIME, up_to_file(body, boundary)).await;
    read.unwrap_or(Err(Broken::Incomplete))
}

async fn up_to_file(body: Body, boundary: &str) -> Result<Form, Broken> {
    let mut reader = Reader {
        body,
        buffer: BytesMut::new(),
        left: MAX_FIELDS,
    };
    let delimiter = format!("\r\n--{boundary}");
    // The first delimiter has no line before it, which some clients put there nevertheless.
    let preamble = reader.until(&delimiter.as_bytes()[2..]).await?;
    if !preamble.is_empty() && &preamble[..] != b"\r\n" {
        return Err(Broken::Malformed("it does not begin with its boundary"));
    }
    let mut fields = Vec::new();
    loop {
        let rest = reader.until(b"\r\n").await?;
        if rest.starts_with(b"--") {
            return Err(Broken::NoFile);
        }
        if !rest.trim_ascii().is_empty() {
            return Err(Broken::Malformed(
                "a boundary is followed by something else",
            ));
        }
        let (name, file_name) = reader.names().await?;
        if name == "file" {
            let file = File {
                body: reader.body,
                buffer: reader.buffer,
                delimiter: delimiter.into_bytes(),
            };
            return Ok(Form {
                fields,
                file_name,
                file,
            });
        }
        let value = reader.until(delimiter.as_bytes()).await?;
        let value = String::from_utf8(value.to_vec())
            .map_err(|_| Broken::Malformed("a field is not UTF-8"))?;
        fields.push((name, value));
    }
}

struct Reader {
    body: Body,
    buffer: BytesMut,
    /// How many bytes may still come before the file.
    left: usize,
}

impl Reader {
    /// What comes before `mark`, which is passed over.
    async fn until(&mut self, mark: &[u8]) -> Result<Bytes, Broken> {
        let mut seen = 0;
        loop {
            if let Some(at) = find(&self.buffer[seen..], mark) {
                let length = seen + at + mark.len();
                self.left = self.left.checked_sub(length).ok_or(Broken::TooLarge)?;
                let mut found = self.buffer.split_to(length).freeze();
                found.truncate(seen + at);
                return Ok(found);
            }
            if self.buffer.len() > self.left {
                return Err(Broken::TooLarge);
            }
            seen = (self.buffer.len() + 1).saturating_sub(mark.len());
            let chunk = tokio::time::timeout(PATIENCE, self.body.next()).await;
            match chunk {
                Ok(Some(Ok(chunk))) => self.buffer.extend_from_slice(&chunk),
                Ok(None) => return Err(Broken::Malformed("it ends too early")),
                Ok(Some(Err(_))) | Err(_) => return Err(Broken::Incomplete),
            }
        }
    }

    /// The headers of a part: its name in lower case, and its file's.
    async fn names(&mut self) -> Result<(String, String), Broken> {
        let mut names = None;
        loop {
            let line = self.until(b"\r\n").await?;
            if line.is_empty() {
                return names.ok_or(Broken::Malformed("a part has no name"));
            }
            let line = std::str::from_utf8(&line)
                .map_err(|_| Broken::Malformed("a part's header is not UTF-8"))?;
            let (header, value) = line
                .split_once(':')
                .ok_or(Broken::Malformed("a part's header has no colon"))?;
            if !header.trim().eq_ignore_ascii_case("content-disposition") {
                continue;
            }
            let (kind, rest) = value.split_once(';').unwrap_or((value, ""));
            let name = parameter(rest, "name").filter(|_| kind.trim() == "form-data");
            let name = name.ok_or(Broken::Malformed("a part has no name"))?;
            let path = parameter(rest, "filename").unwrap_or_default();
            let file = path.rsplit(['/', '\\']).next().unwrap_or_default();
            names = Some((name.to_ascii_lowercase(), file.to_owned()));
        }
    }
}

/// One of the parameters `; name="value"; other=value`. Browsers write a quote inside of a value as `%22`.
fn parameter<'a>(mut text: &'a str, wanted: &str) -> Option<&'a str> {
    loop {
        let (name, rest) = text.split_once('=')?;
        let name = name.trim_start_matches([';', ' ', '\t']).trim_end();
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at(rest.find(';').unwrap_or(rest.len())),
        };
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value.trim());
        }
        text = rest;
    }
}

fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    let first = *mark.first()?;
    let mut from = 0;
    while let Some(at) = text[from..].iter().position(|byte| *byte == first) {
        if text[from + at..].starts_with(mark) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

/// The content of a form's file.
pub(super) struct File {
    body: Body,
    buffer: BytesMut,
    delimiter: Vec<u8>,
}

impl File {
    /// Its bytes. A form that ends before the file does is an error of the stream.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, s3s::StdError>> + Send {
        futures::stream::try_unfold(Some(self), |file| async {
            match file {
                Some(file) => file.next().await,
                None => Ok(None),
            }
        })
    }

    async fn next(mut self) -> Result<Option<(Bytes, Option<Self>)>, s3s::StdError> {
        loop {
            if let Some(at) = find(&self.buffer, &self.delimiter) {
                let last = self.buffer.split_to(at).freeze();
                self.pass_rest().await;
                return Ok(Some((last, None)));
            }
            // What may be the begin of the delimiter is kept back.
            let sure = (self.buffer.len() + 1).saturating_sub(self.delimiter.len());
            if sure > 0 {
                let chunk = self.buffer.split_to(sure).freeze();
                return Ok(Some((chunk, Some(self))));
            }
            match self.body.next().await {
                Some(chunk) => self.buffer.extend_from_slice(&chunk?),
                None => return Err(Broken::Malformed("it ends inside of its file").into()),
            }
        }
    }

    async fn pass_rest(&mut self) {
        let mut passed = self.buffer.len();
        while passed < MAX_REST
            && let Ok(Some(Ok(chunk))) = tokio::time::timeout(PATIENCE, self.body.next()).await
        {
            passed += chunk.len();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use futures::TryStreamExt as _;
    use proptest::prelude::*;

    fn body(text: &[u8], piece: usize) -> Body {
        let pieces: Vec<_> = text
            .chunks(piece)
            .map(|piece| Ok(Bytes::copy_from_slice(piece)))
            .collect();
        Box::pin(futures::stream::iter(pieces))
    }

    fn form(fields: &[(&str, &str)], file: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        for (name, value) in fields {
            let part = format!(
                "--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
            text.extend_from_slice(part.as_bytes());
        }
        let head = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"C:\\x\\a=;b.txt\"\r\nContent-Type: text/plain\r\n\r\n";
        text.extend_from_slice(head.as_bytes());
        text.extend_from_slice(file);
        text.extend_from_slice(b"\r\n--b--\r\n");
        text
    }

    async fn content(form: Form) -> Result<Vec<u8>, s3s::StdError> {
        let chunks: Vec<Bytes> = form.file.into_stream().try_collect().await?;
        Ok(chunks.concat())
    }

    proptest! {
        #[test]
        fn a_form_is_read_however_it_is_cut(
            value in "[a-z\r\n-]{0,20}",
            file in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'b'), any::<u8>()], 0..80),
            piece in 1usize..40,
        ) {
            prop_assume!(find(&file, b"\r\n--b").is_none() && !value.contains("\r\n--b"));
            let text = form(&[("Key", &value)], &file);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let form = read(body(&text, piece), "b").await.unwrap();
                assert_eq!(form.fields, [("key".to_owned(), value.clone())]);
                assert_eq!(form.file_name, "a=;b.txt");
                assert_eq!(content(form).await.unwrap(), file);
            });
        }

        #[test]
        fn nothing_breaks_the_reader(text in proptest::collection::vec(any::<u8>(), 0..200), piece in 1usize..40) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let mut begun = b"--b\r\n".to_vec();
                begun.extend_from_slice(&text);
                if let Ok(form) = read(body(&begun, piece), "b").await {
                    let _ = content(form).await;
                }
            });
        }
    }

    #[tokio::test]
    async fn what_comes_before_the_file_has_a_bound() {
        for fields in [vec!["x".repeat(MAX_FIELDS)], vec!["x".repeat(1000); 21]] {
            let fields: Vec<_> = fields.iter().map(|value| ("n", value.as_str())).collect();
            let text = form(&fields, b"");
            let refused = read(body(&text, 100), "b").await.err();
            assert!(matches!(refused, Some(Broken::TooLarge)), "{refused:?}");
        }
        let large = vec![b'x'; 10 * MAX_FIELDS];
        let text = form(&[("key", "k")], &large);
        let form = read(body(&text, text.len()), "b").await.unwrap();
        assert_eq!(content(form).await.unwrap(), large);
    }

    #[tokio::test(start_paused = true)]
    async fn a_form_that_comes_byte_by_byte_is_given_up() {
        let begun = futures::stream::iter([Ok(Bytes::from_static(b"--b\r\n"))]);
        let slow = begun.chain(futures::stream::unfold((), |()| async {
            tokio::time::sleep(PATIENCE / 2).await;
            Some((Ok(Bytes::from_static(b"x")), ()))
        }));
        let refused = read(Box::pin(slow), "b").await.err();
        assert!(matches!(refused, Some(Broken::Incomplete)), "{refused:?}");
    }

    #[tokio::test]
    async fn a_form_that_breaks_off_is_no_file() {
        let whole = form(&[("key", "k")], b"content");
        for length in 0..whole.len() - 6 {
            match read(body(&whole[..length], 7), "b").await {
                Ok(form) => assert!(content(form).await.is_err(), "{length}"),
                Err(broken) => assert!(!matches!(broken, Broken::NoFile), "{length}"),
            }
        }
        let none = b"--b\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n--b--\r\n";
        let refused = read(body(none, 7), "b").await.err();
        assert!(matches!(refused, Some(Broken::NoFile)), "{refused:?}");
    }

    #[test]
    fn a_boundary_is_found() {
        for (text, expected) in [
            ("multipart/form-data; boundary=abc", Some("abc")),
            (
                "Multipart/Form-Data; charset=x; Boundary=\"a b\"",
                Some("a b"),
            ),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=abc", None),
        ] {
            assert_eq!(boundary(text), expected, "{text}");
        }
    }
}

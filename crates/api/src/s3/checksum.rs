//! Checksums that a client sends with a body, in headers or in trailers, and whether they fit
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html>).

use super::error::error;
use base64::Engine as _;
use http::{HeaderMap, HeaderName};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::Checksum as _;
use s3s::{S3ErrorCode, S3Result, TrailingHeaders};

/// What a body was found to be; a field is set if the client asked for that algorithm.
pub(super) type Sums = s3s::dto::Checksum;

const NAMES: [&str; 5] = [
    "x-amz-checksum-crc32",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-sha1",
    "x-amz-checksum-sha256",
];

/// What the client said of a body, and what is computed to compare it with.
pub(super) struct Expected {
    /// By header name; `None` if it comes in the trailer.
    sums: Vec<(HeaderName, Option<String>)>,
    content_md5: Option<String>,
    hasher: ChecksumHasher,
}

impl Expected {
    /// Reads what the headers say or announce.
    pub(super) fn read(headers: &HeaderMap) -> S3Result<Self> {
        let mut sums = Vec::new();
        for (name, value) in headers {
            if NAMES.contains(&name.as_str()) {
                let text = value.to_str().unwrap_or_default().to_owned();
                sums.push((name.clone(), Some(text)));
            }
        }
        for list in headers.get_all("x-amz-trailer") {
            for name in list.to_str().unwrap_or_default().split(',') {
                let name = name.trim().to_ascii_lowercase();
                if let Some(known) = NAMES.iter().find(|known| **known == name) {
                    sums.push((HeaderName::from_static(known), None));
                }
            }
        }
        let unknown = headers.keys().find(|name| {
            let other = name.as_str().strip_prefix("x-amz-checksum-");
            let settings = matches!(other, None | Some("algorithm" | "type" | "mode"));
            !settings && !NAMES.contains(&name.as_str())
        });
        if let Some(name) = unknown {
            let message = format!("{name} is not a checksum that is known here");
            return Err(error(S3ErrorCode::InvalidRequest, message));
        }
        let content_md5 = match headers.get("content-md5") {
            Some(value) => Some(hex_of_md5(value.as_bytes())?),
            None => None,
        };
        let hasher = hasher(&sums);
        Ok(Self {
            sums,
            content_md5,
            hasher,
        })
    }

    /// Takes a part of the body.
    pub(super) fn update(&mut self, chunk: &[u8]) {
        self.hasher.update(chunk);
    }

    /// Compares, once the whole body was seen. `md5` is its hex MD5.
    ///
    /// # Errors
    /// `BadDigest`, or `InvalidRequest` when an announced trailer did not come.
    pub(super) fn finish(self, md5: &str, trailers: Option<&TrailingHeaders>) -> S3Result<Sums> {
        if self.content_md5.is_some_and(|expected| expected != md5) {
            let message = "the Content-MD5 is not that of the bytes that were received";
            return Err(error(S3ErrorCode::BadDigest, message));
        }
        let found = self.hasher.finalize();
        for (name, said) in self.sums {
            let said = said.or_else(|| trailer(trailers, &name)).ok_or_else(|| {
                let message = format!("the trailer {name} was announced and did not come");
                error(S3ErrorCode::InvalidRequest, message)
            })?;
            if sum(&found, name.as_str()) != Some(said.as_str()) {
                let message = format!("{name} is not that of the bytes that were received");
                return Err(error(S3ErrorCode::BadDigest, message));
            }
        }
        Ok(found)
    }
}

fn hasher(sums: &[(HeaderName, Option<String>)]) -> ChecksumHasher {
    let wanted = |name: &str| sums.iter().any(|(known, _)| known == name);
    ChecksumHasher {
        crc32: wanted(NAMES[0]).then(s3s::crypto::Crc32::new),
        crc32c: wanted(NAMES[1]).then(s3s::crypto::Crc32c::new),
        crc64nvme: wanted(NAMES[2]).then(s3s::crypto::Crc64Nvme::new),
        sha1: wanted(NAMES[3]).then(s3s::crypto::Sha1::new),
        sha256: wanted(NAMES[4]).then(s3s::crypto::Sha256::new),
    }
}

fn sum<'a>(sums: &'a Sums, name: &str) -> Option<&'a str> {
    match name {
        "x-amz-checksum-crc32" => sums.checksum_crc32.as_deref(),
        "x-amz-checksum-crc32c" => sums.checksum_crc32c.as_deref(),
        "x-amz-checksum-crc64nvme" => sums.checksum_crc64nvme.as_deref(),
        "x-amz-checksum-sha1" => sums.checksum_sha1.as_deref(),
        "x-amz-checksum-sha256" => sums.checksum_sha256.as_deref(),
        _ => None,
    }
}

fn trailer(trailers: Option<&TrailingHeaders>, name: &HeaderName) -> Option<String> {
    let read = |headers: &HeaderMap| Some(headers.get(name)?.to_str().ok()?.trim().to_owned());
    trailers?.read(read)?
}

fn hex_of_md5(header: &[u8]) -> S3Result<String> {
    let decoded = base64::engine::general_purpose::STANDARD.decode(header);
    match decoded {
        Ok(bytes) if bytes.len() == 16 => Ok(hex::encode(bytes)),
        _ => {
            let message = "Content-MD5 must be the base64 of 16 bytes";
            Err(error(S3ErrorCode::InvalidDigest, message))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Of "hello world": from `printf` through `md5sum` and Python's `zlib.crc32`.
    const MD5: &str = "5eb63bbbe01eeed093cb22bb8f5acdc3";
    const MD5_BASE64: &str = "XrY7u+Ae7tCTyyK7j1rNww==";
    const CRC32: &str = "DUoRhQ==";

    fn finish(headers: &[(&'static str, &str)]) -> S3Result<Sums> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let mut expected = Expected::read(&map)?;
        expected.update(b"hello ");
        expected.update(b"world");
        expected.finish(MD5, None)
    }

    #[test]
    fn sums_that_fit_are_given_back() {
        let sums = finish(&[("x-amz-checksum-crc32", CRC32), ("content-md5", MD5_BASE64)]);
        let sums = sums.unwrap();
        assert_eq!(sums.checksum_crc32.as_deref(), Some(CRC32));
        assert_eq!(sums.checksum_sha256, None);
    }

    #[test]
    fn sums_that_do_not_fit_are_refused() {
        for (name, value, code) in [
            ("x-amz-checksum-crc32", "AAAAAA==", "BadDigest"),
            ("x-amz-checksum-sha256", "", "BadDigest"),
            ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==", "BadDigest"),
            ("content-md5", "AAAA", "InvalidDigest"),
            ("x-amz-checksum-blake9", "AAAA", "InvalidRequest"),
            ("x-amz-trailer", "x-amz-checksum-crc32", "InvalidRequest"),
        ] {
            let error = finish(&[(name, value)]).unwrap_err();
            assert_eq!(error.code().as_str(), code, "{name}: {value}");
        }
    }
}

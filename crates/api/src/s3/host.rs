//! Virtual-hosted style: `BUCKET.localhost` and `BUCKET.s3.localhost` name a bucket; every other host
//! means path style.

use s3s::S3Result;
use s3s::host::{S3Host, VirtualHost};

/// Finds the bucket in the `Host` header.
pub(super) struct Host;

/// Domains whose subdomains are buckets, the longer first.
const DOMAINS: [&str; 2] = ["s3.localhost", "localhost"];

impl S3Host for Host {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = without_port(host);
        for domain in DOMAINS {
            if name == domain {
                break;
            }
            let bucket = name
                .strip_suffix(domain)
                .and_then(|rest| rest.strip_suffix('.'));
            if let Some(bucket) = bucket {
                return Ok(VirtualHost::new(domain).with_bucket(bucket));
            }
        }
        Ok(VirtualHost::new(name))
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_subdomains_of_localhost_are_buckets() {
        for (host, bucket) in [
            ("localhost:4566", None),
            ("s3.localhost:4566", None),
            ("photos.localhost:4566", Some("photos")),
            ("photos.s3.localhost", Some("photos")),
            ("my.photos.s3.localhost:80", Some("my.photos")),
            ("example.org:4566", None),
            ("notlocalhost", None),
            ("[::1]:4566", None),
        ] {
            let found = Host.parse_host_header(host).unwrap();
            assert_eq!(found.bucket(), bucket, "{host}");
        }
    }
}

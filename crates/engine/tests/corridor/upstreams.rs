//! Pulling through from a registry that fails in every way that one can: what it sends is checked, gone on with, or
//! refused, and it learns nothing that it should not.

use crate::house::{House, steady};
use engine::Engine;
use model::{
    ContentDigest, Kind, ManifestReference, RepositoryName, Secret, Timestamp, Upstream,
    UpstreamName,
};
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const PASSWORD: &str = "correct horse";

/// A registry that answers what the test says; it keeps the heads of requests.
struct Registry {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Registry {
    /// `answer` is given the head of each request and how many came before, and gives all bytes of the answer.
    async fn start(answer: impl Fn(&str, usize) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = seen.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => break,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let before = {
                    let mut seen = kept.lock().unwrap();
                    seen.push(head.clone());
                    seen.len() - 1
                };
                let _ = stream.write_all(&answer(&head, before)).await;
            }
        });
        Self { port, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

/// An answer whose connection ends with it; `length` is what it says of its body.
fn answer(status: &str, headers: &[&str], body: &[u8], length: usize) -> Vec<u8> {
    let mut bytes =
        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n");
    for header in headers {
        bytes.push_str(header);
        bytes.push_str("\r\n");
    }
    let mut bytes = (bytes + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn whole(headers: &[&str], body: &[u8]) -> Vec<u8> {
    answer("200 OK", headers, body, body.len())
}

fn digest(bytes: &[u8]) -> ContentDigest {
    let hex = hex::encode(Sha256::digest(bytes));
    format!("sha256:{hex}").parse().unwrap()
}

fn repository() -> RepositoryName {
    "there/shop/x".parse().unwrap()
}

async fn add(engine: &Engine, port: u16, password: Option<&str>) {
    let name: UpstreamName = "there".parse().unwrap();
    let upstream = Upstream {
        name,
        url: format!("http://127.0.0.1:{port}"),
        username: password.map(|_| "me".to_owned()),
        certificates: None,
        insecure: false,
        private: false,
        created: Timestamp::now(),
        modified: Timestamp::now(),
    };
    let password = password.map(|password| Secret::new(password.to_owned()));
    engine.put_upstream(upstream, password).await.unwrap();
}

async fn open(registry: &Registry, password: Option<&str>) -> House {
    let house = House::open(steady(0, 0)).await;
    add(&house.engine, registry.port, password).await;
    house
}

fn uploads(house: &House) -> usize {
    let folder = house.folder.path().join("uploads");
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn bytes_of_another_digest_are_refused_and_not_kept() {
    let registry = Registry::start(|head, _| match head.contains("/manifests/") {
        true => whole(&[], b"{}"),
        false => whole(&[], b"something else"),
    })
    .await;
    let house = open(&registry, None).await;
    let wanted = digest(b"wanted");
    let error = house.engine.pull_blob(&repository(), &wanted).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    let text = error.to_string();
    assert!(
        text.contains(wanted.as_str()) && text.contains("digest"),
        "{text}"
    );
    let repository = repository();
    let there = house.storage.registry_blob_size(&repository, &wanted);
    assert_eq!(there.await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(uploads(&house), 0);
    let reference = ManifestReference::Digest(wanted);
    let error = house.engine.pull_manifest(&repository, &reference).await;
    assert!(error.unwrap_err().to_string().contains("has the digest"));
    let all = house.state.list_repositories(String::new(), 9).await;
    assert!(all.unwrap().0.is_empty());
}

#[tokio::test]
async fn a_blob_that_breaks_off_is_gone_on_with() {
    let blob: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let body = blob.clone();
    // Twice it breaks off; the second time of these it ignores the range, as it may.
    let registry = Registry::start(move |head, before| {
        let range = head.lines().find_map(|line| {
            let value = line.strip_prefix("range: bytes=")?;
            value.strip_suffix('-')?.parse::<usize>().ok()
        });
        match (before, range) {
            (0, None) => answer("200 OK", &[], &body[..70_000], body.len()),
            (1, Some(_)) => answer("200 OK", &[], &body[..150_000], body.len()),
            (2, Some(from)) => {
                let range = format!("content-range: bytes {from}-199999/200000");
                let rest = &body[from..];
                answer("206 Partial Content", &[&range], rest, rest.len())
            }
            _ => answer("400 Bad Request", &[], b"", 0),
        }
    })
    .await;
    let house = open(&registry, None).await;
    let wanted = digest(&blob);
    house
        .engine
        .pull_blob(&repository(), &wanted)
        .await
        .unwrap();
    let repository = repository();
    let size = house.storage.registry_blob_size(&repository, &wanted);
    assert_eq!(size.await.unwrap(), 200_000);
    assert_eq!(registry.seen().len(), 3);
    assert!(registry.seen()[2].contains("range: bytes=150000-"));
}

#[tokio::test]
async fn two_who_ask_at_once_fetch_it_once() {
    let registry = Registry::start(|_, _| whole(&[], b"blob")).await;
    let house = open(&registry, None).await;
    let (repository, wanted) = (repository(), digest(b"blob"));
    let pull = || house.engine.pull_blob(&repository, &wanted);
    let (first, second, third) = tokio::join!(pull(), pull(), pull());
    first.and(second).and(third).unwrap();
    assert_eq!(registry.seen().len(), 1);
}

#[tokio::test]
async fn a_token_is_fetched_with_the_password_used_and_kept() {
    let realm = Registry::start(|_, _| {
        whole(
            &["content-type: application/json"],
            br#"{"token":"t0ken","expires_in":300}"#,
        )
    })
    .await;
    let port = realm.port;
    let registry = Registry::start(move |head, _| {
        if head.contains("authorization: Bearer t0ken") {
            return whole(
                &[],
                if head.contains("/blobs/") {
                    b"blob"
                } else {
                    b"{}"
                },
            );
        }
        let challenge = format!(
            "www-authenticate: Bearer realm=\"http://127.0.0.1:{port}/token?a=b\",service=\"s v\",\
             scope=\"repository:shop/x:pull\""
        );
        answer("401 Unauthorized", &[&challenge], b"", 0)
    })
    .await;
    let house = open(&registry, Some(PASSWORD)).await;
    let engine = &house.engine;
    engine
        .pull_blob(&repository(), &digest(b"blob"))
        .await
        .unwrap();
    let reference = ManifestReference::Digest(digest(b"{}"));
    engine
        .pull_manifest(&repository(), &reference)
        .await
        .unwrap();
    let asked = realm.seen();
    assert_eq!(asked.len(), 1, "the token is good for both");
    let path = "GET /token?a=b&service=s%20v&scope=repository%3Ashop%2Fx%3Apull ";
    assert!(asked[0].starts_with(path), "{}", asked[0]);
    // me:correct horse
    assert!(asked[0].contains("authorization: Basic bWU6Y29ycmVjdCBob3JzZQ=="));
    for head in registry.seen() {
        assert!(
            !head.contains("Basic"),
            "only the realm is told the password: {head}"
        );
    }
}

#[tokio::test]
async fn who_it_sends_to_is_not_told_who_asks() {
    let store = Registry::start(|_, _| whole(&[], b"blob")).await;
    let port = store.port;
    let registry = Registry::start(move |head, _| {
        if !head.contains("authorization: Basic") {
            let challenge = "www-authenticate: Basic realm=\"x\"";
            return answer("401 Unauthorized", &[challenge], b"", 0);
        }
        let location = format!("location: http://127.0.0.1:{port}/blob?signature=1");
        answer("307 Temporary Redirect", &[&location], b"", 0)
    })
    .await;
    let house = open(&registry, Some(PASSWORD)).await;
    let (repository, wanted) = (repository(), digest(b"blob"));
    let pulled = house.engine.pull_blob(&repository, &wanted);
    pulled.await.unwrap();
    let seen = store.seen();
    assert!(seen[0].starts_with("GET /blob?signature=1 "));
    assert!(!seen[0].contains("authorization"), "{}", seen[0]);
}

#[tokio::test]
async fn endless_redirects_and_large_manifests_end() {
    let registry = Registry::start(|head, _| match head.contains("/blobs/") {
        true => answer("302 Found", &["location: /v2/shop/x/blobs/again"], b"", 0),
        false => whole(&[], &vec![b' '; (4 << 20) + 1]),
    })
    .await;
    let house = open(&registry, None).await;
    let error = house.engine.pull_blob(&repository(), &digest(b"x")).await;
    assert!(error.unwrap_err().to_string().contains("sends on"));
    assert_eq!(registry.seen().len(), 6);
    let reference = ManifestReference::Digest(digest(b"x"));
    let error = house.engine.pull_manifest(&repository(), &reference).await;
    assert!(error.unwrap_err().to_string().contains("4194304 bytes"));
}

#[tokio::test]
async fn a_wrong_password_is_said_and_never_shown() {
    let registry = Registry::start(|head, _| {
        // It sends back what it was told.
        let told = head.lines().find(|line| line.starts_with("authorization"));
        let body = format!("no: {} {PASSWORD}", told.unwrap_or_default());
        let challenge = "www-authenticate: Basic realm=\"x\"";
        answer(
            "401 Unauthorized",
            &[challenge],
            body.as_bytes(),
            body.len(),
        )
    })
    .await;
    let house = open(&registry, Some(PASSWORD)).await;
    let reference: ManifestReference = "1".parse().unwrap();
    let error = house.engine.pull_manifest(&repository(), &reference).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("refuses the user \"me\""), "{text}");
    assert!(!text.contains(PASSWORD) && !text.contains("bWU6"), "{text}");
    let listed = format!("{:?}", house.engine.list_upstreams());
    assert!(!listed.contains(PASSWORD));
}

#[tokio::test]
async fn a_tag_follows_the_upstream_and_outlives_it() {
    let current: Arc<Mutex<Option<&'static [u8]>>> = Arc::new(Mutex::new(Some(b"{}")));
    let shared = current.clone();
    let registry = Registry::start(move |head, _| {
        let Some(body) = *shared.lock().unwrap() else {
            return answer("503 Service Unavailable", &[], b"", 0);
        };
        let said = format!("docker-content-digest: {}", digest(body));
        match head.starts_with("HEAD") {
            true => answer("200 OK", &[&said], b"", body.len()),
            false => whole(&[&said], body),
        }
    })
    .await;
    let house = open(&registry, None).await;
    let reference: ManifestReference = "1".parse().unwrap();
    let pull = async || {
        house
            .engine
            .pull_manifest(&repository(), &reference)
            .await?;
        let found = house.state.find_manifest(repository(), reference.clone());
        Ok::<_, engine::Error>(found.await?.digest)
    };
    assert_eq!(pull().await.unwrap(), digest(b"{}"));
    // Believed for a while; what is declared anew is asked at once.
    *current.lock().unwrap() = Some(b"{ }");
    assert_eq!(pull().await.unwrap(), digest(b"{}"));
    add(&house.engine, registry.port, None).await;
    assert_eq!(pull().await.unwrap(), digest(b"{ }"));
    *current.lock().unwrap() = None;
    add(&house.engine, registry.port, None).await;
    assert_eq!(pull().await.unwrap(), digest(b"{ }"), "what is here");
    let other: ManifestReference = "2".parse().unwrap();
    let error = house.engine.pull_manifest(&repository(), &other).await;
    assert!(error.unwrap_err().to_string().contains("503"));
    // It goes with its upstream.
    let name: UpstreamName = "there".parse().unwrap();
    house.engine.delete_upstream(&name).await.unwrap();
    let all = house.state.list_repositories(String::new(), 9).await;
    assert!(all.unwrap().0.is_empty());
}

#[tokio::test]
async fn the_password_outlives_a_restart_only_with_its_key() {
    let registry = Registry::start(|_, _| whole(&[], b"blob")).await;
    let house = open(&registry, Some(PASSWORD)).await;
    // The house has a random key, which the next one does not have.
    let fake = house.fake.clone();
    let house = house.reopen(fake, std::time::Duration::ZERO).await;
    assert!(!house.engine.list_upstreams()[0].1);
    let error = house
        .engine
        .pull_blob(&repository(), &digest(b"blob"))
        .await;
    assert!(error.unwrap_err().to_string().contains("cannot be read"));
    assert!(registry.seen().is_empty());
}

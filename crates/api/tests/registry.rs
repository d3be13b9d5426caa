//! The registry door by plain HTTP: each line of the OCI distribution specification.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod server;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use server::{Running, steady};
use sha2::{Digest as _, Sha256, Sha512};

const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

struct Registry {
    running: Running,
    client: reqwest::Client,
}

impl Registry {
    async fn start() -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let running = Running::start(steady()).await;
        Self { running, client }
    }

    /// A request that nobody's name is on.
    fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.running.url);
        self.client.request(method, url)
    }

    /// A request of the owner.
    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let root = &self.running.root;
        let request = self.anonymous(method.parse().unwrap(), path);
        request.basic_auth(&root.access_key_id, Some(&root.secret_access_key))
    }

    async fn send(&self, method: &str, path: &str) -> Response {
        self.request(method, path).send().await.unwrap()
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.send("GET", path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    async fn blob(&self, name: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = self.request("POST", &path).body(bytes.to_vec());
        assert_eq!(answer.send().await.unwrap().status(), 201);
        digest
    }

    async fn put(&self, name: &str, reference: &str, kind: &str, body: &Value) -> Response {
        let path = format!("/v2/{name}/manifests/{reference}");
        let request = self.request("PUT", &path).header("content-type", kind);
        request.body(body.to_string()).send().await.unwrap()
    }

    /// A manifest of one layer, its blobs pushed. Gives its digest.
    async fn image(&self, name: &str, tag: &str, layer: &str) -> String {
        let config = self.blob(name, b"{}").await;
        let layer = self.blob(name, layer.as_bytes()).await;
        let body = manifest(&config, &layer);
        let answer = self.put(name, tag, IMAGE, &body).await;
        assert_eq!(answer.status(), 201);
        header(&answer, "docker-content-digest")
    }
}

fn manifest(config: &str, layer: &str) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": IMAGE,
        "config": {"mediaType": "application/vnd.test.config", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.test.layer", "digest": layer, "size": 1}],
    })
}

fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name);
    let value = value.unwrap_or_else(|| panic!("no {name} in {answer:?}"));
    value.to_str().unwrap().to_owned()
}

/// Status and code of a refusal.
async fn refusal(answer: Response) -> (StatusCode, String) {
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    (
        status,
        body["errors"][0]["code"].as_str().unwrap().to_owned(),
    )
}

async fn refused(request: RequestBuilder, status: u16, code: &str) {
    let (found, said) = refusal(request.send().await.unwrap()).await;
    assert_eq!((found.as_u16(), said.as_str()), (status, code));
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_pushed_in_one_piece_and_pulled_whole_or_in_part() {
    let registry = Registry::start().await;
    let bytes = b"0123456789";
    let digest = sha256(bytes);
    let path = format!("/v2/shop/a/blobs/{digest}");
    refused(registry.request("GET", &path), 404, "BLOB_UNKNOWN").await;
    let begun = registry.send("POST", "/v2/shop/a/blobs/uploads/").await;
    assert_eq!(begun.status(), 202);
    assert_eq!(header(&begun, "range"), "0-0");
    let upload = header(&begun, "location");
    let put = format!("{upload}?digest={digest}");
    let done = registry
        .request("PUT", &put)
        .body(bytes.to_vec())
        .send()
        .await
        .unwrap();
    assert_eq!(done.status(), 201);
    assert_eq!(header(&done, "location"), path);
    assert_eq!(header(&done, "docker-content-digest"), digest);
    refused(registry.request("GET", &upload), 404, "BLOB_UPLOAD_UNKNOWN").await;
    let head = registry.send("HEAD", &path).await;
    assert_eq!(
        (
            head.status().as_u16(),
            header(&head, "content-length").as_str()
        ),
        (200, "10")
    );
    let whole = registry.send("GET", &path).await;
    assert_eq!(header(&whole, "docker-content-digest"), digest);
    assert_eq!(whole.bytes().await.unwrap(), bytes.as_slice());
    let part = |range: &str| registry.request("GET", &path).header("range", range);
    let found = part("bytes=2-4").send().await.unwrap();
    assert_eq!(found.status(), 206);
    assert_eq!(header(&found, "content-range"), "bytes 2-4/10");
    assert_eq!(found.text().await.unwrap(), "234");
    let found = part("bytes=-3").send().await.unwrap();
    assert_eq!(found.text().await.unwrap(), "789");
    let outside = part("bytes=10-").send().await.unwrap();
    assert_eq!(outside.status(), 416);
    assert_eq!(header(&outside, "content-range"), "bytes */10");
    // Another repository does not have it, and one that names no repository is refused.
    let other = format!("/v2/shop/b/blobs/{digest}");
    refused(registry.request("GET", &other), 404, "BLOB_UNKNOWN").await;
    refused(
        registry.request("GET", "/v2/shop/a/blobs/sha256:x"),
        400,
        "DIGEST_INVALID",
    )
    .await;
    refused(
        registry.request("POST", "/v2/SHOP/blobs/uploads/"),
        400,
        "NAME_INVALID",
    )
    .await;
    refused(registry.request("GET", "/v2/shop"), 404, "UNSUPPORTED").await;
    refused(registry.request("PATCH", &path), 405, "UNSUPPORTED").await;
    registry.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_than_named_are_refused_and_sha512_is_taken() {
    let registry = Registry::start().await;
    let wrong = format!("/v2/a/blobs/uploads/?digest={}", sha256(b"other"));
    refused(
        registry.request("POST", &wrong).body("bytes"),
        400,
        "DIGEST_INVALID",
    )
    .await;
    for bad in ["", "?digest=", "?digest=md5:00"] {
        let begun = registry.send("POST", "/v2/a/blobs/uploads/").await;
        let path = header(&begun, "location") + bad;
        refused(
            registry.request("PUT", &path).body("bytes"),
            400,
            "DIGEST_INVALID",
        )
        .await;
    }
    let long = format!("sha512:{}", hex::encode(Sha512::digest(b"bytes")));
    let path = format!("/v2/a/blobs/uploads/?digest={long}");
    let done = registry
        .request("POST", &path)
        .body("bytes")
        .send()
        .await
        .unwrap();
    assert_eq!(done.status(), 201);
    let found = registry.send("GET", &format!("/v2/a/blobs/{long}")).await;
    assert_eq!(found.text().await.unwrap(), "bytes");
    // Past the bound of the server: 64 MiB here.
    let path = format!("/v2/a/blobs/uploads/?digest={}", sha256(b""));
    let large = registry
        .request("POST", &path)
        .body(vec![0; (64 << 20) + 1]);
    refused(large, 413, "SIZE_INVALID").await;
    registry.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_come_in_order_and_uploads_can_be_asked_and_cancelled() {
    let registry = Registry::start().await;
    let begun = registry.send("POST", "/v2/a/blobs/uploads/").await;
    let upload = header(&begun, "location");
    let patch = |range: &'static str, body: &'static str| {
        let request = registry
            .request("PATCH", &upload)
            .header("content-range", range);
        request.body(body).send()
    };
    let gap = patch("1-3", "abc").await.unwrap();
    assert_eq!(gap.status(), 416);
    let first = patch("0-2", "abc").await.unwrap();
    assert_eq!(
        (first.status().as_u16(), header(&first, "range").as_str()),
        (202, "0-2")
    );
    for range in ["0-2", "5-7", "odd", "3-4"] {
        let refused = patch(range, "def").await.unwrap();
        assert_eq!(refused.status(), 416, "{range}");
        assert_eq!(header(&refused, "range"), "0-2");
        assert_eq!(header(&refused, "location"), upload);
    }
    let status = registry.send("GET", &upload).await;
    assert_eq!(
        (status.status().as_u16(), header(&status, "range").as_str()),
        (204, "0-2")
    );
    // Without a range the chunk goes to the end.
    let streamed = registry
        .request("PATCH", &upload)
        .body("def")
        .send()
        .await
        .unwrap();
    assert_eq!(header(&streamed, "range"), "0-5");
    let digest = sha256(b"abcdefghi");
    let put = registry
        .request("PUT", &format!("{upload}?digest={digest}"))
        .header("content-range", "6-8")
        .body("ghi");
    assert_eq!(put.send().await.unwrap().status(), 201);
    let found = registry.send("GET", &format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(found.text().await.unwrap(), "abcdefghi");
    let begun = registry.send("POST", "/v2/a/blobs/uploads/").await;
    let upload = header(&begun, "location");
    assert_eq!(registry.send("DELETE", &upload).await.status(), 204);
    refused(
        registry.request("PATCH", &upload).body("x"),
        404,
        "BLOB_UPLOAD_UNKNOWN",
    )
    .await;
    refused(
        registry.request("DELETE", &upload),
        404,
        "BLOB_UPLOAD_UNKNOWN",
    )
    .await;
    registry.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_mounted_or_an_upload_begins() {
    let registry = Registry::start().await;
    let digest = registry.blob("shop/a", b"shared").await;
    let mount = |from: &str, digest: &str| {
        let path = format!("/v2/shop/b/blobs/uploads/?mount={digest}&from={from}");
        registry.request("POST", &path).send()
    };
    for (from, wanted) in [
        ("none", digest.as_str()),
        ("SHOP", &digest),
        ("shop/a", "odd"),
    ] {
        let answer = mount(from, wanted).await.unwrap();
        assert_eq!(answer.status(), 202);
        assert!(header(&answer, "location").starts_with("/v2/shop/b/blobs/uploads/"));
    }
    let mounted = mount("shop/a", &digest).await.unwrap();
    assert_eq!(mounted.status(), 201);
    assert_eq!(
        header(&mounted, "location"),
        format!("/v2/shop/b/blobs/{digest}")
    );
    let found = registry
        .send("GET", &format!("/v2/shop/b/blobs/{digest}"))
        .await;
    assert_eq!(found.text().await.unwrap(), "shared");
    registry.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_kept_byte_for_byte_and_need_their_blobs() {
    let registry = Registry::start().await;
    let config = registry.blob("a", b"{}").await;
    let layer = sha256(b"layer");
    let body = manifest(&config, &layer);
    let missing = registry.put("a", "prod", IMAGE, &body).await;
    assert_eq!(missing.status(), 404);
    let said: Value = missing.json().await.unwrap();
    assert_eq!(said["errors"][0]["code"], "MANIFEST_BLOB_UNKNOWN");
    assert_eq!(said["errors"][0]["detail"]["digest"], layer.as_str());
    registry.blob("a", b"layer").await;
    let odd = format!(" {body}\n");
    let digest = sha256(odd.as_bytes());
    let push = |reference: &str, kind: &str| {
        let path = format!("/v2/a/manifests/{reference}");
        registry
            .request("PUT", &path)
            .header("content-type", kind)
            .body(odd.clone())
    };
    let pushed = push("prod", IMAGE).send().await.unwrap();
    assert_eq!(pushed.status(), 201);
    assert_eq!(header(&pushed, "docker-content-digest"), digest);
    assert_eq!(
        header(&pushed, "location"),
        format!("/v2/a/manifests/{digest}")
    );
    for reference in ["prod", digest.as_str()] {
        let path = format!("/v2/a/manifests/{reference}");
        let head = registry.send("HEAD", &path).await;
        assert_eq!(header(&head, "content-length"), odd.len().to_string());
        let got = registry.send("GET", &path).await;
        assert_eq!(header(&got, "content-type"), IMAGE);
        assert_eq!(header(&got, "docker-content-digest"), digest);
        assert_eq!(got.text().await.unwrap(), odd);
    }
    refused(push("prod", INDEX), 400, "MANIFEST_INVALID").await;
    refused(push(".prod", IMAGE), 400, "TAG_INVALID").await;
    refused(push(&sha256(b"x"), IMAGE), 400, "DIGEST_INVALID").await;
    let broken = registry
        .request("PUT", "/v2/a/manifests/prod")
        .body("no json");
    refused(broken, 400, "MANIFEST_INVALID").await;
    let large = registry
        .request("PUT", "/v2/a/manifests/prod")
        .body(vec![b' '; (4 << 20) + 1]);
    refused(large, 413, "MANIFEST_INVALID").await;
    refused(
        registry.request("GET", "/v2/a/manifests/none"),
        404,
        "MANIFEST_UNKNOWN",
    )
    .await;
    // Kinds that nobody knows, Docker's, and layers that are elsewhere.
    let unknown = json!({"anything": [1, 2]});
    assert_eq!(
        registry
            .put("a", "odd", "application/vnd.odd+json", &unknown)
            .await
            .status(),
        201
    );
    let docker = "application/vnd.docker.distribution.manifest.v2+json";
    let foreign = json!({"schemaVersion": 2, "mediaType": docker,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": config},
        "layers": [{"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                    "digest": sha256(b"elsewhere"), "urls": ["https://example.com/layer"]}]});
    assert_eq!(
        registry
            .put("a", "windows", docker, &foreign)
            .await
            .status(),
        201
    );
    let got = registry.send("GET", "/v2/a/manifests/windows").await;
    assert_eq!(header(&got, "content-type"), docker);
    // An index needs its manifests.
    let index = |digest: &str| {
        json!({"schemaVersion": 2, "mediaType": INDEX,
               "manifests": [{"mediaType": IMAGE, "digest": digest, "size": 1}]})
    };
    let missing = registry.put("a", "all", INDEX, &index(&layer)).await;
    assert_eq!(missing.status(), 404);
    assert_eq!(
        registry
            .put("a", "all", INDEX, &index(&digest))
            .await
            .status(),
        201
    );
    registry.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_and_repositories_are_listed_in_bounded_pages() {
    let registry = Registry::start().await;
    for tag in ["c", "a", "b"] {
        registry.image("shop/a", tag, tag).await;
    }
    registry.image("other", "x", "x").await;
    let all = registry.json("/v2/shop/a/tags/list").await;
    assert_eq!(all, json!({"name": "shop/a", "tags": ["a", "b", "c"]}));
    let first = registry.send("GET", "/v2/shop/a/tags/list?n=2").await;
    let link = header(&first, "link");
    assert_eq!(link, "</v2/shop/a/tags/list?n=2&last=b>; rel=\"next\"");
    let next = link.trim_start_matches('<').split('>').next().unwrap();
    let last = registry.send("GET", next).await;
    assert!(last.headers().get("link").is_none());
    let last: Value = last.json().await.unwrap();
    assert_eq!(last["tags"], json!(["c"]));
    let huge = registry.json("/v2/shop/a/tags/list?n=1000000000000").await;
    assert_eq!(huge["tags"].as_array().unwrap().len(), 3);
    let huge = registry
        .json("/v2/_catalog?n=99999999999999999999999")
        .await;
    assert_eq!(huge, json!({"repositories": ["other", "shop/a"]}));
    let page = registry.send("GET", "/v2/_catalog?n=1").await;
    assert_eq!(
        header(&page, "link"),
        "</v2/_catalog?n=1&last=other>; rel=\"next\""
    );
    let none = registry.json("/v2/shop/a/tags/list?n=0").await;
    assert_eq!(none["tags"], json!([]));
    refused(
        registry.request("GET", "/v2/a/tags/list?n=-1"),
        400,
        "PAGINATION_NUMBER_INVALID",
    )
    .await;
    refused(
        registry.request("GET", "/v2/none/tags/list"),
        404,
        "NAME_UNKNOWN",
    )
    .await;
    registry.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_manifests_and_blobs_are_deleted_in_this_order() {
    let registry = Registry::start().await;
    let digest = registry.image("a", "prod", "layer").await;
    let blob = format!("/v2/a/blobs/{}", sha256(b"layer"));
    let by_digest = format!("/v2/a/manifests/{digest}");
    refused(registry.request("DELETE", &blob), 405, "UNSUPPORTED").await;
    assert_eq!(
        registry
            .send("DELETE", "/v2/a/manifests/prod")
            .await
            .status(),
        202
    );
    refused(
        registry.request("GET", "/v2/a/manifests/prod"),
        404,
        "MANIFEST_UNKNOWN",
    )
    .await;
    assert_eq!(registry.send("GET", &by_digest).await.status(), 200);
    assert_eq!(registry.send("DELETE", &by_digest).await.status(), 202);
    refused(
        registry.request("DELETE", &by_digest),
        404,
        "MANIFEST_UNKNOWN",
    )
    .await;
    assert_eq!(registry.send("DELETE", &blob).await.status(), 202);
    refused(registry.request("DELETE", &blob), 404, "BLOB_UNKNOWN").await;
    // What was deleted can be pushed again.
    assert_eq!(registry.image("a", "prod", "layer").await, digest);
    registry.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_are_listed_by_subject_and_filtered() {
    let registry = Registry::start().await;
    let subject = registry.image("a", "prod", "layer").await;
    let path = format!("/v2/a/referrers/{subject}");
    assert_eq!(registry.json(&path).await["manifests"], json!([]));
    let nowhere = registry
        .json(&format!("/v2/none/referrers/{subject}"))
        .await;
    assert_eq!(nowhere["mediaType"], INDEX);
    let empty = registry.blob("a", b"{}").await;
    for kind in ["test/sbom", "test/signature"] {
        let mut body = manifest(&empty, &empty);
        body["artifactType"] = json!(kind);
        body["subject"] = json!({"mediaType": IMAGE, "digest": subject, "size": 1});
        body["annotations"] = json!({"by": kind});
        let digest = sha256(body.to_string().as_bytes());
        let pushed = registry.put("a", &digest, IMAGE, &body).await;
        assert_eq!(header(&pushed, "oci-subject"), subject);
    }
    let all = registry.send("GET", &path).await;
    assert_eq!(header(&all, "content-type"), INDEX);
    assert!(all.headers().get("oci-filters-applied").is_none());
    let all: Value = all.json().await.unwrap();
    assert_eq!(all["manifests"].as_array().unwrap().len(), 2);
    let some = registry
        .send("GET", &format!("{path}?artifactType=test%2Fsbom"))
        .await;
    assert_eq!(header(&some, "oci-filters-applied"), "artifactType");
    let some: Value = some.json().await.unwrap();
    let found = some["manifests"].as_array().unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["artifactType"], "test/sbom");
    assert_eq!(found[0]["annotations"]["by"], "test/sbom");
    refused(
        registry.request("GET", "/v2/a/referrers/odd"),
        400,
        "DIGEST_INVALID",
    )
    .await;
    registry.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_the_owners_keys_or_a_token_for_it() {
    let registry = Registry::start().await;
    let root = registry.running.root.clone();
    let base = registry
        .anonymous(Method::GET, "/v2/")
        .send()
        .await
        .unwrap();
    assert_eq!(base.status(), 401);
    let asked: Vec<_> = base.headers().get_all("www-authenticate").iter().collect();
    let realm = format!(
        "Bearer realm=\"{}/v2/token\",service=\"rouse\"",
        registry.running.url
    );
    assert_eq!(asked, [realm.as_str(), "Basic realm=\"rouse\""]);
    let known = registry.send("GET", "/v2/").await;
    assert_eq!(known.status(), 200);
    assert_eq!(
        header(&known, "docker-distribution-api-version"),
        "registry/2.0"
    );
    let by = |user: &str, password: &str| {
        let request = registry.anonymous(Method::GET, "/v2/");
        request.basic_auth(user, Some(password)).send()
    };
    assert_eq!(by("anyone", &root.token).await.unwrap().status(), 200);
    for (user, password) in [
        (root.access_key_id.as_str(), "wrong"),
        ("nobody", root.secret_access_key.as_str()),
        ("", ""),
    ] {
        assert_eq!(by(user, password).await.unwrap().status(), 401);
    }
    let name = "f".parse().unwrap();
    let keys = registry
        .running
        .keys_of(model::Principal::Function { name })
        .await;
    let function = by(&keys.access_key_id, &keys.secret_access_key)
        .await
        .unwrap();
    assert_eq!(function.status(), 403);
    let path = "/v2/a/blobs/uploads/";
    let refused_push = registry.anonymous(Method::POST, path).send().await.unwrap();
    let asked = header(&refused_push, "www-authenticate");
    assert!(
        asked.ends_with(",scope=\"repository:a:pull,push\""),
        "{asked}"
    );

    let token = "/v2/token?service=rouse&scope=repository:a:pull,push&scope=repository:b:pull";
    let refused_token = registry.anonymous(Method::GET, token).send().await.unwrap();
    assert_eq!(refused_token.status(), 401);
    let given = registry.json(token).await;
    let given = given["token"].as_str().unwrap().to_owned();
    let with = |method: Method, path: &str, token: &str| {
        registry.anonymous(method, path).bearer_auth(token).send()
    };
    for (method, path, status) in [
        (Method::GET, "/v2/", 200),
        (Method::POST, "/v2/a/blobs/uploads/", 202),
        (Method::GET, "/v2/b/tags/list", 404),
        (Method::POST, "/v2/b/blobs/uploads/", 401),
        (Method::GET, "/v2/c/tags/list", 401),
        (Method::DELETE, "/v2/a/manifests/prod", 401),
        (Method::GET, "/v2/_catalog", 401),
    ] {
        let answer = with(method.clone(), path, &given).await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
    }
    let forged = format!("{given}x");
    for bad in [forged.as_str(), "", "a.b"] {
        assert_eq!(with(Method::GET, "/v2/", bad).await.unwrap().status(), 401);
    }
    assert_eq!(
        with(Method::GET, "/v2/", &root.token)
            .await
            .unwrap()
            .status(),
        200
    );
    let form = format!(
        "grant_type=password&username={}&password={}&scope=registry:catalog:*",
        root.access_key_id, root.secret_access_key
    );
    let oauth = registry
        .anonymous(Method::POST, "/v2/token")
        .body(form)
        .send()
        .await
        .unwrap();
    let given: Value = oauth.json().await.unwrap();
    let given = given["access_token"].as_str().unwrap().to_owned();
    assert_eq!(
        with(Method::GET, "/v2/_catalog", &given)
            .await
            .unwrap()
            .status(),
        200
    );
    // A mount out of a repository that the token is not for begins an upload.
    let secret = registry.blob("secret", b"secret").await;
    let given = registry
        .json("/v2/token?scope=repository:a:pull,push")
        .await;
    let given = given["token"].as_str().unwrap().to_owned();
    let mount = format!("/v2/a/blobs/uploads/?mount={secret}&from=secret");
    assert_eq!(
        with(Method::POST, &mount, &given).await.unwrap().status(),
        202
    );
    registry.running.stop().await;
}

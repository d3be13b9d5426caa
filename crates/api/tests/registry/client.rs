//! A client of the registry that speaks plain HTTP, and a server for it.

use crate::server::{Running, steady};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";

pub(crate) fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

pub(crate) struct Registry {
    pub(crate) running: Running,
    pub(crate) client: reqwest::Client,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let running = Running::start(steady()).await;
        Self { running, client }
    }

    /// A request that nobody's name is on.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.running.url);
        self.client.request(method, url)
    }

    /// A request of the owner.
    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let root = &self.running.root;
        let request = self.anonymous(method.parse().unwrap(), path);
        request.basic_auth(&root.access_key_id, Some(&root.secret_access_key))
    }

    pub(crate) async fn send(&self, method: &str, path: &str) -> Response {
        self.request(method, path).send().await.unwrap()
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let answer = self.send("GET", path).await;
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    pub(crate) async fn blob(&self, name: &str, bytes: &[u8]) -> String {
        let digest = sha256(bytes);
        let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
        let answer = self.request("POST", &path).body(bytes.to_vec());
        assert_eq!(answer.send().await.unwrap().status(), 201);
        digest
    }

    pub(crate) async fn put(
        &self,
        name: &str,
        reference: &str,
        kind: &str,
        body: &Value,
    ) -> Response {
        let path = format!("/v2/{name}/manifests/{reference}");
        let request = self.request("PUT", &path).header("content-type", kind);
        request.body(body.to_string()).send().await.unwrap()
    }

    /// A manifest of one layer, its blobs pushed. Gives its digest.
    pub(crate) async fn image(&self, name: &str, tag: &str, layer: &str) -> String {
        let config = self.blob(name, b"{}").await;
        let layer = self.blob(name, layer.as_bytes()).await;
        let body = manifest(&config, &layer);
        let answer = self.put(name, tag, IMAGE, &body).await;
        assert_eq!(answer.status(), 201);
        header(&answer, "docker-content-digest")
    }
}

pub(crate) fn manifest(config: &str, layer: &str) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": IMAGE,
        "config": {"mediaType": "application/vnd.test.config", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.test.layer", "digest": layer, "size": 1}],
    })
}

pub(crate) fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name);
    let value = value.unwrap_or_else(|| panic!("no {name} in {answer:?}"));
    value.to_str().unwrap().to_owned()
}

/// Status and code of a refusal.
pub(crate) async fn refusal(answer: Response) -> (StatusCode, String) {
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    (
        status,
        body["errors"][0]["code"].as_str().unwrap().to_owned(),
    )
}

pub(crate) async fn refused(request: RequestBuilder, status: u16, code: &str) {
    let (found, said) = refusal(request.send().await.unwrap()).await;
    assert_eq!((found.as_u16(), said.as_str()), (status, code));
}

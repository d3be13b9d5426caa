//! Manifests, tags, lists of both, referrers, and deletion.

use crate::client::{IMAGE, INDEX, Registry, header, manifest, refused, sha256};
use serde_json::{Value, json};

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
    let large = registry.json("/v2/_catalog?n=1000000").await;
    assert_eq!(large, json!({"repositories": ["other", "shop/a"]}));
    for path in ["/v2/shop/a/tags/list", "/v2/_catalog"] {
        for n in ["1000001", "1000000000000", "99999999999999999999999"] {
            let huge = registry.request("GET", &format!("{path}?n={n}"));
            refused(huge, 400, "PAGINATION_NUMBER_INVALID").await;
        }
    }
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

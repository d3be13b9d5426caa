//! Blobs: pushed in one piece, in chunks and by mounting; pulled whole and in part.

use crate::client::{Registry, header, refused, sha256};
use sha2::{Digest as _, Sha512};

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

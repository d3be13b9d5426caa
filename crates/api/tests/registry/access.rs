//! Who may come in, and for what a token is good.

use crate::client::{Registry, header};
use reqwest::Method;
use serde_json::Value;

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
    let path = "/v2/_catalog";
    let refused_list = registry.anonymous(Method::GET, path).send().await.unwrap();
    let asked = header(&refused_list, "www-authenticate");
    assert!(asked.ends_with(",scope=\"registry:catalog:*\""), "{asked}");

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

//! The Node.js bootstrap.

use super::*;

#[tokio::test]
async fn a_handler_may_be_async_or_call_back_or_return() {
    let module = "exports.handler = async (event) => ({ got: event.n });
        exports.back = (event, context, callback) => setTimeout(() => callback(null, event.n), 5);
        exports.plain = (event) => [event.n];
        exports.old = (event, context) => { setTimeout(() => context.succeed('old'), 5); };
        exports.nested = { deep: async () => 'deep' };
        exports.never = () => new Promise(() => {});";
    for (handler, expected) in [
        ("index.handler", json!({ "got": 7 })),
        ("index.back", json!(7)),
        ("index.plain", json!([7])),
        ("index.old", json!("old")),
        ("index.nested.deep", json!("deep")),
        ("index.never", json!(null)),
    ] {
        let files = [("index.js", module)];
        let function = Function::start(RuntimeName::Nodejs20, &files, handler).await;
        for _ in 0..2 {
            assert_eq!(function.answer(r#"{"n":7}"#).await, expected, "{handler}");
        }
    }
}

#[tokio::test]
async fn modules_of_every_kind_are_found() {
    let esm = "import path from 'node:path'; export const handler = async () => path.sep;";
    let cjs = "exports.handler = async () => require('node:path').sep;";
    let package = r#"{"type":"module"}"#;
    for files in [
        vec![("src/app.mjs", esm)],
        vec![("src/app.cjs", cjs)],
        vec![("src/app.js", cjs)],
        vec![("src/app.js", esm), ("package.json", package)],
        vec![("src/app/index.js", cjs)],
    ] {
        let function = Function::start(RuntimeName::Nodejs20, &files, "src/app.handler").await;
        assert_eq!(function.answer("{}").await, json!("/"), "{files:?}");
    }
}

#[tokio::test]
async fn the_context_is_lambdas() {
    let function = Function::node(
        "exports.handler = async (event, context) => ({
            ...context,
            remaining: context.getRemainingTimeInMillis() > 1000,
            trace: process.env._X_AMZN_TRACE_ID,
        });",
    )
    .await;
    let context = function.answer("{}").await;
    assert_eq!(context["functionName"], "thumbnail");
    assert_eq!(context["functionVersion"], "$LATEST");
    assert_eq!(context["memoryLimitInMB"], "128");
    assert_eq!(context["logGroupName"], "/aws/lambda/thumbnail");
    assert_eq!(context["clientContext"]["custom"]["k"], "v");
    assert_eq!(context["awsRequestId"].as_str().unwrap().len(), 36);
    assert_eq!(context["remaining"], true);
    assert_eq!(context["trace"], "Root=1-2-3");
    let arn = context["invokedFunctionArn"].as_str().unwrap();
    assert!(arn.ends_with(":function:thumbnail"));
}

#[tokio::test]
async fn what_a_handler_throws_is_told_and_the_next_call_works() {
    let function = Function::node(
        "exports.handler = async (event) => {
            if (event.how === 'error') throw new TypeError('no photo ☹');
            if (event.how === 'text') throw 'just text';
            if (event.how === 'circle') { const a = {}; a.a = a; return a; }
            return 'well';
        };",
    )
    .await;
    let (error_type, error) = function.error(r#"{"how":"error"}"#).await;
    assert_eq!(error_type, "TypeError");
    assert_eq!(error["errorMessage"], "no photo ☹");
    assert!(error["trace"][1].as_str().unwrap().contains("index.js:2"));
    assert_eq!(function.error(r#"{"how":"text"}"#).await.0, "string");
    let (error_type, _) = function.error(r#"{"how":"circle"}"#).await;
    assert_eq!(error_type, "Runtime.MarshalError");
    let (error_type, _) = function.error("not json").await;
    assert_eq!(error_type, "Runtime.UnmarshalError");
    assert_eq!(function.answer("{}").await, json!("well"));
}

#[tokio::test]
async fn what_nobody_catches_fails_the_call_and_ends_the_process() {
    for (how, expected) in [
        ("throw new RangeError('late')", "RangeError"),
        (
            "Promise.reject(new Error('late'))",
            "Runtime.UnhandledPromiseRejection",
        ),
    ] {
        let text =
            format!("exports.handler = () => new Promise(() => setTimeout(() => {{ {how} }}, 5));");
        let mut function = Function::node(&text).await;
        assert_eq!(function.error("{}").await.0, expected);
        assert_eq!(function.exit_code().await, Some(129));
    }
}

#[tokio::test]
async fn an_initialisation_that_fails_says_why() {
    for (files, handler, expected) in [
        (
            vec![("index.js", "throw new Error('no store')")],
            "index.handler",
            "Error: no store",
        ),
        (
            vec![("index.js", "let = ;")],
            "index.handler",
            "Runtime.UserCodeSyntaxError",
        ),
        (
            vec![("index.js", "require('nowhere')")],
            "index.handler",
            "Runtime.ImportModuleError",
        ),
        (
            vec![("index.js", "")],
            "index.handler",
            "Runtime.HandlerNotFound",
        ),
        (
            vec![("other.js", "")],
            "index.handler",
            "Runtime.ImportModuleError",
        ),
        (
            vec![("index.js", "")],
            "index",
            "Runtime.MalformedHandlerName",
        ),
    ] {
        let mut function = Function::start(RuntimeName::Nodejs20, &files, handler).await;
        let error = function.init_error().await;
        assert!(error.starts_with(expected), "{error}");
    }
}

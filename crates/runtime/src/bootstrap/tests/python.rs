//! The Python bootstrap.

use super::*;

#[tokio::test]
async fn a_handler_is_called_with_event_and_context() {
    let function = Function::python(
        "import os\n\
         def handler(event, context):\n\
         \x20   return {'n': event['n'], 'name': context.function_name,\n\
         \x20       'id': context.aws_request_id, 'arn': context.invoked_function_arn,\n\
         \x20       'memory': context.memory_limit_in_mb, 'custom': context.client_context.custom,\n\
         \x20       'group': context.log_group_name, 'cognito': context.identity.cognito_identity_id,\n\
         \x20       'remaining': context.get_remaining_time_in_millis() > 1000,\n\
         \x20       'trace': os.environ['_X_AMZN_TRACE_ID']}\n",
    )
    .await;
    for _ in 0..2 {
        let context = function.answer(r#"{"n":"ü"}"#).await;
        assert_eq!(context["n"], "ü");
        assert_eq!(context["name"], "thumbnail");
        assert_eq!(context["id"].as_str().unwrap().len(), 36);
        assert_eq!(context["memory"], "128");
        assert_eq!(context["custom"]["k"], "v");
        assert_eq!(context["group"], "/aws/lambda/thumbnail");
        assert_eq!(context["cognito"], Value::Null);
        assert_eq!(context["remaining"], true);
        assert_eq!(context["trace"], "Root=1-2-3");
    }
}

#[tokio::test]
async fn modules_in_folders_and_beside_the_handler_are_found() {
    let files = [
        (
            "src/app.py",
            "from beside import answer\nasync_ = 1\ndef run(e, c): return answer\n",
        ),
        ("beside.py", "answer = 42\n"),
    ];
    for handler in ["src/app.run", "src.app.run"] {
        let function = Function::start(RuntimeName::Python311, &files, handler).await;
        assert_eq!(function.answer("{}").await, json!(42));
    }
}

#[tokio::test]
async fn what_a_handler_raises_is_told_and_the_next_call_works() {
    let function = Function::python(
        "import decimal\n\
         def handler(event, context):\n\
         \x20   how = event.get('how')\n\
         \x20   if how == 'error': raise KeyError('no photo ☹')\n\
         \x20   if how == 'set': return {1, 2}\n\
         \x20   if how == 'nan': return float('nan')\n\
         \x20   if how == 'decimal': return decimal.Decimal('1.5')\n\
         \x20   return 'well'\n",
    )
    .await;
    let (error_type, error) = function.error(r#"{"how":"error"}"#).await;
    assert_eq!(error_type, "KeyError");
    assert_eq!(error["errorMessage"], "'no photo ☹'");
    assert_eq!(error["requestId"].as_str().unwrap().len(), 36);
    let trace = error["stackTrace"].as_array().unwrap();
    assert_eq!(trace.len(), 1);
    assert!(trace[0].as_str().unwrap().contains("app.py\", line 4"));
    for how in [r#"{"how":"set"}"#, r#"{"how":"nan"}"#] {
        assert_eq!(function.error(how).await.0, "Runtime.MarshalError");
    }
    let (error_type, _) = function.error("not json").await;
    assert_eq!(error_type, "Runtime.UnmarshalError");
    assert_eq!(function.answer(r#"{"how":"decimal"}"#).await, json!(1.5));
    assert_eq!(function.answer("{}").await, json!("well"));
}

#[tokio::test]
async fn a_handler_that_exits_ends_the_process() {
    let mut function = Function::python("import sys\ndef handler(e, c): sys.exit(3)\n").await;
    let answer = function.api.offer(Invocation {
        request_id: RequestId::generate(),
        payload: Bytes::from_static(b"{}"),
        http: None,
        event: None,
        client_context: None,
        trace_id: String::new(),
        function_arn: String::new(),
        timeout: 60_000,
    });
    assert_eq!(function.exit_code().await, Some(3));
    function.api.drained().await;
    drop(function);
    assert!(answer.await.is_err());
}

#[tokio::test]
async fn an_initialisation_that_fails_says_why() {
    for (text, handler, expected) in [
        (
            "raise ValueError('no store')",
            "app.handler",
            "ValueError: no store",
        ),
        (
            "def handler(:",
            "app.handler",
            "Runtime.UserCodeSyntaxError",
        ),
        ("import nowhere", "app.handler", "Runtime.ImportModuleError"),
        ("handler = 1", "app.handler", "Runtime.HandlerNotFound"),
        ("", "other.handler", "Runtime.ImportModuleError"),
        ("", "handler", "Runtime.MalformedHandlerName"),
    ] {
        let files = [("app.py", text)];
        let mut function = Function::start(RuntimeName::Python311, &files, handler).await;
        let error = function.init_error().await;
        assert!(error.starts_with(expected), "{error}");
    }
}

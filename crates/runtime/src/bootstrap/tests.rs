//! The bootstraps, run by the real interpreters as plain processes against a Runtime API on loopback.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::contract::lambda::RuntimeApi;
use crate::host::Host;
use bytes::Bytes;
use model::{Ending, Invocation, RequestId, RuntimeName};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

/// Longer than anything takes on a slow machine; what takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn it_can_be_written_again_and_be_read_by_all() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path()).unwrap();
    let runtime = write(folder.path()).unwrap();
    for (name, text) in FILES {
        let path = runtime.join(name);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
    }
}

struct Function {
    api: RuntimeApi,
    child: Child,
    _folder: tempfile::TempDir,
}

impl Function {
    async fn start(runtime: RuntimeName, files: &[(&str, &str)], handler: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let task = folder.path().join("task");
        for (name, text) in files {
            let path = task.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let bootstraps = write(folder.path()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = match runtime {
            RuntimeName::Nodejs20 => "index.js",
            _ => "bootstrap.py",
        };
        let interpreter = Host::default().interpreter(runtime).unwrap().unwrap();
        let child = Command::new(interpreter.program)
            .arg(bootstraps.join(script))
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "thumbnail")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/thumbnail")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
            .env("LAMBDA_TASK_ROOT", &task)
            .env("_HANDLER", handler)
            .current_dir(&task)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        Self {
            api: RuntimeApi::serve(listener),
            child,
            _folder: folder,
        }
    }

    async fn node(text: &str) -> Self {
        Self::start(
            RuntimeName::Nodejs20,
            &[("index.js", text)],
            "index.handler",
        )
        .await
    }

    async fn python(text: &str) -> Self {
        Self::start(RuntimeName::Python311, &[("app.py", text)], "app.handler").await
    }

    async fn call(&self, payload: impl Into<Bytes>) -> Ending {
        let answer = self.api.offer(Invocation {
            request_id: RequestId::generate(),
            payload: payload.into(),
            http: None,
            event: None,
            client_context: Some(r#"{"custom":{"k":"v"}}"#.into()),
            trace_id: "Root=1-2-3".into(),
            function_arn: "arn:aws:lambda:us-east-1:000000000000:function:thumbnail".into(),
            timeout: 60_000,
        });
        tokio::time::timeout(PATIENCE, answer)
            .await
            .unwrap()
            .unwrap()
    }

    async fn answer(&self, payload: &'static str) -> Value {
        match self.call(payload).await {
            Ending::Succeeded { payload, .. } => serde_json::from_slice(&payload).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    async fn error(&self, payload: &'static str) -> (String, Value) {
        match self.call(payload).await {
            Ending::Failed {
                error_type,
                payload,
                ..
            } => (error_type, serde_json::from_slice(&payload).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    async fn init_error(&mut self) -> String {
        let ready = tokio::time::timeout(PATIENCE, self.api.ready());
        let error = ready.await.unwrap().unwrap_err().error().unwrap();
        assert_eq!(self.exit_code().await, Some(1));
        error
    }

    async fn exit_code(&mut self) -> Option<i32> {
        let exited = tokio::time::timeout(PATIENCE, self.child.wait());
        exited.await.unwrap().unwrap().code()
    }
}

mod node {
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
            let text = format!(
                "exports.handler = () => new Promise(() => setTimeout(() => {{ {how} }}, 5));"
            );
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
}

mod python {
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
}

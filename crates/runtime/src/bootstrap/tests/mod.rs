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

#[test]
fn what_tells_of_memory_is_whole_whatever_was_left_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = write(folder.path()).unwrap();
    let told = runtime.with_file_name("node-memory");
    std::fs::create_dir_all(told.join("460/memory")).unwrap();
    std::fs::create_dir_all(told.join("new/memory")).unwrap();
    for name in &BOUND[..3] {
        std::fs::write(told.join("460").join(name), "").unwrap();
        std::fs::write(told.join("new").join(name), "1").unwrap();
    }
    for memory in [460, 920, 460] {
        let shown = bounds(&runtime, memory).unwrap();
        assert_eq!(shown, told.join(memory.to_string()));
        for name in BOUND {
            let path = shown.join(name);
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                format!("{memory}\n")
            );
            let mode = std::fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o644);
        }
    }
    assert!(!told.join("new").exists());
}

mod compile;
mod node;
mod python;

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
        let script = match runtime {
            RuntimeName::Nodejs20 => "index.js",
            _ => "bootstrap.py",
        };
        let interpreter = Host::default().interpreter(runtime).unwrap().unwrap();
        let mut command = Command::new(interpreter.program);
        command.arg(bootstraps.join(script));
        Self::spawn(command, folder, &task, handler).await
    }

    async fn spawn(
        mut command: Command,
        folder: tempfile::TempDir,
        task: &Path,
        handler: &str,
    ) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let child = command
            .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", "thumbnail")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/thumbnail")
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
            .env("LAMBDA_TASK_ROOT", task)
            .env("_HANDLER", handler)
            .current_dir(task)
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

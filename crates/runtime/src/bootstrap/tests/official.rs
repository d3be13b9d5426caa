//! AWS's own clients of the Runtime API, unmodified. Each needs something installed; name it in the
//! environment and run `cargo test -p runtime official -- --ignored`.

use super::*;

/// A call that succeeds, one that fails, one after that, and more than 6 MiB.
async fn walk(function: Function) {
    assert_eq!(function.answer(r#"{"n":"ü"}"#).await["n"], "ü");
    let (_, error) = function.error(r#"{"how":"error"}"#).await;
    let message = error["errorMessage"].as_str().unwrap();
    assert!(message.contains("no photo"), "{message}");
    let id = function.answer(r#"{"n":1}"#).await["id"].clone();
    assert_eq!(id.as_str().unwrap().len(), 36);
    let limit = model::MAX_PAYLOAD as u64;
    let ending = function.call(r#"{"how":"much"}"#).await;
    assert_eq!(ending, Ending::ResponseTooLarge { limit });
}

fn folder(name: &str, text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    folder
}

#[tokio::test]
#[ignore = "set ROUSE_TEST_PYTHON to a python that has `pip install awslambdaric`"]
async fn awslambdaric() {
    let folder = folder(
        "app.py",
        "def handler(event, context):\n\
         \x20   if event.get('how') == 'error': raise ValueError('no photo')\n\
         \x20   if event.get('how') == 'much': return 'x' * (6 << 20)\n\
         \x20   return {'n': event['n'], 'id': context.aws_request_id}\n",
    );
    let task = folder.path().to_owned();
    let mut command = Command::new(std::env::var("ROUSE_TEST_PYTHON").unwrap());
    command.args(["-m", "awslambdaric", "app.handler"]);
    walk(Function::spawn(command, folder, &task, "app.handler").await).await;
}

#[tokio::test]
#[ignore = "set ROUSE_TEST_NODE_RIC to the folder of `npm install aws-lambda-ric`"]
async fn aws_lambda_ric() {
    let folder = folder(
        "index.js",
        "exports.handler = async (event, context) => {
            if (event.how === 'error') throw new Error('no photo');
            if (event.how === 'much') return 'x'.repeat(6 << 20);
            return { n: event.n, id: context.awsRequestId };
        };",
    );
    let task = folder.path().to_owned();
    let installed = std::env::var("ROUSE_TEST_NODE_RIC").unwrap();
    let ric = Path::new(&installed).join("node_modules/aws-lambda-ric/bin/index.mjs");
    let mut command = Command::new("node");
    command.arg(ric).arg("index.handler");
    walk(Function::spawn(command, folder, &task, "index.handler").await).await;
}

/// Its program: `how: error` fails with "no photo", `how: much` answers 6 MiB of text, else
/// `{"n": n, "id": request id}`.
#[tokio::test]
#[ignore = "set ROUSE_TEST_RUST_BOOTSTRAP to a program over the crate lambda_runtime"]
async fn lambda_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let task = folder.path().to_owned();
    let command = Command::new(std::env::var("ROUSE_TEST_RUST_BOOTSTRAP").unwrap());
    walk(Function::spawn(command, folder, &task, "bootstrap").await).await;
}

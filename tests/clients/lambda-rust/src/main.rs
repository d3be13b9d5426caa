use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde_json::{Value, json};

async fn handler(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let name = event.payload["name"].as_str().unwrap_or("nobody");
    if name == "fail" {
        return Err("asked to fail".into());
    }
    Ok(json!({
        "greeting": format!("hello {name}"),
        "arn": event.context.invoked_function_arn,
        "request": event.context.request_id,
    }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(handler)).await
}

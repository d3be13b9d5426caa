//! How the end of a call is written as the Lambda API does: the payload, and whether it is an error of
//! the function (`X-Amz-Function-Error`).

use bytes::Bytes;
use model::{Ending, HttpResponse, RequestId};
use serde_json::json;

/// What the caller of Invoke is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The function's result.
    Result(Bytes),
    /// The function's error: `{"errorType":…,"errorMessage":…}`. AWS says `Unhandled` for all of them
    /// since its runtimes report through the Runtime API, and so do we.
    Error(Bytes),
    /// No instance could be had; not the function's doing.
    Unavailable(String),
}

/// Writes the end of the call `id`. The texts are those of AWS where AWS has one.
pub fn answer(ending: Ending, id: &RequestId) -> Answer {
    let name = ending.error_type().unwrap_or_default().to_owned();
    let error = |message: String| {
        let body = json!({"errorType": name, "errorMessage": message});
        Answer::Error(body.to_string().into())
    };
    match ending {
        Ending::Succeeded {
            payload,
            http: None,
        } => Answer::Result(payload),
        Ending::Succeeded {
            payload,
            http: Some(response),
        } => of_http(payload, &response),
        Ending::Failed {
            message, payload, ..
        } => {
            if is_json(&payload) {
                Answer::Error(payload)
            } else {
                error(message)
            }
        }
        Ending::InitFailed { message, .. } => error(message),
        Ending::TimedOut { after } => error(format!(
            "RequestId: {id} Error: Task timed out after {}.{:02} seconds",
            after / 1000,
            after % 1000 / 10
        )),
        Ending::Crashed { how } if how == "exit status 0" => error(format!(
            "RequestId: {id} Error: Runtime exited without providing a reason"
        )),
        Ending::Crashed { how } => error(format!(
            "RequestId: {id} Error: Runtime exited with error: {how}"
        )),
        Ending::OutOfMemory { limit } => error(format!(
            "RequestId: {id} Error: Runtime exited with error: signal: killed; it reached its \
             memory limit of {} MB",
            limit / (1024 * 1024)
        )),
        Ending::ResponseTooLarge { limit } => error(format!(
            "Response payload size exceeded maximum allowed payload size ({limit} bytes)."
        )),
        Ending::Unavailable { reason } => Answer::Unavailable(reason),
    }
}

/// The answer of a function of the `http` contract: its body, as JSON. A status of 500 or more is the
/// function's error, as it is for events.
fn of_http(payload: Bytes, response: &HttpResponse) -> Answer {
    let body = match serde_json::from_slice::<serde_json::Value>(&payload) {
        Ok(value) => value,
        Err(_) => String::from_utf8_lossy(&payload).into(),
    };
    if response.status >= 500 {
        let status = response.status;
        let error = json!({
            "errorType": "Function.HttpStatus",
            "errorMessage": format!("the function answered with HTTP status {status}"),
            "body": body,
        });
        return Answer::Error(error.to_string().into());
    }
    if is_json(&payload) {
        return Answer::Result(payload);
    }
    Answer::Result(body.to_string().into())
}

/// Whether `bytes` are one JSON document. Nothing of it is kept, however deep it is.
pub fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn error_of(ending: Ending) -> serde_json::Value {
        match answer(ending, &RequestId("id-1".into())) {
            Answer::Error(body) => serde_json::from_slice(&body).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_timeout_reads_as_in_aws() {
        let body = error_of(Ending::TimedOut { after: 3_000 });
        assert_eq!(body["errorType"], "Sandbox.Timedout");
        assert_eq!(
            body["errorMessage"],
            "RequestId: id-1 Error: Task timed out after 3.00 seconds"
        );
        let body = error_of(Ending::TimedOut { after: 61_050 });
        assert!(
            body["errorMessage"]
                .as_str()
                .unwrap()
                .ends_with("61.05 seconds")
        );
    }

    #[test]
    fn crashes_read_as_in_aws() {
        let how = "exit status 1".to_owned();
        let body = error_of(Ending::Crashed { how });
        assert_eq!(body["errorType"], "Runtime.ExitError");
        assert_eq!(
            body["errorMessage"],
            "RequestId: id-1 Error: Runtime exited with error: exit status 1"
        );
        let how = "exit status 0".to_owned();
        let body = error_of(Ending::Crashed { how });
        assert_eq!(
            body["errorMessage"],
            "RequestId: id-1 Error: Runtime exited without providing a reason"
        );
    }

    #[test]
    fn every_other_bad_end_has_its_type() {
        let body = error_of(Ending::OutOfMemory { limit: 134_217_728 });
        assert_eq!(body["errorType"], "Runtime.OutOfMemory");
        assert!(body["errorMessage"].as_str().unwrap().contains("128 MB"));
        let body = error_of(Ending::ResponseTooLarge { limit: 6_291_456 });
        assert_eq!(body["errorType"], "Function.ResponseSizeTooLarge");
        let body = error_of(Ending::InitFailed {
            error_type: "Runtime.ImportModuleError".into(),
            message: "no module named x".into(),
        });
        assert_eq!(body["errorType"], "Runtime.ImportModuleError");
    }

    #[test]
    fn the_functions_own_error_is_passed_on_unless_it_is_no_json() {
        let failed = |payload: &'static [u8]| Ending::Failed {
            error_type: "TypeError".into(),
            message: "x is null".into(),
            payload: Bytes::from_static(payload),
        };
        let own = br#"{"errorType":"TypeError","errorMessage":"x is null","trace":["a"]}"#;
        assert_eq!(
            answer(failed(own), &RequestId("i".into())),
            Answer::Error(Bytes::from_static(own))
        );
        let body = error_of(failed(b"not json"));
        assert_eq!(body["errorMessage"], "x is null");
        assert_eq!(body["errorType"], "TypeError");
    }

    #[test]
    fn the_body_of_an_http_function_becomes_json() {
        let ended = |status: u16, payload: &'static [u8]| {
            let http = Some(Box::new(HttpResponse {
                status,
                headers: http::HeaderMap::new(),
            }));
            let payload = Bytes::from_static(payload);
            answer(Ending::Succeeded { payload, http }, &RequestId("i".into()))
        };
        assert_eq!(ended(200, b"{}"), Answer::Result(Bytes::from_static(b"{}")));
        assert_eq!(
            ended(200, b"<p>"),
            Answer::Result(Bytes::from_static(b"\"<p>\""))
        );
        assert!(matches!(ended(503, b"busy"), Answer::Error(_)));
        assert!(matches!(ended(404, b"{}"), Answer::Result(_)));
    }

    #[test]
    fn json_however_deep_is_only_skimmed() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(is_json(deep.as_bytes()));
        assert!(!is_json(b"{\"a\":"));
        assert!(!is_json(b"{} x"));
    }
}

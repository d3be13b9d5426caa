//! `/fn/NAME/…`: a call of the function. With the `http` contract it is given the request as it came;
//! with the `lambda` contract, as an event of the payload format 2.0.

use super::error::{Error, Result};
use super::headers::{inward, outward, wants_upgrade};
use super::payload::{self, Answered, Asked};
use super::{below, service};
use crate::Origin;
use crate::auth::Verified;
use crate::body;
use crate::doors::Doors;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use engine::Call;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use model::{
    Contract, Ending, FunctionName, HttpRequest, HttpResponse, Kind, MAX_PAYLOAD, RequestId,
};
use std::net::IpAddr;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-rouse-request-id");
const ENDING: HeaderName = HeaderName::from_static("x-rouse-ending");

/// Everything at and below `/fn/NAME`. Bodies have 6 MiB at most, both ways; in an event one that is
/// not text grows by a third.
pub(super) async fn call(_: Verified, doors: &Doors, request: Request) -> Result<Response> {
    let (name, rest) = below(request.uri());
    let name: FunctionName = name
        .parse()
        .map_err(|error: model::Invalid| Error::new(Kind::NotFound, error.to_string()))?;
    if wants_upgrade(request.headers()) {
        let text = "functions do not take WebSockets or other upgrades";
        return Err(Error::new(Kind::Unsupported, text));
    }
    if let Some(Origin::Instance { networks, .. }) = request.extensions().get() {
        doors.engine.check_function_reach(networks, &name, None)?;
    }
    let (contract, qualifier) = doors.engine.contract(&name)?;
    let prefix = format!("/fn/{name}");
    let from = service::address(&request);
    let id = request.extensions().get().cloned();
    let (parts, stream) = request.into_parts();
    let body = body::read(&parts.headers, stream, MAX_PAYLOAD).await?;
    let asking = Asking {
        name: &name,
        method: parts.method,
        path_and_query: rest,
        headers: inward(parts.headers, from, &prefix),
        body,
        from,
        id: id.unwrap_or_else(RequestId::generate),
    };
    let id = asking.id.clone();
    let call = Call {
        qualifier,
        ..asking.into_call(contract)?
    };
    let outcome = doors.engine.invoke(&name, call).await?;
    let word = outcome.ending.word();
    let mut response = match answer(outcome.ending, &prefix) {
        Ok(response) => response,
        Err(failure) => failure.into_response(word),
    };
    set(&mut response, REQUEST_ID, id.as_str());
    Ok(response)
}

struct Asking<'a> {
    name: &'a FunctionName,
    method: Method,
    path_and_query: String,
    headers: HeaderMap,
    body: Bytes,
    from: Option<IpAddr>,
    id: RequestId,
}

impl Asking<'_> {
    fn into_call(self, contract: Contract) -> Result<Call> {
        let request_id = Some(self.id.clone());
        if contract == Contract::Http {
            return Ok(Call {
                http: Some(Box::new(HttpRequest {
                    method: self.method,
                    path_and_query: self.path_and_query,
                    headers: self.headers,
                })),
                payload: self.body,
                qualifier: None,
                request_id,
                ..Call::default()
            });
        }
        let event = payload::event(&Asked {
            method: self.method.as_str(),
            path_and_query: &self.path_and_query,
            headers: &self.headers,
            body: &self.body,
            source_ip: self.from.map(|from| from.to_string()).unwrap_or_default(),
            request_id: self.id.as_str(),
            time: jiff::Timestamp::now(),
            function: self.name.as_str(),
        });
        let payload = Bytes::from(event.to_string());
        if payload.len() > MAX_PAYLOAD {
            let text = format!(
                "as an event the request has {} bytes, more than {MAX_PAYLOAD}; a body that is \
                 not text may have 4.5 MB",
                payload.len()
            );
            return Err(Error::new(Kind::TooLarge, text));
        }
        Ok(Call {
            payload,
            qualifier: None,
            request_id,
            ..Call::default()
        })
    }
}

/// Why there is no answer of the function's own.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// The function failed; the log says more than a visitor should see.
    Ended,
    /// It answered, and what it answered is no answer.
    Malformed(String),
    /// There was no instance.
    Unavailable(String),
}

impl Failure {
    /// As function URLs do: 502 without details, and where to look for them.
    fn into_response(self, word: &'static str) -> Response {
        let (error, word) = match self {
            Self::Ended => (Error::bad_gateway("Internal Server Error"), word),
            Self::Malformed(reason) => (
                Error::bad_gateway(format!(
                    "Internal Server Error: the function's answer cannot be used: {reason}"
                )),
                "malformed_response",
            ),
            Self::Unavailable(reason) => (Error::new(Kind::Unavailable, reason), word),
        };
        let mut response = error.into_response();
        set(&mut response, ENDING, word);
        response
    }
}

fn answer(ending: Ending, prefix: &str) -> std::result::Result<Response, Failure> {
    let answered = match ending {
        Ending::Succeeded {
            payload,
            http: Some(response),
        } => of_http(payload, *response).map_err(Failure::Malformed)?,
        Ending::Succeeded {
            payload,
            http: None,
        } => payload::answered(&payload).map_err(Failure::Malformed)?,
        Ending::Unavailable { reason } => return Err(Failure::Unavailable(reason)),
        _ => return Err(Failure::Ended),
    };
    let mut response = Response::new(Body::from(answered.body));
    *response.status_mut() = answered.status;
    *response.headers_mut() = outward(answered.headers, prefix);
    Ok(response)
}

/// The answer of the `http` contract.
fn of_http(body: Bytes, response: HttpResponse) -> std::result::Result<Answered, String> {
    let status = StatusCode::from_u16(response.status)
        .ok()
        .filter(|status| status.as_u16() >= 200)
        .ok_or_else(|| format!("{} is no status of an answer", response.status))?;
    let mut headers = response.headers;
    headers.remove(CONTENT_LENGTH);
    Ok(Answered {
        status,
        headers,
        body,
    })
}

fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use http::header::{CONTENT_TYPE, SET_COOKIE};

    fn asking(name: &FunctionName, body: Bytes) -> Asking<'_> {
        Asking {
            name,
            method: Method::PUT,
            path_and_query: "/a?b=c".into(),
            headers: HeaderMap::new(),
            body,
            from: "127.0.0.1".parse().ok(),
            id: RequestId("id-1".into()),
        }
    }

    #[test]
    fn each_contract_is_given_its_own_form() {
        let name = "f".parse().unwrap();
        let body = Bytes::from_static(b"x");
        let call = asking(&name, body.clone())
            .into_call(Contract::Http)
            .unwrap();
        assert_eq!(&call.payload[..], b"x");
        assert_eq!(call.http.unwrap().path_and_query, "/a?b=c");
        let call = asking(&name, body).into_call(Contract::Lambda).unwrap();
        assert!(call.http.is_none());
        let event: serde_json::Value = serde_json::from_slice(&call.payload).unwrap();
        assert_eq!(event["rawPath"], "/a");
    }

    #[test]
    fn an_event_past_its_bound_is_refused() {
        let name = "f".parse().unwrap();
        let body = Bytes::from(vec![0xff; MAX_PAYLOAD]);
        let error = asking(&name, body).into_call(Contract::Lambda).unwrap_err();
        assert_eq!(error.into_response().status(), 413);
    }

    #[tokio::test]
    async fn a_failure_is_a_bad_gateway_that_tells_no_visitor_why() {
        let ending = Ending::Failed {
            error_type: "TypeError".into(),
            message: "secret of the code".into(),
            payload: Bytes::new(),
        };
        let response = answer(ending, "/fn/f").unwrap_err().into_response("failed");
        assert_eq!(response.status(), 502);
        assert_eq!(response.headers()["x-rouse-ending"], "failed");
        let body = axum::body::to_bytes(response.into_body(), 4096).await;
        assert_eq!(
            &body.unwrap()[..],
            br#"{"message":"Internal Server Error"}"#
        );
    }

    #[test]
    fn what_the_http_contract_answers_is_passed_on() {
        let ending = Ending::Succeeded {
            payload: Bytes::from_static(b"hi"),
            http: Some(Box::new(HttpResponse {
                status: 418,
                headers: HeaderMap::from_iter([
                    (CONTENT_TYPE, HeaderValue::from_static("text/plain")),
                    (SET_COOKIE, HeaderValue::from_static("a=b")),
                ]),
            })),
        };
        let response = answer(ending, "/fn/f").unwrap();
        assert_eq!(response.status(), 418);
        assert_eq!(response.headers()["set-cookie"], "a=b; Path=/fn/f/");
        let bad = HttpResponse {
            status: 102,
            headers: HeaderMap::new(),
        };
        assert!(of_http(Bytes::new(), bad).is_err());
    }
}

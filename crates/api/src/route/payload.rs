//! The payload format 2.0 of function URLs and HTTP APIs, for functions of the `lambda` contract
//! (<https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads>).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, SET_COOKIE, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What of a request goes into the event.
pub(super) struct Asked<'a> {
    pub(super) method: &'a str,
    /// Below the route, beginning with `/`.
    pub(super) path_and_query: &'a str,
    /// As they pass inward.
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
    pub(super) source_ip: String,
    pub(super) request_id: &'a str,
    pub(super) time: Timestamp,
    pub(super) function: &'a str,
}

/// The event for a request.
pub(super) fn event(asked: &Asked<'_>) -> Value {
    let (path, query) = asked
        .path_and_query
        .split_once('?')
        .unwrap_or((asked.path_and_query, ""));
    let text = |name: HeaderName| {
        let value = asked.headers.get(name);
        value.map_or_else(String::new, lossy)
    };
    let mut event = json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": joined_headers(asked.headers),
        "requestContext": {
            "accountId": "anonymous",
            "apiId": asked.function,
            "domainName": text(HOST),
            "domainPrefix": asked.function,
            "http": {
                "method": asked.method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": asked.source_ip,
                "userAgent": text(USER_AGENT),
            },
            "requestId": asked.request_id,
            "routeKey": "$default",
            "stage": "$default",
            "time": asked.time.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            "timeEpoch": asked.time.as_millisecond(),
        },
        "isBase64Encoded": false,
    });
    let cookies = cookies(asked.headers);
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if !query.is_empty() {
        event["queryStringParameters"] = json!(query_parameters(query));
    }
    if !asked.body.is_empty() {
        match std::str::from_utf8(asked.body) {
            Ok(body) if is_text(&text(CONTENT_TYPE)) => event["body"] = body.into(),
            _ => {
                event["body"] = STANDARD.encode(asked.body).into();
                event["isBase64Encoded"] = true.into();
            }
        }
    }
    event
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    let mut cookies = Vec::new();
    for value in headers.get_all(COOKIE) {
        cookies.extend(lossy(value).split("; ").map(str::to_owned));
    }
    cookies
}

fn lossy(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// Names in lower case, the values of one name joined by commas; cookies are apart.
fn joined_headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut joined: BTreeMap<&str, String> = BTreeMap::new();
    for (name, value) in headers {
        if name == COOKIE {
            continue;
        }
        joined
            .entry(name.as_str())
            .and_modify(|text| {
                text.push(',');
                text.push_str(&lossy(value));
            })
            .or_insert_with(|| lossy(value));
    }
    let pairs = joined.into_iter();
    pairs
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}

/// Decoded, the values of one name joined by commas.
fn query_parameters(query: &str) -> BTreeMap<String, String> {
    let decode = |text: &str| {
        let spaced = text.replace('+', " ");
        percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
    };
    let mut parameters: BTreeMap<String, String> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value);
        parameters
            .entry(decode(name))
            .and_modify(|text| {
                text.push(',');
                text.push_str(&value);
            })
            .or_insert(value);
    }
    parameters
}

/// Whether AWS would hand a body of this type over as text.
fn is_text(content_type: &str) -> bool {
    let mime = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    mime.starts_with("text/")
        || mime.ends_with("+json")
        || mime.ends_with("+xml")
        || matches!(
            mime.as_str(),
            "application/json"
                | "application/javascript"
                | "application/xml"
                | "application/x-www-form-urlencoded"
        )
}

/// What a function answered with, if it is an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Structured {
    status_code: Value,
    #[serde(default)]
    headers: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    cookies: Option<Vec<String>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

/// Reads a function's result: an object with `statusCode` says how to answer; anything else is itself
/// the answer, as JSON. The error says which part of the object is not what it must be.
pub(super) fn answered(result: &Bytes) -> Result<Answered, String> {
    if !has_status(result) {
        return Ok(Answered {
            status: StatusCode::OK,
            headers: with_type(HeaderMap::new()),
            body: result.clone(),
        });
    }
    let structured: Structured =
        serde_json::from_slice(result).map_err(|error| error.to_string())?;
    let body = structured.body.unwrap_or_default();
    let body = if structured.is_base64_encoded {
        let decoded = STANDARD.decode(body);
        decoded.map_err(|_| "isBase64Encoded is true and body is not base64")?
    } else {
        body.into_bytes()
    };
    let mut headers = HeaderMap::new();
    for (name, value) in structured.headers.unwrap_or_default() {
        let text = match value {
            Value::String(text) => text,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return Err(format!("header {name:?} is neither text nor number")),
        };
        let pair = name.parse::<HeaderName>().ok().zip(text.parse().ok());
        let (name, value) = pair.ok_or_else(|| format!("header {name:?} is not legal"))?;
        headers.insert(name, value);
    }
    // The length is that of the body, whatever the function believes it to be.
    headers.remove(CONTENT_LENGTH);
    for cookie in structured.cookies.unwrap_or_default() {
        let value = cookie.parse().map_err(|_| "a cookie is not legal")?;
        headers.append(SET_COOKIE, value);
    }
    Ok(Answered {
        status: status_of(&structured.status_code)?,
        headers: with_type(headers),
        body: body.into(),
    })
}

/// Whether the result is an object that has a `statusCode`.
fn has_status(result: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        #[serde(rename = "statusCode")]
        _status: serde::de::IgnoredAny,
    }
    // A struct is also read from an array; only an object has the name in it.
    result.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<Probe>(result).is_ok()
}

fn status_of(value: &Value) -> Result<StatusCode, String> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    number
        .filter(|number| (200..600).contains(number))
        .and_then(|number| StatusCode::from_u16(u16::try_from(number).ok()?).ok())
        .ok_or_else(|| "statusCode is not a number from 200 to 599".to_owned())
}

fn with_type(mut headers: HeaderMap) -> HeaderMap {
    let json = HeaderValue::from_static("application/json");
    headers.entry(CONTENT_TYPE).or_insert(json);
    headers
}

#[cfg(test)]
mod tests;

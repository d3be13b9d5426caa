//! Events for webhooks: CloudEvents 1.0 over HTTP in binary mode, signed.
//!
//! The server dials itself (`outbound`). Redirects are not followed.

pub(crate) mod signature;

use crate::Result;
use crate::attempt::{Attempted, Record, micros, record};
use crate::delivery::{failed, send};
use crate::engine::Corridor;
use crate::outbound::{Address, connect, host_tls};
use crate::pool::unavailable;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use model::{Ending, Event, NewEvent, RequestId, Target, Timestamp, Webhook, WebhookName};
use tokio::time::Instant;

/// Posts an event. An answer of 2xx settles it; anything else is an attempt that failed.
///
/// # Errors
/// `NotFound`.
pub(crate) async fn deliver(
    corridor: &Corridor,
    name: &WebhookName,
    event: Event,
) -> Result<Attempted> {
    let webhook = corridor.webhooks.get(name)?;
    let started = Timestamp::now();
    let called = Instant::now();
    let posted = post(corridor, &webhook, &event.accepted);
    let ending = tokio::select! {
        ending = posted => ending,
        () = corridor.node.kill.cancelled() => Ending::Unavailable {
            reason: "the server was shut down during the delivery".to_owned(),
        },
    };
    let mut outcome = unavailable(String::new());
    outcome.ending = ending;
    outcome.timing.run = micros(called.elapsed());
    let told = Record {
        request_id: RequestId::generate(),
        target: Target::Webhook { name: name.clone() }.key(),
        event: Some(event.accepted.id),
        attempt: event.attempts + 1,
        started,
    };
    let run = record(&outcome, told);
    Ok(Attempted { outcome, run })
}

async fn post(corridor: &Corridor, webhook: &Webhook, event: &NewEvent) -> Ending {
    let address = match Address::of(&webhook.url) {
        Ok(address) => address,
        Err(reason) => return failed("Webhook.Url", reason),
    };
    let request = match request(webhook, &address, event, Timestamp::now()) {
        Ok(request) => request,
        Err(reason) => return failed("Webhook.Request", reason),
    };
    let private = corridor.webhooks.private;
    let otherwise = "`rouse serve --private-webhooks`";
    match connect(&address, private, otherwise, host_tls()).await {
        Ok(stream) => send(stream, request).await,
        Err(reason) => failed("Webhook.Connection", reason),
    }
}

fn request(
    webhook: &Webhook,
    address: &Address,
    event: &NewEvent,
    now: Timestamp,
) -> std::result::Result<Request<Full<Bytes>>, String> {
    let key = signature::key(&webhook.secret).map_err(|error| error.to_string())?;
    let (id, seconds) = (event.id.to_string(), now.0.div_euclid(1000));
    let mut request = Request::post(&address.path)
        .header("host", &address.authority)
        .header("user-agent", concat!("rouse/", env!("CARGO_PKG_VERSION")))
        .header("content-type", "application/json");
    for (name, value) in &webhook.headers {
        request = request.header(name, value.expose());
    }
    let signed = signature::sign(&key, &id, seconds, &event.payload);
    let mut request = request
        .header("webhook-id", id)
        .header("webhook-timestamp", seconds.to_string())
        .header("webhook-signature", signed)
        .body(Full::new(event.payload.clone()))
        // The error may name a header but not its value.
        .map_err(|_| "the request cannot be written; see the webhook's headers".to_owned())?;
    for (name, value) in runtime::cloudevent_headers(event) {
        if let Some(name) = name {
            request.headers_mut().insert(name, value);
        }
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use model::{EventId, Secret};

    #[test]
    fn a_request_is_a_signed_cloud_event() {
        let webhook = Webhook {
            name: "w".parse().unwrap(),
            url: "http://a:81/in".into(),
            headers: [("x-key".to_owned(), Secret::new("k".into()))].into(),
            secret: signature::secret(&[1; signature::SECRET]),
            created: Timestamp(0),
            modified: Timestamp(0),
        };
        let event = NewEvent {
            id: EventId::generate(),
            target: Target::Webhook {
                name: "w".parse().unwrap(),
            },
            source: "shop".into(),
            kind: "order placed".into(),
            subject: String::new(),
            payload: Bytes::from_static(b"{}"),
            accepted: Timestamp(0),
            cause: None,
            replay_of: None,
            delivery: Default::default(),
        };
        let address = Address::of(&webhook.url).unwrap();
        let request = request(&webhook, &address, &event, Timestamp(5_999)).unwrap();
        let header = |name: &str| request.headers()[name].to_str().unwrap();
        assert_eq!((header("host"), request.uri().path()), ("a:81", "/in"));
        assert_eq!(
            (header("ce-type"), header("ce-source")),
            ("order%20placed", "shop")
        );
        assert_eq!((header("x-key"), header("webhook-timestamp")), ("k", "5"));
        let signed = signature::sign(&[1; 32], &event.id.to_string(), 5, b"{}");
        assert_eq!(header("webhook-signature"), signed);
    }
}

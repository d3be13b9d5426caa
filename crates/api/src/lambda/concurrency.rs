//! The resource `/functions/NAME/concurrency`: PutFunctionConcurrency, GetFunctionConcurrency and
//! DeleteFunctionConcurrency. What is reserved counts instances; each answers one call at a time,
//! unless the function's manifest says otherwise.

use super::configuration::Qualified;
use super::error::{Error, Result};
use super::functions::{owner, read_body, refer, update};
use super::name::FunctionRef;
use super::settings;
use crate::auth::Verified;
use crate::doors::Doors;
use axum::Json;
use axum::extract::{Path, Query, Request, State};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

/// Largest body: one number, and room for odd spacing.
const MAX_BODY: usize = 4 * 1024;
/// Most instances that may be reserved for one function.
const MOST: i64 = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Reservation {
    reserved_concurrent_executions: Option<i64>,
}

/// What is reserved, as all three operations and GetFunction write it; nothing if nothing is.
pub(super) fn render(reserved: Option<u32>) -> Value {
    match reserved {
        Some(reserved) => json!({"ReservedConcurrentExecutions": reserved}),
        None => json!({}),
    }
}

/// PutFunctionConcurrency. A new revision begins, so instances are started anew.
pub(super) async fn put(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(query): Query<Qualified>,
    request: Request,
) -> Result<Json<Value>> {
    const OPERATION: &str = "PutFunctionConcurrency";
    owner(&verified, OPERATION)?;
    let body = read_body(request, MAX_BODY, OPERATION).await?;
    let reservation: Reservation = settings::from_json(&body)?;
    let reserved = reservation.count()?;
    reserve(&doors, &name, &query, Some(reserved)).await?;
    Ok(Json(render(Some(reserved))))
}

/// GetFunctionConcurrency.
pub(super) async fn get(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(query): Query<Qualified>,
) -> Result<Json<Value>> {
    owner(&verified, "GetFunctionConcurrency")?;
    unqualified(&name, &query)?;
    let function = refer(&doors, &name, None).await?;
    Ok(Json(render(function.spec.scaling.reserved)))
}

/// DeleteFunctionConcurrency. Nothing happens if nothing is reserved.
pub(super) async fn delete(
    verified: Verified,
    State(doors): State<Doors>,
    Path(name): Path<String>,
    Query(query): Query<Qualified>,
) -> Result<StatusCode> {
    owner(&verified, "DeleteFunctionConcurrency")?;
    reserve(&doors, &name, &query, None).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl Reservation {
    fn count(&self) -> Result<u32> {
        let Some(asked) = self.reserved_concurrent_executions else {
            return Err(Error::invalid_parameter(
                "ReservedConcurrentExecutions is missing",
            ));
        };
        let fits = u32::try_from(asked).ok().filter(|_| asked <= MOST);
        fits.ok_or_else(|| {
            Error::invalid_parameter(format!(
                "ReservedConcurrentExecutions is {asked} and must be 0 to {MOST}"
            ))
        })
    }
}

async fn reserve(
    doors: &Doors,
    name: &str,
    query: &Qualified,
    reserved: Option<u32>,
) -> Result<()> {
    unqualified(name, query)?;
    let function = refer(doors, name, None).await?;
    if function.spec.scaling.reserved == reserved {
        return Ok(());
    }
    let mut spec = function.spec.clone();
    spec.scaling.reserved = reserved;
    update(doors, &function, spec, None).await?;
    Ok(())
}

/// What is reserved is the whole function's, not a version's.
fn unqualified(name: &str, query: &Qualified) -> Result<()> {
    if query.qualifier.is_none() && FunctionRef::parse(name)?.qualifier.is_none() {
        return Ok(());
    }
    Err(Error::invalid_parameter(
        "Concurrency is reserved for a function, not for one of its versions: leave the qualifier out",
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn count(json: &str) -> Result<u32> {
        settings::from_json::<Reservation>(json.as_bytes())?.count()
    }

    #[test]
    fn a_reservation_has_bounds() {
        assert_eq!(count(r#"{"ReservedConcurrentExecutions":0}"#).unwrap(), 0);
        assert_eq!(
            count(r#"{"ReservedConcurrentExecutions":1000}"#).unwrap(),
            1000
        );
        for bad in ["-1", "1001", "9223372036854775807", "null"] {
            let error = count(&format!("{{\"ReservedConcurrentExecutions\":{bad}}}")).unwrap_err();
            assert_eq!(error.name(), "InvalidParameterValueException", "{bad}");
        }
        assert!(count("{}").is_err());
        assert!(count(r#"{"ReservedConcurrentExecutions":"5"}"#).is_err());
    }

    #[test]
    fn nothing_reserved_is_an_empty_answer() {
        assert_eq!(render(None), json!({}));
        assert_eq!(render(Some(0)), json!({"ReservedConcurrentExecutions": 0}));
    }
}

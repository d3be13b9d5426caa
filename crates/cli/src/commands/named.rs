//! Which function or service a name on the command line means.

use crate::client::{Client, segment};
use crate::error::{Error, Result};
use model::{Function, FunctionName, Kind, ServiceName, ServiceStatus};
use std::fmt;

/// A function or a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// A function.
    Function(FunctionName),
    /// A service.
    Service(ServiceName),
}

impl Named {
    /// `function/NAME`, `service/NAME`, or a bare name that the server is asked about.
    pub(crate) async fn find(client: &Client, text: &str) -> Result<Self> {
        let invalid = |error: model::Invalid| Error::Usage(error.to_string());
        match text.split_once('/') {
            Some(("function", name)) => return Ok(Self::Function(name.parse().map_err(invalid)?)),
            Some(("service", name)) => return Ok(Self::Service(name.parse().map_err(invalid)?)),
            _ => {}
        }
        let name: FunctionName = text.parse().map_err(|_| {
            Error::Usage(format!(
                "{text:?} is neither NAME, function/NAME nor service/NAME"
            ))
        })?;
        let services: Vec<ServiceStatus> = client.get("services", &[]).await?;
        let service = services.into_iter().map(|status| status.service.spec.name);
        let service = service.into_iter().find(|service| service.as_str() == text);
        let path = format!("functions/{}", segment(text));
        let function = match client.get::<Function>(&path, &[]).await {
            Ok(_) => Some(name),
            Err(error) if error.kind() == Kind::NotFound => None,
            Err(error) => return Err(error),
        };
        match (function, service) {
            (Some(_), Some(_)) => Err(Error::Usage(format!(
                "\"{text}\" is a function and a service: write function/{text} or service/{text}"
            ))),
            (Some(name), None) => Ok(Self::Function(name)),
            (None, Some(name)) => Ok(Self::Service(name)),
            (None, None) => Err(Error::Refused {
                kind: Kind::NotFound,
                message: format!(
                    "no function or service \"{text}\" exists; `rouse ls` lists what does"
                ),
            }),
        }
    }

    /// Under which key the logs are kept.
    pub(crate) fn log_key(&self) -> String {
        match self {
            Self::Function(name) => format!("function:{name}"),
            Self::Service(name) => format!("service:{name}"),
        }
    }

    /// Its resource in the control API.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Function(name) => format!("functions/{}", segment(name.as_str())),
            Self::Service(name) => format!("services/{}", segment(name.as_str())),
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(name) => write!(f, "function {name}"),
            Self::Service(name) => write!(f, "service {name}"),
        }
    }
}

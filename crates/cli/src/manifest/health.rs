//! `healthcheck` and `x-rouse-health`: how a service shows that it is well.
//!
//! rouse asks over the network from outside the service and runs nothing inside. So of the commands in `test` it serves
//! those that ask for a URL of the service itself, and asks for that URL.

use super::compose;
use super::fields::Fields;
use super::node::{Node, Value};
use super::place::Result;
use super::quantity::parse_duration;
use super::words::parse_command;
use model::HealthCheck;

const REMEDY: &str = "rouse runs nothing inside a service: it asks over the network. Write `x-rouse-health: {path: \
                      /health}` beside it, which takes the place of `test`, or a test such as [CMD, curl, -f, \
                      http://localhost:8080/health]; without both, a TCP connect is asked for";

/// Reads both keys. `port` is the service's first one.
pub(super) fn parse_health(fields: &mut Fields<'_>, port: Option<u16>) -> Result<HealthCheck> {
    let mut health = HealthCheck::default();
    let own = fields.take("x-rouse-health");
    if let Some(node) = fields.take("healthcheck") {
        let mut fields = Fields::of(node, "healthcheck")?;
        let mut set = |name: &'static str, value: &mut u64| -> Result<()> {
            let Some(node) = fields.take(name) else {
                return Ok(());
            };
            *value = node.parsed(name, parse_duration)?;
            if (1..=3_600_000).contains(value) || name == "start_period" {
                return Ok(());
            }
            Err(node.error(format!("healthcheck.{name} must be 1 ms to 1 h")))
        };
        set("interval", &mut health.interval)?;
        set("timeout", &mut health.timeout)?;
        set("start_period", &mut health.start_period)?;
        if let Some(node) = fields.take("retries") {
            health.retries = node.number("healthcheck.retries")?;
            if health.retries == 0 {
                return Err(node.error("healthcheck.retries must be 1 or more"));
            }
        }
        let disabled = fields
            .take("disable")
            .map(|node| node.flag("healthcheck.disable"));
        health.disabled = disabled.transpose()?.unwrap_or(false);
        let test = fields.take("test");
        fields.finish(compose::HEALTHCHECK)?;
        if let Some(test) = test.filter(|_| own.is_none() && !health.disabled) {
            match parse_test(test, port)? {
                Some(path) => health.path = Some(path),
                None => health.disabled = true,
            }
        }
    }
    if let Some(node) = own {
        let mut fields = Fields::of(node, "x-rouse-health")?;
        let path = fields.require("path", "/health")?;
        let text = path.text("x-rouse-health.path")?;
        if !text.starts_with('/') || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(path.error(format!("path must begin with /, and is {text:?}")));
        }
        health.path = Some(text.to_owned());
        fields.finish(&[])?;
    }
    Ok(health)
}

/// The path that a test asks for; `None` for the test `NONE`.
fn parse_test(node: &Node, port: Option<u16>) -> Result<Option<String>> {
    let words = match &node.value {
        Value::List(_) => {
            let words = node.texts("healthcheck.test")?;
            match words.split_first() {
                Some((sort, [])) if sort == "NONE" => return Ok(None),
                Some((sort, rest)) if sort == "CMD" => rest.to_vec(),
                Some((sort, [line])) if sort == "CMD-SHELL" => shell_words(node, line)?,
                _ => {
                    return Err(node.error(
                        "healthcheck.test must begin with NONE, CMD or CMD-SHELL, or be a text",
                    ));
                }
            }
        }
        _ => shell_words(node, node.text("healthcheck.test")?)?,
    };
    let Some(url) = asked_url(&words) else {
        let message = "healthcheck.test: this command is not supported";
        return Err(node.error(message).hint(REMEDY));
    };
    match path_of(url, port) {
        Ok(path) => Ok(Some(path)),
        Err(reason) => Err(node
            .error(format!("healthcheck.test: {reason}"))
            .hint(REMEDY)),
    }
}

/// The words of a shell's line that is one command; `|| exit 1` and `|| false` at its end say nothing more.
fn shell_words(node: &Node, line: &str) -> Result<Vec<String>> {
    let line = line.trim();
    let command = ["|| exit 1", "|| false"]
        .iter()
        .find_map(|end| line.strip_suffix(end))
        .unwrap_or(line);
    if command.contains(['|', '&', ';', '<', '>', '$', '`', '(', '\n']) {
        let message = "healthcheck.test: this command is not supported";
        return Err(node.error(message).hint(REMEDY));
    }
    let text = Node {
        value: Value::Text(command.to_owned()),
        ..node.clone()
    };
    parse_command(&text, "healthcheck.test")
}

/// The URL that `curl -f` or `wget` ask for, if nothing else is asked of them. Without `-f`, curl takes an error for an
/// answer, which is not what is meant, nor what rouse does.
fn asked_url(words: &[String]) -> Option<&str> {
    let (program, rest) = words.split_first()?;
    let mut urls = Vec::new();
    let mut fails = false;
    let mut rest = rest.iter().map(String::as_str);
    match program.as_str() {
        "curl" => {
            while let Some(word) = rest.next() {
                match word {
                    "-o" | "--output" => drop(rest.next().filter(|file| *file == "/dev/null")?),
                    "--fail" | "--fail-with-body" => fails = true,
                    "--silent" | "--show-error" => {}
                    _ if word.starts_with("--") => return None,
                    _ => match word.strip_prefix('-') {
                        Some(letters) if letters.chars().all(|c| "fsS".contains(c)) => {
                            fails |= letters.contains('f');
                        }
                        Some(_) => return None,
                        None => urls.push(word),
                    },
                }
            }
        }
        "wget" => {
            fails = true;
            while let Some(word) = rest.next() {
                match word {
                    "-q"
                    | "-nv"
                    | "--quiet"
                    | "--no-verbose"
                    | "--spider"
                    | "--tries=1"
                    | "-O-"
                    | "-qO-"
                    | "-O/dev/null"
                    | "-qO/dev/null"
                    | "--output-document=/dev/null" => {}
                    "-O" | "-qO" => {
                        rest.next()
                            .filter(|file| matches!(*file, "-" | "/dev/null"))?;
                    }
                    "-t" => drop(rest.next().filter(|count| *count == "1")?),
                    _ if word.starts_with('-') => return None,
                    _ => urls.push(word),
                }
            }
        }
        _ => return None,
    }
    match urls[..] {
        [url] if fails => Some(url),
        _ => None,
    }
}

/// The path of a URL of the service's first port on its own loopback.
fn path_of(url: &str, port: Option<u16>) -> std::result::Result<String, String> {
    let Some(rest) = url.strip_prefix("http://") else {
        return Err(format!("{url:?} must begin with http://"));
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let host = |host: &str| matches!(host, "localhost" | "127.0.0.1" | "[::1]" | "0.0.0.0");
    let asked = match authority.rsplit_once(':') {
        Some((name, number)) if host(name) => number.parse::<u16>().ok(),
        None if host(authority) => Some(80),
        _ if host(authority) => Some(80),
        _ => return Err(format!("{url:?} is not a URL of the service itself")),
    };
    match (asked, port) {
        (Some(asked), Some(port)) if asked == port => Ok(path.to_owned()),
        (_, Some(port)) => Err(format!(
            "{url:?} must ask for the service's first port, {port}"
        )),
        (_, None) => {
            Err("the service has no port: give it one under `ports` or `expose`".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(command: &str) -> Option<String> {
        let words: Vec<_> = command.split(' ').map(str::to_owned).collect();
        asked_url(&words).map(str::to_owned)
    }

    #[test]
    fn commands_that_ask_for_a_url_are_known() {
        for command in [
            "curl -f http://localhost/",
            "curl -fsS -o /dev/null http://localhost/",
            "curl --silent --fail http://localhost/",
            "wget -q --spider http://localhost/",
            "wget -qO- http://localhost/",
            "wget --no-verbose --tries=1 -O /dev/null http://localhost/",
        ] {
            assert_eq!(
                url(command).as_deref(),
                Some("http://localhost/"),
                "{command}"
            );
        }
        for command in [
            "curl http://localhost/",
            "curl -f http://localhost/ http://localhost/b",
            "curl -fX POST http://localhost/",
            "curl -f -H a:b http://localhost/",
            "curl -f",
            "wget --post-data=x http://localhost/",
            "pg_isready -U postgres",
            "",
        ] {
            assert_eq!(url(command), None, "{command}");
        }
    }

    #[test]
    fn urls_are_of_the_service_itself() {
        let path = |url: &str| path_of(url, Some(8080)).ok();
        assert_eq!(
            path("http://localhost:8080/health?a=b").as_deref(),
            Some("/health?a=b")
        );
        assert_eq!(path("http://127.0.0.1:8080").as_deref(), Some("/"));
        assert_eq!(
            path_of("http://[::1]/x", Some(80)).ok().as_deref(),
            Some("/x")
        );
        for other in [
            "https://localhost:8080/",
            "http://localhost:9090/",
            "http://example.com:8080/",
            "http://localhost/",
        ] {
            assert_eq!(path(other), None, "{other}");
        }
        assert!(path_of("http://localhost/", None).is_err());
    }
}

//! Keys of Compose that ask for what holds anyway. They are accepted with the value that asks for it, and refused with
//! any other.

use super::fields::Fields;
use super::node::{Node, Value};
use super::place::Result;

/// A key, whether a value asks for what holds, and what to do otherwise.
type Assured = (&'static str, fn(&Node) -> bool, &'static str);

const ASSURED: &[Assured] = &[
    (
        "privileged",
        is_false,
        "nothing runs with privilege here; leave it out",
    ),
    (
        "read_only",
        is_true,
        "the root is read-only always: write to /tmp or to a volume; leave it out",
    ),
    ("init", is_false, "leave it out"),
    ("tty", is_false, "leave it out"),
    ("stdin_open", is_false, "leave it out"),
    (
        "cap_drop",
        |_| true,
        "all capabilities are dropped already; leave it out",
    ),
    (
        "security_opt",
        is_no_new_privileges,
        "no_new_privs and a seccomp filter are always on; leave it out",
    ),
    (
        "pull_policy",
        |node| {
            matches!(
                node.text("").ok(),
                Some("missing" | "if_not_present" | "never")
            )
        },
        "images come by `docker push` or `rouse image import`; leave it out",
    ),
    (
        "platform",
        is_own_platform,
        "only images of this machine's platform run; leave it out",
    ),
];

/// Takes them all.
pub(super) fn check(what: &str, fields: &mut Fields<'_>) -> Result<()> {
    for (key, holds, remedy) in ASSURED {
        if let Some(node) = fields.take(key).filter(|node| !holds(node)) {
            let message = format!("{what}: this \"{key}\" is not supported");
            return Err(node.error(message).hint(*remedy));
        }
    }
    Ok(())
}

fn is_false(node: &Node) -> bool {
    node.text("").ok() == Some("false")
}

fn is_true(node: &Node) -> bool {
    node.text("").ok() == Some("true")
}

fn is_no_new_privileges(node: &Node) -> bool {
    let own = [
        "no-new-privileges",
        "no-new-privileges:true",
        "no-new-privileges=true",
    ];
    match &node.value {
        Value::List(entries) => entries
            .iter()
            .all(|entry| entry.text("").is_ok_and(|text| own.contains(&text))),
        _ => false,
    }
}

fn is_own_platform(node: &Node) -> bool {
    let own = match std::env::consts::ARCH {
        "x86_64" => "linux/amd64",
        "aarch64" => "linux/arm64",
        other => other,
    };
    node.text("").ok() == Some(own)
}

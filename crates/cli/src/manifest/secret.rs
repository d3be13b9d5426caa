//! Secrets and configs: declared at the top, used by functions and services.

use super::Context;
use super::fields::Fields;
use super::node::{Node, Value};
use super::place::{Place, Result};
use super::settings::parse_name;
use crate::commands::secret::read_file;
use model::{SecretKind, SecretMount, SecretName, SecretUse};
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// One that the top of a manifest declares.
#[derive(Debug, Clone)]
pub(crate) struct DeclaredSecret {
    /// Which of the two.
    pub(crate) kind: SecretKind,
    /// By what the manifest names it.
    key: String,
    /// Its name in the server: `name`, else the key.
    pub(crate) name: SecretName,
    /// Its value.
    pub(crate) origin: Origin,
    /// Where it stands.
    pub(crate) place: Place,
}

/// Where a value comes from. `Debug` does not show it.
#[derive(Clone)]
pub(crate) enum Origin {
    /// The server has it.
    External,
    /// It is sent when the manifest is deployed.
    Given(Vec<u8>),
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::External => "External",
            Self::Given(_) => "Given(..)",
        })
    }
}

/// Reads the top-level `secrets` or `configs`.
pub(crate) fn parse_declared(
    context: &mut Context,
    kind: SecretKind,
    node: Option<&Node>,
) -> Result<()> {
    let Some(node) = node else { return Ok(()) };
    for (key, node) in node.map(&format!("{kind}s"))? {
        let what = format!("{kind} \"{}\"", key.text.escape_debug());
        let mut fields = Fields::of(node, what.as_str())?;
        let name = match fields.take("name") {
            Some(node) => node.parsed("name", parse_text)?,
            None => parse_name(key)?,
        };
        let origin = parse_origin(context, kind, &what, &mut fields, &key.place)?;
        fields.take("labels");
        fields.finish(&[
            ("driver", "rouse keeps them itself; leave it out"),
            ("driver_opts", "rouse keeps them itself; leave it out"),
            (
                "template_driver",
                "values are taken as they are; leave it out",
            ),
        ])?;
        context.secrets.push(DeclaredSecret {
            kind,
            key: key.text.clone(),
            name,
            origin,
            place: key.place.clone(),
        });
    }
    Ok(())
}

fn parse_text(text: &str) -> std::result::Result<SecretName, String> {
    text.parse()
        .map_err(|invalid: model::Invalid| invalid.reason)
}

/// Exactly one of `file`, `environment`, `content` (of configs) and `external: true`.
fn parse_origin(
    context: &Context,
    kind: SecretKind,
    what: &str,
    fields: &mut Fields<'_>,
    place: &Place,
) -> Result<Origin> {
    let mut origins = Vec::new();
    if let Some(node) = fields.take("file") {
        let path = context.folder.join(node.text("file")?);
        let value = read_file(Path::new(&path)).map_err(|error| node.error(error.to_string()))?;
        origins.push((node, Origin::Given(value)));
    }
    if let Some(node) = fields.take("environment") {
        let variable = node.text("environment")?;
        let value = context.variables.get(variable).ok_or_else(|| {
            let shown = variable.escape_debug();
            let error = node.error(format!("{what}: the variable {shown} is not set"));
            error.hint("set it in the shell, or in the .env file beside the manifest")
        })?;
        origins.push((node, Origin::Given(value.as_bytes().to_vec())));
    }
    if kind == SecretKind::Config
        && let Some(node) = fields.take("content")
    {
        let value = node.text("content")?.as_bytes().to_vec();
        origins.push((node, Origin::Given(value)));
    }
    if let Some(node) = fields.take("external")
        && node.flag("external")?
    {
        origins.push((node, Origin::External));
    }
    let mut origins = origins.into_iter();
    match (origins.next(), origins.next()) {
        (Some((_, origin)), None) => Ok(origin),
        (Some(_), Some((node, _))) => Err(node.error(format!("{what} has its value from two places"))),
        (None, _) => Err(place.error(format!("{what} does not say where its value comes from")).hint(
            format!("add `file: ./path`, `environment: VARIABLE`, or `external: true` after `rouse {kind} set`"),
        )),
    }
}

/// What a function or service uses: its `secrets` and `configs`, and the variables from secrets.
pub(crate) fn parse_use(
    context: &Context,
    fields: &mut Fields<'_>,
    variables: Option<&Node>,
) -> Result<SecretUse> {
    let mut files = Vec::new();
    for (kind, key) in [
        (SecretKind::Secret, "secrets"),
        (SecretKind::Config, "configs"),
    ] {
        let Some(node) = fields.take(key) else {
            continue;
        };
        for entry in node.list(key)? {
            files.push((entry, parse_mount(context, kind, entry)?));
        }
    }
    let mut environment = BTreeMap::new();
    if let Some(node) = variables {
        for (key, source) in node.map("secret_environment")? {
            let declared = find(context, SecretKind::Secret, source)?;
            environment.insert(key.text.clone(), declared.name.clone());
        }
    }
    let mut used = SecretUse::default();
    // One after the other, so that what breaks a rule is told at its line.
    for (entry, file) in files {
        used.files.push(file);
        used.check(&BTreeMap::new())
            .map_err(|invalid| entry.error(invalid.to_string()))?;
    }
    used.environment = environment;
    Ok(used)
}

/// What an entry names, which must be declared at the top.
fn find<'a>(context: &'a Context, kind: SecretKind, node: &Node) -> Result<&'a DeclaredSecret> {
    let source = node.text("source")?;
    let mut declared = context.secrets.iter();
    let found = declared.find(|one| one.kind == kind && one.key == source);
    found.ok_or_else(|| {
        let shown = source.escape_debug();
        let error = node.error(format!("no {kind} \"{shown}\" is declared"));
        error.hint(format!(
            "add `{kind}s: {{{shown}: {{file: ./path}}}}` at the top level, or `{{external: true}}`"
        ))
    })
}

fn parse_mount(context: &Context, kind: SecretKind, node: &Node) -> Result<SecretMount> {
    let mount = |source: &DeclaredSecret, target, mode| SecretMount {
        kind,
        source: source.name.clone(),
        target,
        mode,
    };
    if !matches!(node.value, Value::Map(_)) {
        let declared = find(context, kind, node)?;
        return Ok(mount(declared, kind.target(&declared.key), 0o444));
    }
    let mut fields = Fields::of(node, kind.as_str())?;
    let declared = find(context, kind, fields.require("source", "NAME")?)?;
    let target = match fields.take("target") {
        None => kind.target(&declared.key),
        Some(node) => match node.text("target")? {
            path if path.starts_with('/') => path.to_owned(),
            name => kind.target(name),
        },
    };
    let mode = fields
        .take("mode")
        .map(|node| node.parsed("mode", parse_mode));
    let mode = mode.transpose()?.unwrap_or(0o444);
    let owned = "the file belongs to the user that the program runs as; leave it out";
    fields.finish(&[("uid", owned), ("gid", owned)])?;
    Ok(mount(declared, target, mode))
}

/// Octal, as YAML 1.1 and 1.2 write it.
fn parse_mode(text: &str) -> std::result::Result<u32, String> {
    let digits = text.strip_prefix("0o").or_else(|| text.strip_prefix('0'));
    let mode = digits.and_then(|digits| u32::from_str_radix(digits, 8).ok());
    mode.ok_or_else(|| format!("must be octal, such as 0440, and is {text:?}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::manifest::Manifest;
    use crate::manifest::interpolate::Variables;
    use crate::manifest::place::Source;
    use crate::manifest::project::Project;
    use std::sync::Arc;

    fn read(text: &str) -> std::result::Result<Manifest, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key.pem"), "from a file").unwrap();
        std::fs::create_dir(folder.path().join("app")).unwrap();
        let source = Arc::new(Source {
            name: "compose.yaml".to_owned(),
            text: text.to_owned(),
        });
        let environment = [("PASSWORD".to_owned(), "hunter2".to_owned())];
        let mut variables = Variables::new("", environment).unwrap();
        let root = Node::parse(&source, &mut variables).unwrap();
        let folder = folder.path().to_owned();
        let project = Project::in_test(root, folder, variables, Default::default());
        Manifest::of(project).map_err(|error| {
            let help = miette::Diagnostic::help(error.as_ref()).map(|help| help.to_string());
            format!("{error} | {help:?}")
        })
    }

    const TOP: &str = "
secrets:
  tls: {file: key.pem}
  password: {environment: PASSWORD, name: shop-password}
  theirs: {external: true}
configs:
  app: {content: \"mode=${PASSWORD}\"}
";

    fn function(rest: &str) -> String {
        format!(
            "services:\n  f:\n    build: ./app\n    x-rouse: {{runtime: python3.11, handler: a.b}}\n{rest}{TOP}"
        )
    }

    #[test]
    fn values_come_from_files_the_environment_and_the_manifest_and_are_not_shown() {
        let manifest = read(&function("    secrets: [tls, {source: password, target: db, mode: 0400}]\n    configs: [app, {source: app, target: /etc/app.conf}]\n")).unwrap();
        let value = |index: usize| match &manifest.secrets[index].origin {
            Origin::Given(value) => String::from_utf8(value.clone()).unwrap(),
            Origin::External => "external".to_owned(),
        };
        assert_eq!(
            [0, 1, 2, 3].map(value),
            ["from a file", "hunter2", "external", "mode=hunter2"]
        );
        assert_eq!(manifest.secrets[1].name.as_str(), "shop-password");
        assert!(!format!("{manifest:?}").contains("hunter2"));
        let digest = model::Digest::from_hex(&"0".repeat(64)).unwrap();
        let code = model::Code::Zip { digest, size: 1 };
        let spec = manifest.functions[0].with_code(code).unwrap();
        let shown: Vec<_> = spec
            .secrets
            .files
            .iter()
            .map(|file| (file.source.as_str(), file.target.as_str(), file.mode))
            .collect();
        assert_eq!(
            shown,
            [
                ("tls", "/run/secrets/tls", 0o444),
                ("shop-password", "/run/secrets/db", 0o400),
                ("app", "/app", 0o444),
                ("app", "/etc/app.conf", 0o444),
            ]
        );
    }

    #[test]
    fn what_cannot_be_meant_is_told_at_its_line() {
        let cases = [
            (
                "    secrets: [none]\n",
                "5:15: no secret \"none\" is declared",
            ),
            (
                "    secrets: [{source: tls, mode: 440}]\n",
                "5:35: mode must be octal",
            ),
            ("    secrets: [{source: tls, mode: 0644}]\n", "read-only"),
            (
                "    secrets: [{source: tls, uid: \"1\"}]\n",
                "belongs to the user",
            ),
            (
                "    configs: [{source: app, target: /proc/x}]\n",
                "would cover",
            ),
            ("    secrets: [tls, tls]\n", "mounted twice"),
        ];
        for (rest, expected) in cases {
            let error = read(&function(rest)).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let tops = [
            (
                "secrets: {a: {}}",
                "does not say where its value comes from",
            ),
            (
                "secrets: {a: {environment: NONE}}",
                "the variable NONE is not set",
            ),
            ("secrets: {a: {file: none.pem}}", "none.pem"),
            (
                "secrets: {a: {file: key.pem, external: true}}",
                "two places",
            ),
            (
                "secrets: {a: {external: true, content: x}}",
                "\"content\" is not known",
            ),
            ("secrets: {a/b: {external: true}}", "must be 1 to 64"),
        ];
        for (text, expected) in tops {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}

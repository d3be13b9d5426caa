//! `build` and `image`: where the code of a function or service comes from.

use super::fields::Fields;
use super::function::{parse_runtime, words};
use super::node::{Node, Value};
use super::place::{Place, Result};
use super::settings::{CodeSource, parse_variables};
use super::{Context, compose};
use crate::build::{Dockerfile, ImageName, Wanted};
use model::{Contract, RuntimeName};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a folder is built by if its manifest names no file, the first that is there.
const USUAL: [&str; 2] = ["Dockerfile", "Containerfile"];

/// No base at all, as a Dockerfile says it.
const SCRATCH: &str = "scratch";

/// What is said of the code beside `build` and `image`.
pub(super) struct Said<'a> {
    /// Whose code it is, for messages.
    pub(super) what: &'a str,
    /// Where its name stands.
    pub(super) place: &'a Place,
    /// `code` of the `x-rouse` block.
    pub(super) code: Option<&'a Node>,
    /// What of this machine runs a folder.
    pub(super) runtime: Option<&'a Node>,
    /// An image to build on.
    pub(super) base: Option<&'a Node>,
    pub(super) handler: Option<String>,
    pub(super) contract: Contract,
}

impl Said<'_> {
    /// Whether it is said what a folder is run by; then a Dockerfile in it means nothing.
    fn runs_folder(&self) -> bool {
        self.runtime.or(self.base).is_some()
    }
}

/// The code, and how it is run. What an image is built with is in it, and is not said again.
pub(super) struct Run {
    pub(super) code: CodeSource,
    pub(super) runtime: RuntimeName,
    pub(super) handler: Option<String>,
    pub(super) entrypoint: Option<Vec<String>>,
    pub(super) command: Option<Vec<String>>,
}

/// Reads `build`, `image`, `entrypoint` and `command`.
pub(super) fn parse_run(context: &Context, fields: &mut Fields<'_>, said: Said<'_>) -> Result<Run> {
    let code = parse_code(context, fields, &said)?;
    let entrypoint = words(fields, "entrypoint")?;
    let command = words(fields, "command")?;
    let Some(base) = said.base else {
        return Ok(Run {
            runtime: parse_runtime(said.what, &code, said.runtime, said.place)?,
            code,
            handler: said.handler,
            entrypoint,
            command,
        });
    };
    let words = entrypoint.into_iter().chain(command).flatten();
    let wanted = Wanted {
        handler: said.handler,
        command: words.collect(),
        contract: said.contract,
    };
    let code = on_base(code, base, wanted)?;
    Ok(Run {
        runtime: parse_runtime(said.what, &code, said.runtime, said.place)?,
        code,
        handler: None,
        entrypoint: None,
        command: None,
    })
}

/// `build`, `image`, or `code` of the `x-rouse` block: one of them; or, of a Dockerfile, `image` beside `build` for the
/// name.
fn parse_code(context: &Context, fields: &mut Fields<'_>, around: &Said<'_>) -> Result<CodeSource> {
    let Said { what, code, .. } = around;
    let build = fields.take("build");
    let image = fields.take("image");
    if let (Some(_), Some(code)) = (build, code) {
        return Err(code
            .error(format!("{what} has both `build` and `x-rouse.code`"))
            .hint("they mean the same; keep `build`, which `docker compose config` knows too"));
    }
    let source = match (build, code, image) {
        (Some(build), ..) => parse_build(context, build, around)?,
        (None, Some(code), _) => CodeSource::Folder {
            path: folder_at(context, code)?,
            place: code.place.clone(),
        },
        (None, None, Some(image)) => {
            return Ok(CodeSource::Image {
                reference: image.text("image")?.to_owned(),
                place: image.place.clone(),
            });
        }
        (None, None, None) => {
            return Err(around
                .place
                .error(format!("{what} has no code"))
                .hint("add `build: ./folder`, or `image: NAME` for an imported image"));
        }
    };
    match (source, image) {
        (source, None) => Ok(source),
        (CodeSource::Dockerfile { source, place, .. }, Some(image)) => {
            let name = image.parsed("image", |text| {
                let parsed = text.parse::<ImageName>();
                parsed.map_err(|invalid| invalid.reason)
            })?;
            Ok(CodeSource::Dockerfile {
                source,
                name: Some(name),
                place,
            })
        }
        (_, Some(image)) => Err(image
            .error(format!("{what} has both a folder and an image"))
            .hint("keep `build` for a folder, or `image` for an imported image")),
    }
}

/// Whether a text names an image to build on, and no runtime of this machine.
pub(super) fn is_base(text: &str) -> bool {
    text == SCRATCH || text.contains(['/', ':'])
}

/// A folder on a base.
///
/// # Errors
/// The code is no folder; the base is no image of this server.
fn on_base(code: CodeSource, base: &Node, wanted: Wanted) -> Result<CodeSource> {
    let CodeSource::Folder { path, .. } = code else {
        return Err(base
            .error("a base is for a folder, and the code is an image")
            .hint("an image brings everything; leave the base out"));
    };
    let named = base.parsed("base", |text| match text {
        SCRATCH => Ok(None),
        text => {
            let name = text.parse::<ImageName>();
            name.map(Some).map_err(|invalid| invalid.reason)
        }
    })?;
    Ok(CodeSource::Built {
        path,
        base: named,
        wanted,
        place: base.place.clone(),
    })
}

fn folder_at(context: &Context, node: &Node) -> Result<PathBuf> {
    let path = context.folder.join(node.text("the folder")?);
    if !path.is_dir() {
        return Err(node
            .error(format!("the folder {} does not exist", path.display()))
            .hint("paths are relative to the manifest's own folder"));
    }
    Ok(path)
}

/// A folder that runs as it is; or a Dockerfile, if `build` says anything of one, or there is one and nothing else says
/// what runs the folder.
fn parse_build(context: &Context, build: &Node, around: &Said<'_>) -> Result<CodeSource> {
    let Value::Map(_) = build.value else {
        let path = folder_at(context, build)?;
        return of_folder(path, build, around);
    };
    let mut fields = Fields::of(build, "build")?;
    let folder = fields.require("context", "./folder")?;
    let path = folder_at(context, folder)?;
    let file = fields.take("dockerfile");
    let arguments = fields.take("args");
    let target = fields.take("target");
    fields.finish(compose::BUILD)?;
    let Some(said) = file.or(arguments).or(target) else {
        return of_folder(path, folder, around);
    };
    if around.runs_folder() {
        return Err(said
            .error(format!("{} has a Dockerfile, and a runtime for its folder", around.what))
            .hint("an image brings its own: leave out x-rouse.runtime or x-rouse-base; or keep `context` alone"));
    }
    let written = file.map(|node| node.text("dockerfile")).transpose()?;
    let found = match written {
        Some(written) => Some(path.join(written)).filter(|path| path.is_file()),
        None => usual(&path),
    };
    let Some(found) = found else {
        let missing = path.join(written.unwrap_or(USUAL[0]));
        return Err(file
            .unwrap_or(folder)
            .error(format!("the file {} does not exist", missing.display()))
            .hint("`dockerfile` is relative to the context"));
    };
    let arguments = parse_variables(context, "build.args", arguments)?;
    let target = target.map(|node| node.text("target")).transpose()?;
    of_dockerfile(&path, &found, folder, |source| Dockerfile {
        arguments,
        target: target.map(str::to_owned),
        ..source
    })
}

fn usual(folder: &Path) -> Option<PathBuf> {
    let mut files = USUAL.iter().map(|name| folder.join(name));
    files.find(|path| path.is_file())
}

fn of_folder(path: PathBuf, node: &Node, around: &Said<'_>) -> Result<CodeSource> {
    match usual(&path).filter(|_| !around.runs_folder()) {
        Some(file) => of_dockerfile(&path, &file, node, |source| source),
        None => Ok(CodeSource::Folder {
            path,
            place: node.place.clone(),
        }),
    }
}

fn of_dockerfile(
    folder: &Path,
    file: &Path,
    node: &Node,
    with: impl FnOnce(Dockerfile) -> Dockerfile,
) -> Result<CodeSource> {
    // A builder takes what begins with a dash for an option.
    let absolute = |path: &Path| {
        let path = std::path::absolute(path);
        path.map_err(|error| node.error(format!("finding the folder: {error}")))
    };
    Ok(CodeSource::Dockerfile {
        source: with(Dockerfile {
            context: absolute(folder)?,
            file: absolute(file)?,
            arguments: BTreeMap::new(),
            target: None,
        }),
        name: None,
        place: node.place.clone(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::build::{Dockerfile, ImageName};
    use crate::manifest::CodeSource;
    use crate::manifest::tests::load_in;
    use model::Contract;

    /// The code of the only service or function of a manifest, beside which is a folder with these files.
    fn source(files: &[&str], service: &str) -> Result<CodeSource, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("code")).unwrap();
        for file in files {
            std::fs::write(folder.path().join("code").join(file), "FROM scratch").unwrap();
        }
        let text = format!("services: {{a: {service}}}");
        let manifest = load_in(folder.path(), &[&text], &[]);
        let manifest = manifest.map_err(|error| error.to_string())?;
        let functions = manifest.functions.iter().map(|one| one.code.clone());
        let services = manifest.services.iter().map(|one| one.code.clone());
        Ok(functions.chain(services).next().unwrap())
    }

    fn dockerfile(files: &[&str], service: &str) -> (Dockerfile, Option<ImageName>) {
        match source(files, service).unwrap() {
            CodeSource::Dockerfile { source, name, .. } => (source, name),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_dockerfile_is_built_where_nothing_else_runs_the_folder() {
        for service in [
            "{build: ./code}",
            "{build: {context: ./code}}",
            "{build: ./code, x-rouse: {contract: http}}",
        ] {
            let (built, name) = dockerfile(&["Dockerfile"], service);
            assert!(built.context.is_absolute() && built.file.ends_with("code/Dockerfile"));
            assert!(built.arguments.is_empty() && built.target.is_none() && name.is_none());
        }
        let (built, _) = dockerfile(&["Containerfile"], "{build: ./code}");
        assert!(built.file.ends_with("Containerfile"));
        for service in [
            "{build: ./code, command: x, x-rouse-base: python3.11}",
            "{build: ./code, x-rouse: {runtime: provided}}",
            "{x-rouse: {code: ./code, runtime: provided}}",
        ] {
            let folder = source(&["Dockerfile"], service);
            assert!(
                matches!(folder, Ok(CodeSource::Folder { .. })),
                "{service}: {folder:?}"
            );
        }
        let nothing = source(&["app.py"], "{build: ./code, command: x}").unwrap_err();
        assert!(
            nothing.contains("does not say what runs its folder"),
            "{nothing}"
        );
    }

    #[test]
    fn arguments_stage_and_name_are_taken() {
        let service = "{image: 'localhost:4566/shop/a:1', build: {context: ./code, dockerfile: Other, \
                       args: [A=b=c, PLAIN, GONE], target: run}}";
        let (built, name) = dockerfile(&["Other", "Dockerfile"], service);
        assert!(built.file.ends_with("code/Other"));
        assert_eq!(built.target.as_deref(), Some("run"));
        let arguments = built.arguments.iter();
        let arguments: Vec<_> = arguments
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(arguments, ["A=b=c", "PLAIN=from the shell"]);
        assert_eq!(name.unwrap().to_string(), "shop/a:1");
        let elsewhere = source(&["Dockerfile"], "{image: 'example.com/a:1', build: ./code}");
        assert!(elsewhere.unwrap_err().contains("names another registry"));
        let runtime = source(
            &["Dockerfile"],
            "{image: 'shop/a:1', build: ./code, x-rouse-base: image}",
        );
        assert!(runtime.unwrap_err().contains("both a folder and an image"));
    }

    #[test]
    fn a_folder_on_a_base_is_built_as_by_rouse_build() {
        let function =
            "{build: ./code, command: [a, b], x-rouse: {base: 'shop/python:3', handler: app.run}}";
        let service = "{build: ./code, entrypoint: a, command: b c, x-rouse-base: scratch}";
        for (text, below, handler, command, contract) in [
            (
                function,
                Some("shop/python:3"),
                Some("app.run"),
                &["a", "b"][..],
                Contract::Lambda,
            ),
            (service, None, None, &["a", "b", "c"][..], Contract::Http),
        ] {
            // A Dockerfile is not what is meant then, and is refused when it is built.
            match source(&["Dockerfile"], text).unwrap() {
                CodeSource::Built { base, wanted, .. } => {
                    let base = base.map(|name| name.to_string());
                    assert_eq!(base.as_deref(), below);
                    assert_eq!(wanted.handler.as_deref(), handler);
                    assert_eq!(wanted.command, command);
                    assert_eq!(wanted.contract, contract);
                }
                other => panic!("{other:?}"),
            }
        }
        for (wrong, words) in [
            (
                "{image: x, x-rouse: {base: 'a:1'}}",
                "a base is for a folder",
            ),
            (
                "{build: ./code, x-rouse: {base: 'example.com/a:1'}}",
                "names another registry",
            ),
            (
                "{build: ./code, x-rouse: {base: 'a:1', runtime: python3.11}}",
                "has an image and a runtime",
            ),
            ("{build: ./code, x-rouse-base: python}", "is not known"),
        ] {
            let error = source(&[], wrong).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}

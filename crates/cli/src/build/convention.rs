//! Where languages usually have what is run.

use crate::error::{Error, Result};
use std::path::Path;

/// The handler that was said, or the first usual one whose file is there.
pub(super) fn handler(
    folder: &Path,
    said: Option<&str>,
    usual: &[&str],
    ends: &[&str],
) -> Result<String> {
    let file_of = |handler: &str| {
        let (module, _) = handler.rsplit_once('.')?;
        let ends = ends
            .iter()
            .map(|end| folder.join(format!("{module}.{end}")));
        ends.into_iter().find(|path| path.is_file())
    };
    let shown = folder.display();
    match said {
        Some(handler) if file_of(handler).is_some() => Ok(handler.to_owned()),
        Some(handler) => Err(Error::Usage(format!(
            "{shown} has no file for the handler {handler}: it is the file without its ending and the function, \
             such as {}",
            usual[0]
        ))),
        None => {
            let found = usual.iter().find(|handler| file_of(handler).is_some());
            let found = found.map(|handler| (*handler).to_owned());
            found.ok_or_else(|| {
                Error::Usage(format!(
                    "{shown} has no usual handler: say it, --handler {}",
                    usual[0]
                ))
            })
        }
    }
}

/// The first of these files that is there.
pub(super) fn first(folder: &Path, names: &[&str]) -> Result<String> {
    let found = names.iter().find(|name| folder.join(name).is_file());
    found.map(|name| (*name).to_owned()).ok_or_else(|| {
        Error::Usage(format!(
            "{0} has none of {1}: say the program, rouse build {0} --contract http -- node main.js",
            folder.display(),
            names.join(", ")
        ))
    })
}

/// The name that Cargo.toml gives its package.
pub(super) fn package_name(folder: &Path) -> Result<String> {
    let path = folder.join("Cargo.toml");
    let text =
        std::fs::read_to_string(&path).map_err(Error::io(format!("reading {}", path.display())))?;
    let package = text
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[package]");
    let fields = package.skip(1).take_while(|line| !line.starts_with('['));
    let name = fields
        .filter_map(|line| line.strip_prefix("name"))
        .find_map(|rest| {
            let value = rest.trim_start().strip_prefix('=')?;
            Some(value.trim().trim_matches('"').to_owned())
        });
    let legal = |name: &String| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_alphanumeric() || c == '-' || c == '_')
    };
    name.filter(legal).ok_or_else(|| {
        let shown = path.display();
        Error::Usage(format!(
            "{shown} has no [package] with a name: build the folder of one package"
        ))
    })
}
